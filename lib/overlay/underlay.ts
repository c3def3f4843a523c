/** Which address and link of this node the overlay stands on. Pure but for the questions that `Surroundings` answers. */
import { CniError, INVALID_CONFIG, KERNEL_REFUSED } from "../errors.ts";
import { type Address, contains, formatAddress, parseAddress, sameAddress } from "../ip/address.ts";
import type { PlacedAddress } from "../netlink/address.ts";
import type { Link } from "../netlink/link.ts";
import type { Path } from "../netlink/path.ts";
import type { TunnelRoute } from "../netlink/tunnel-route.ts";
import type { Peer } from "./peers.ts";

/** This node's own end of all tunnels. */
export interface Underlay {
  readonly address: Address;
  /** The index of the link that has the address. */
  readonly link: number;
}

/** What is known of the node when the underlay is chosen. */
export interface Surroundings {
  readonly addresses: readonly PlacedAddress[];
  /** The link that the configuration names; null if it names none or there is none of that name. */
  readonly named: Link | null;
  /** The peers that are listed, this node perhaps among them. */
  readonly peers: readonly Peer[];
  /** The way to the first of them; null if there is none. */
  readonly path: Path | null;
  /** The index of the link with the default route, 0 if there is none. */
  readonly defaultLink: number;
}

/**
 * Chooses the underlay: what the configuration names; else this node's own record among the peers; else where the route to
 * the first peer begins; else the link of the default route. Of a link's addresses the first IPv4 one counts, else IPv6.
 * @throws CniError 7 if the configuration names what is not there, 100 if nothing tells
 */
export function chooseUnderlay(configured: string, around: Surroundings): Underlay {
  if (configured !== "") return namedUnderlay(configured, around);
  for (const peer of around.peers) {
    const own = ownAddress(around, peer.nodeIp);
    if (own !== null) return own;
  }
  const source = around.path === null ? null : around.path.source;
  const towards = source === null ? null : ownAddress(around, source);
  if (towards !== null) return towards;
  const usual = firstAddress(around, around.defaultLink);
  if (usual !== null) return usual;
  throw new CniError(
    KERNEL_REFUSED,
    "cannot tell which address the other nodes reach this one by",
    'no peer is this node, and there is neither a route to a peer nor a default route; name the link or the address under "underlay"',
  );
}

function namedUnderlay(configured: string, around: Surroundings): Underlay {
  const address = parseAddress(configured);
  const found = address === null ? firstAddress(around, around.named?.index ?? 0) : ownAddress(around, address);
  if (found !== null) return found;
  const problem =
    address !== null
      ? `no link of this node has the address ${formatAddress(address)}`
      : around.named === null
        ? `this node has no link ${configured}`
        : `link ${configured} has no address`;
  throw new CniError(INVALID_CONFIG, `invalid value for "underlay": ${problem}`);
}

function ownAddress(around: Surroundings, address: Address): Underlay | null {
  const found = around.addresses.find((other) => sameAddress(other.prefix.address, address));
  return found === undefined ? null : { address, link: found.link };
}

function firstAddress(around: Surroundings, link: number): Underlay | null {
  for (const family of [4, 6]) {
    for (const { link: index, prefix } of around.addresses) {
      if (index !== link || prefix.address.family !== family || isLinkLocal(prefix.address)) continue;
      return { address: prefix.address, link };
    }
  }
  return null;
}

/** fe80::/10 and 169.254.0.0/16. */
function isLinkLocal(address: Address): boolean {
  const first = address.bytes[0] ?? 0;
  const second = address.bytes[1] ?? 0;
  return address.family === 4 ? first === 169 && second === 254 : first === 0xfe && (second & 0xc0) === 0x80;
}

/** With more routes than these it is cheaper to ask the kernel for each way. */
const FEW_ROUTES = 64;

/**
 * Peers that the same route leads to, so that one question to the kernel answers for all of them: for each peer the index
 * of the first peer that shares its route.
 * @param routes the node's own routes, without the overlay's
 */
export function sameRoutes(peers: readonly Peer[], routes: readonly TunnelRoute[]): number[] {
  const many = routes.length > FEW_ROUTES;
  const firsts = new Map<number, number>();
  const shared: number[] = [];
  for (let i = 0; i < peers.length; i += 1) {
    const peer = peers[i];
    const route = many || peer === undefined ? i + FEW_ROUTES : longestMatch(routes, peer.nodeIp);
    const first = firsts.get(route) ?? i;
    if (first === i) firsts.set(route, i);
    shared.push(first);
  }
  return shared;
}

/** The index of the route with the longest prefix that holds an address, -1 without one. */
function longestMatch(routes: readonly TunnelRoute[], address: Address): number {
  let best = -1;
  let length = -1;
  for (let i = 0; i < routes.length; i += 1) {
    const dst = routes[i]?.dst ?? null;
    if (dst === null || dst.length <= length || !contains(dst, address)) continue;
    best = i;
    length = dst.length;
  }
  return best;
}
