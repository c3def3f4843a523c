/**
 * Gateway addresses of networks that a node no longer has: its share of the cluster's range was changed, or an ADD that put
 * them on the bridge was refused by a plugin behind. Those that Podwire has put there and that serve nobody go.
 */

import { readText } from "../../host/io.ts";
import { contains, formatPrefix, type Prefix } from "../../ip/address.ts";
import { formatMac } from "../../ip/mac.ts";
import { type LinkAddress, listAddresses, PROTOCOL_PODWIRE } from "../../netlink/address.ts";
import { type Link, listLinks, OPERSTATE_UNKNOWN, OPERSTATE_UP } from "../../netlink/link.ts";
import type { Kernel } from "../kernel.ts";
import { nodeMac, OWNER_MARK } from "../names.ts";

/** So many users of an address are named. */
const NAMED = 3;
/** The first kernel that keeps who has put an address on a link (IFA_PROTO). */
const MARKING_KERNEL = [5, 18];

/**
 * Whether Podwire has put an address on a link: it is marked. Kernels that keep no marks leave the bridge's own MAC, which
 * tells who has made the bridge.
 */
export function isOurs(kernel: Kernel, bridge: string, address: LinkAddress): boolean {
  if (address.protocol !== 0) return address.protocol === PROTOCOL_PODWIRE;
  if (isLinkLocal(address.prefix) || keepsMarks()) return false;
  const link = kernel.seen("host", bridge) ?? kernel.link("host", bridge);
  return link.mac === formatMac(nodeMac(bridge));
}

export function isLinkLocal({ address }: Prefix): boolean {
  const [first = 0, second = 0] = address.bytes;
  return address.family === 6 && first === 0xfe && (second & 0xc0) === 0x80;
}

/** Whether this kernel keeps who has put an address on a link. */
function keepsMarks(): boolean {
  const [major = 0, minor = 0] = (readText("/proc/sys/kernel/osrelease") ?? "")
    .split(".")
    .map((part) => parseInt(part, 10));
  const [first = 0, second = 0] = MARKING_KERNEL;
  return major > first || (major === first && minor >= second);
}

/**
 * Who may be using a network by way of a bridge, as names for messages: ports behind which there is an address of the
 * network, and ports behind which nothing can be seen. A container whose link is not up yet uses nothing.
 * @param own the port of the attachment that asks, which is not counted
 */
export function usersOf(kernel: Kernel, bridge: string, network: Prefix, own: string): string[] {
  const users: string[] = [];
  for (const port of listLinks(kernel.host, "", kernel.index("host", bridge))) {
    if (port.name === own || port.alias.startsWith("podwire: ")) continue;
    const user = userBehind(kernel, port, network);
    if (user === "") continue;
    users.push(user);
    if (users.length > NAMED) break;
  }
  return users;
}

/** "container 5ce9036439ac eth0 (10.244.1.7)"; "" if nobody behind the port uses the network. */
function userBehind(kernel: Kernel, port: Link, network: Prefix): string {
  const name = port.alias.startsWith(OWNER_MARK) ? port.alias.slice(OWNER_MARK.length) : port.name;
  const carries = port.up && (port.operstate === OPERSTATE_UP || port.operstate === OPERSTATE_UNKNOWN);
  if (port.kind !== "veth") return carries ? `${port.name}, behind which Podwire cannot look` : "";
  let others = 0;
  for (const { prefix } of listAddresses(kernel.host, port.peer, port.peerNamespace)) {
    if (contains(network, prefix.address)) return `${name} (${formatPrefix(prefix)})`;
    if (!isLinkLocal(prefix)) others += 1;
  }
  return others === 0 && carries ? `${name} (without an address that shows)` : "";
}

/** Users as a phrase, the first few by name. */
export function describeUsers(users: readonly string[]): string {
  return users.length > NAMED ? `${users.slice(0, NAMED).join(", ")} and others` : users.join(", ");
}
