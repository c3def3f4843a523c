/** The bridge itself. */
import { CniError, CONFLICT, KERNEL_REFUSED } from "../../errors.ts";
import { formatMac, parseMac } from "../../ip/mac.ts";
import {
  getLinkByName,
  type Link,
  listLinks,
  writeGroupForwardMask,
  writeLinkAddress,
  writeNewBridge,
} from "../../netlink/link.ts";
import { unknownKind } from "../../netlink/link-kind.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { EEXIST, EOPNOTSUPP } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { nodeMac } from "../names.ts";

/** A bridge, shared by all attachments of the node: made (down) if it is missing, never removed. */
export interface BridgeObject {
  readonly kind: "bridge";
  readonly name: string;
  /** For a new bridge; 0 is the kernel's default. */
  readonly mtu: number;
  readonly vlanFiltering: boolean;
  /** Which link-local groups it forwards, of a bridge that is there already too; 0 leaves them alone. */
  readonly groupForwardMask: number;
}

export class BridgeKind extends Kind {
  readonly #object: BridgeObject;

  constructor(object: BridgeObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `make bridge ${this.#object.name}`;
  }

  override commands(_netns: string): string[] {
    const { name, mtu, vlanFiltering, groupForwardMask } = this.#object;
    const size = mtu > 0 ? ` mtu ${mtu}` : "";
    const filter = vlanFiltering ? " vlan_filtering 1" : "";
    const mask = groupForwardMask > 0 ? ` group_fwd_mask ${groupForwardMask}` : "";
    return [`ip link add ${shellWord(name)} address ${formatMac(nodeMac(name))}${size} type bridge${filter}${mask}`];
  }

  override isThere(kernel: Kernel): boolean {
    const { name, groupForwardMask } = this.#object;
    const link = getLinkByName(kernel.host, name);
    return link !== null && (groupForwardMask === 0 || link.groupForwardMask === groupForwardMask);
  }

  override make(kernel: Kernel): void {
    applyBridge(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInBridge(kernel, this.#object);
  }
}

/** Makes the bridge if it is missing; whoever else makes it at the same moment is welcome. */
function applyBridge(kernel: Kernel, object: BridgeObject): void {
  let link = getLinkByName(kernel.host, object.name);
  if (link === null) {
    /* An address of its own, so that it does not change with the ports that come and go. */
    const mac = nodeMac(object.name);
    const { name, mtu, vlanFiltering, groupForwardMask } = object;
    writeNewBridge(kernel.host, { name, mac, mtu, vlanFiltering, groupForwardMask });
    try {
      kernel.host.run();
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      const unknown = unknownKind(error, "bridges", "CONFIG_BRIDGE (module bridge)");
      if (unknown !== null) throw unknown;
      if (object.vlanFiltering && error.errno === EOPNOTSUPP) throw noVlanFiltering();
      if (error.errno !== EEXIST) throw error;
    }
    link = kernel.link("host", object.name);
  }
  requireUsable(link, object.vlanFiltering);
  kernel.note("host", link);
  if (object.groupForwardMask === 0 || link.groupForwardMask === object.groupForwardMask) return;
  writeGroupForwardMask(kernel.host, link.index, object.groupForwardMask);
  kernel.host.run();
}

/**
 * Keeps a bridge's MAC from changing with its ports, by setting the one that it has: the kernel takes the lowest of its
 * ports' until somebody sets one. Whoever has the gateway's address in mind would lose it for half a minute.
 * @param inUse whether the bridge has IP addresses already, and so may be known by the MAC that it had before this call
 */
export function keepMac(kernel: Kernel, name: string, inUse: boolean): void {
  const before = kernel.seen("host", name);
  const link = getLinkByName(kernel.host, name);
  if (link === null || link.kind !== "bridge") return;
  /* Taken from a port of before this call or from the attachment's own: calls at the same time have to decide alike. */
  const borrowed = listLinks(kernel.host, "veth", link.index).some((port) => port.mac === link.mac);
  let mac = parseMac(link.mac);
  if (borrowed) mac = inUse && before !== null ? parseMac(before.mac) : nodeMac(name);
  if (mac !== null) setMac(kernel, link, mac);
}

/** Gives a bridge back the MAC that it had when this call began, if its new port has changed it. */
export function restoreMac(kernel: Kernel, before: Link | null, now: Link): Link {
  const mac = before === null || before.mac === now.mac ? null : parseMac(before.mac);
  return mac === null ? now : setMac(kernel, now, mac);
}

function setMac(kernel: Kernel, link: Link, mac: Uint8Array): Link {
  writeLinkAddress(kernel.host, link.index, mac);
  kernel.host.run();
  const changed = { ...link, mac: formatMac(mac) };
  kernel.note("host", changed);
  return changed;
}

/** What is different about the bridge; null if nothing is. */
function differenceInBridge(kernel: Kernel, object: BridgeObject): string | null {
  const link = getLinkByName(kernel.host, object.name);
  if (link === null) return `bridge ${object.name} is missing`;
  if (link.kind !== "bridge") return `${object.name} is ${describeKind(link)}, not a bridge`;
  if (!link.up) return `bridge ${object.name} is down`;
  if (object.vlanFiltering && link.vlanFiltering !== true) return `bridge ${object.name} does not filter VLANs`;
  const { groupForwardMask: mask } = object;
  if (mask > 0 && link.groupForwardMask !== mask) {
    return `bridge ${object.name} has group_fwd_mask ${link.groupForwardMask}, expected ${mask}`;
  }
  return null;
}

/** Whether a link that is there can be the bridge. @throws CniError 100, 102 */
export function requireUsable(link: Link, vlanFiltering: boolean): void {
  if (link.kind !== "bridge") {
    throw new CniError(
      CONFLICT,
      `"${link.name}" already exists but is not a bridge`,
      `it is ${describeKind(link)}; choose another name under "bridge", or remove it with: ip link delete ${link.name}`,
    );
  }
  if (vlanFiltering) requireVlanFiltering(link);
}

/**
 * A port's VLANs mean nothing on a bridge that does not filter: a container would be in every VLAN and believe otherwise.
 * A bridge that was there before is somebody's, so it is not changed.
 * @throws CniError 100, 102
 */
function requireVlanFiltering(link: Link): void {
  if (link.vlanFiltering === true) return;
  if (link.vlanFiltering === null) throw noVlanFiltering();
  throw new CniError(
    CONFLICT,
    `bridge ${link.name} does not filter VLANs`,
    `turn it on with "ip link set ${link.name} type bridge vlan_filtering 1", or name a bridge that does not exist yet`,
  );
}

/** The error of a kernel that lacks the feature. */
function noVlanFiltering(): CniError {
  return new CniError(
    KERNEL_REFUSED,
    "this kernel cannot filter VLANs on a bridge",
    'it was built without CONFIG_BRIDGE_VLAN_FILTERING; remove "vlan" and "vlanTrunk" from the configuration',
  );
}

function describeKind(link: Link): string {
  return link.kind === "" ? "a link without a kind" : `a ${link.kind}`;
}
