/** The host forwards packets. */
import { ensureSysctl, readSysctl } from "../../host/sysctl.ts";
import type { Family } from "../../ip/address.ts";
import { writeServeIpv4 } from "../../netlink/address.ts";
import { getLinkByIndex } from "../../netlink/link.ts";
import { listRoutes, RTPROT_RA } from "../../netlink/route.ts";
import { sysctlCommand } from "../commands.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

const FORWARDING_V4 = ["net", "ipv4", "ip_forward"];
const FORWARDING_V6 = ["net", "ipv6", "conf", "all", "forwarding"];

/** The host forwards packets of a family. Shared. */
export interface ForwardingObject {
  readonly kind: "forwarding";
  readonly family: Family;
  /** The link of the host that pods' packets come in by; "" leaves its own settings alone. */
  readonly link: string;
}

export class ForwardingKind extends Kind {
  readonly #object: ForwardingObject;

  constructor(object: ForwardingObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `turn IPv${this.#object.family} forwarding on`;
  }

  override commands(_netns: string): string[] {
    const { family, link } = this.#object;
    const lines = [sysctlCommand(forwardingOf(family), "1")];
    if (family === 4 && link !== "") lines.push(sysctlCommand(["net", "ipv4", "conf", link, "forwarding"], "1"));
    return lines;
  }

  /* The link of a plan may not exist yet. */
  override isThere(kernel: Kernel): boolean {
    return this.#object.link === "" && differenceInForwarding(kernel, this.#object) === null;
  }

  override make(kernel: Kernel): void {
    applyForwarding(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInForwarding(kernel, this.#object);
  }
}

/**
 * Turns forwarding on where it is off. A node that took its default route from the network keeps it. New links take their
 * settings from net.ipv4.conf.default, whatever all others have, so the gateway's own are looked at besides.
 */
function applyForwarding(kernel: Kernel, object: ForwardingObject): void {
  const setting = forwardingOf(object.family);
  if (readSysctl(setting) !== "1") {
    if (object.family === 6) keepLearnedRoutes(kernel);
    ensureSysctl(setting, "1");
  }
  if (object.family === 6 || object.link === "") return;
  const link = kernel.seen("host", object.link) ?? kernel.link("host", object.link);
  if (link.servesIpv4) return;
  writeServeIpv4(kernel.host, link.index);
  kernel.host.run();
}

/** What is different about forwarding; null if nothing is. */
export function differenceInForwarding(kernel: Kernel, object: ForwardingObject): string | null {
  const value = readSysctl(forwardingOf(object.family));
  if (value !== "1") return `IPv${object.family} forwarding is off on the host`;
  if (object.family === 6 || object.link === "" || kernel.link("host", object.link).servesIpv4) return null;
  return `${object.link} does not serve IPv4: net.ipv4.conf.${object.link}.forwarding is 0, or arp_ignore is 8`;
}

function forwardingOf(family: Family): readonly string[] {
  return family === 4 ? FORWARDING_V4 : FORWARDING_V6;
}

/** A forwarding host ignores router advertisements unless accept_ra is 2 (Documentation/networking/ip-sysctl.rst). */
function keepLearnedRoutes(kernel: Kernel): void {
  /* An overlay may have thousands of others. */
  for (const route of listRoutes(kernel.host, 6, RTPROT_RA)) {
    if (route.protocol !== RTPROT_RA || route.dst.length !== 0) continue;
    const name = getLinkByIndex(kernel.host, route.link)?.name;
    if (name === undefined) continue;
    const setting = ["net", "ipv6", "conf", name, "accept_ra"];
    if (readSysctl(setting) === "1") ensureSysctl(setting, "2");
  }
}
