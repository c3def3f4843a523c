/** The gateway's side: its addresses on the bridge, forwarding, and what the host remembers of earlier holders. */
import { CniError, CONFLICT } from "../../errors.ts";
import { ensureSysctl, readSysctl } from "../../host/sysctl.ts";
import { type Family, formatPrefix, holdsPrefix, overlap, type Prefix } from "../../ip/address.ts";
import { listAddresses, writeDeleteAddress, writeNewAddress } from "../../netlink/address.ts";
import { getLinkByIndex } from "../../netlink/link.ts";
import { listRoutes, RTPROT_RA, writeDeleteNeighbour } from "../../netlink/route.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { EADDRNOTAVAIL, EEXIST, ENOENT } from "../../sys/errno.ts";
import type { Kernel } from "../kernel.ts";
import type { ForgottenNeighbourObject, ForwardingObject, GatewaysObject } from "../objects.ts";

const FORWARDING_V4 = ["net", "ipv4", "ip_forward"];
const FORWARDING_V6 = ["net", "ipv6", "conf", "all", "forwarding"];

/** Gives the link the gateways' addresses. One that another ADD adds at the same moment is as good. */
export function applyGateways(kernel: Kernel, object: GatewaysObject): void {
  const index = kernel.index("host", object.link);
  const present = prefixesOn(kernel, index);
  for (const wanted of object.addresses) {
    if (holdsPrefix(present, wanted)) continue;
    for (const prefix of present) {
      if (!inTheWay(prefix, wanted, object.addresses)) continue;
      if (!object.force) throw conflict(object.link, prefix, wanted);
      writeDeleteAddress(kernel.host, index, prefix);
      const errno = kernel.host.attempt();
      if (errno !== 0 && errno !== EADDRNOTAVAIL) throw new NetlinkError(errno, `remove ${formatPrefix(prefix)}`, 0);
    }
    writeNewAddress(kernel.host, index, wanted, true);
    const errno = kernel.host.attempt();
    if (errno !== 0 && errno !== EEXIST)
      throw new NetlinkError(errno, `add ${formatPrefix(wanted)} to ${object.link}`, 0);
  }
}

/** What is different about the gateways; null if nothing is. */
export function differenceInGateways(kernel: Kernel, object: GatewaysObject): string | null {
  const present = prefixesOn(kernel, kernel.index("host", object.link));
  for (const wanted of object.addresses) {
    if (!holdsPrefix(present, wanted)) return `${object.link} lacks the gateway's address ${formatPrefix(wanted)}`;
  }
  return null;
}

/**
 * Whether an address that a bridge has excludes a new gateway address: for IPv4 any other one, for IPv6 one of the same
 * subnet, as in the reference suite; other gateways of the same attachment never do.
 */
export function inTheWay(present: Prefix, wanted: Prefix, all: readonly Prefix[]): boolean {
  if (present.address.family !== wanted.address.family) return false;
  if (holdsPrefix(all, present)) return false;
  return wanted.address.family === 4 || overlap(present, wanted);
}

/** The addresses that a link of the host has. */
function prefixesOn(kernel: Kernel, index: number): Prefix[] {
  const prefixes: Prefix[] = [];
  for (const entry of listAddresses(kernel.host, index)) prefixes.push(entry.prefix);
  return prefixes;
}

function conflict(link: string, found: Prefix, wanted: Prefix): CniError {
  return new CniError(
    CONFLICT,
    `failed to set bridge addr: "${link}" already has an IP address different from ${formatPrefix(wanted)}`,
    `it has ${formatPrefix(found)}: the subnet was changed while the bridge was in use, or two networks share the bridge; ` +
      `remove it with "ip address delete ${formatPrefix(found)} dev ${link}", name another bridge, or set "forceAddress": true`,
  );
}

/** Turns forwarding on where it is off. A node that took its default route from the network keeps it. */
export function applyForwarding(kernel: Kernel, object: ForwardingObject): void {
  const setting = forwardingOf(object.family);
  if (readSysctl(setting) === "1") return;
  if (object.family === 6) keepLearnedRoutes(kernel);
  ensureSysctl(setting, "1");
}

/** What is different about forwarding; null if nothing is. */
export function differenceInForwarding(object: ForwardingObject): string | null {
  const value = readSysctl(forwardingOf(object.family));
  return value === "1" ? null : `IPv${object.family} forwarding is off on the host`;
}

function forwardingOf(family: Family): readonly string[] {
  return family === 4 ? FORWARDING_V4 : FORWARDING_V6;
}

/** A forwarding host ignores router advertisements unless accept_ra is 2 (Documentation/networking/ip-sysctl.rst). */
function keepLearnedRoutes(kernel: Kernel): void {
  for (const route of listRoutes(kernel.host, 6)) {
    if (route.protocol !== RTPROT_RA || route.dst.length !== 0) continue;
    const name = getLinkByIndex(kernel.host, route.link)?.name;
    if (name === undefined) continue;
    const setting = ["net", "ipv6", "conf", name, "accept_ra"];
    if (readSysctl(setting) === "1") ensureSysctl(setting, "2");
  }
}

/** Forgets who had the address before. */
export function applyForgottenNeighbour(kernel: Kernel, object: ForgottenNeighbourObject): void {
  writeDeleteNeighbour(kernel.host, kernel.index("host", object.link), object.address);
  const errno = kernel.host.attempt();
  if (errno !== 0 && errno !== ENOENT) throw new NetlinkError(errno, `forget a neighbour on ${object.link}`, 0);
}
