/** Which address and link of this node the overlay uses: the underlay. Pure. */
import { CniError, INVALID_CONFIG, KERNEL_REFUSED } from "../errors.ts";
import { type Address, formatAddress, parseAddress, sameAddress } from "../ip/address.ts";
import type { PlacedAddress } from "../netlink/address.ts";
import type { EntryTable } from "../netlink/entries/table.ts";
import type { Link } from "../netlink/link.ts";
import type { Path } from "../netlink/path.ts";
import { FOREIGN } from "./ownership.ts";
import type { PeerTable } from "./peer-table.ts";

/** This node's own end of all tunnels. */
export interface Underlay {
  readonly address: Address;
  /** The index of the link that packets to the other nodes leave by: the one with the address, unless that is on lo. */
  readonly link: number;
}

/** What the choice of the underlay depends on. */
export interface NodeNetwork {
  readonly addresses: readonly PlacedAddress[];
  /** The link that the configuration names; null if it names none or there is none of that name. */
  readonly named: Link | null;
  /** Those of the node's addresses that the list of peers has, in the list's order. */
  readonly listed: readonly Address[];
  /** The path to the first of the peers that is another node; null if there is none. */
  readonly path: Path | null;
  /** The index of the link with the default route, 0 if there is none. */
  readonly defaultLink: number;
}

/**
 * Chooses the underlay: what the configuration names; else the address in this node's own record; else the source address of
 * the path to the first peer; else the link of the default route. Of a link's addresses the first IPv4 one is used, else the
 * first IPv6 one.
 * @throws CniError 7 if the configuration names what is not there, 100 if nothing tells
 */
export function chooseUnderlay(configured: string, node: NodeNetwork): Underlay {
  const chosen = chosenUnderlay(configured, node);
  if (chosen.link !== LOOPBACK_IFINDEX) return chosen;
  /* A node that is reached over several links may have its address on lo. */
  const { path, defaultLink } = node;
  const link = path === null || path.local ? defaultLink : path.link;
  return link === 0 ? chosen : { address: chosen.address, link };
}

/** The index of "lo" in every network namespace (include/net/flow.h). */
export const LOOPBACK_IFINDEX = 1;

function chosenUnderlay(configured: string, node: NodeNetwork): Underlay {
  if (configured !== "") return namedUnderlay(configured, node);
  for (const address of node.listed) {
    const own = ownAddress(node, address);
    if (own !== null) return own;
  }
  const source = node.path === null ? null : node.path.source;
  const towards = source === null ? null : ownAddress(node, source);
  if (towards !== null) return towards;
  const usual = firstAddress(node, node.defaultLink);
  if (usual !== null) return usual;
  throw new CniError(
    KERNEL_REFUSED,
    "cannot tell which address the other nodes reach this one by",
    'no peer is this node, and there is neither a route to a peer nor a default route; name the link or the address under "underlay"',
  );
}

function namedUnderlay(configured: string, node: NodeNetwork): Underlay {
  const address = parseAddress(configured);
  const found = address === null ? firstAddress(node, node.named?.index ?? 0) : ownAddress(node, address);
  if (found !== null) return found;
  const problem =
    address !== null
      ? `no link of this node has the address ${formatAddress(address)}`
      : node.named === null
        ? `this node has no link ${configured}`
        : `link ${configured} has no address`;
  throw new CniError(INVALID_CONFIG, `invalid value for "underlay": ${problem}`);
}

function ownAddress(node: NodeNetwork, address: Address): Underlay | null {
  for (const { prefix, link } of node.addresses) {
    if (sameAddress(prefix.address, address)) return { address, link };
  }
  return null;
}

function firstAddress(node: NodeNetwork, link: number): Underlay | null {
  for (const family of [4, 6]) {
    for (const { link: index, prefix } of node.addresses) {
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

/** With more routes than these it is cheaper to ask the kernel for the path to each peer. */
const FEW_ROUTES = 64;

/**
 * For each peer the first peer that the same route leads to: the kernel is asked once for all of these.
 * @param routes with marks; those that are FOREIGN lead to peers
 * @param ownRow the row that is this node, -1 if none is
 */
export function sameRoutes(peers: PeerTable, routes: EntryTable, ownRow: number): Int32Array {
  const foreign: number[] = [];
  for (let row = 0; row < routes.count && foreign.length <= FEW_ROUTES; row += 1) {
    if (routes.mark(row) === FOREIGN) foreign.push(row);
  }
  const shared = new Int32Array(peers.count);
  for (let row = 0; row < peers.count; row += 1) shared[row] = row;
  if (foreign.length > FEW_ROUTES) return shared;
  const matching = longestMatches(routes, foreign, peers);
  /* The first peer of each route, both counted from 1; index 0 is for peers without a route. */
  const firsts = new Int32Array(routes.count + 1);
  for (let row = 0; row < peers.count; row += 1) {
    if (row === ownRow) continue;
    const route = matching[row] ?? 0;
    const first = firsts[route] ?? 0;
    if (first === 0) firsts[route] = row + 1;
    else shared[row] = first - 1;
  }
  return shared;
}

/** For each peer the route of those given with the longest prefix that holds its address, counted from 1; 0 without one. */
function longestMatches(routes: EntryTable, rows: readonly number[], peers: PeerTable): Int32Array {
  const { addresses } = routes;
  const { hosts } = peers;
  const best = new Int32Array(peers.count);
  const lengths = new Int32Array(peers.count);
  for (const row of rows) {
    const length = routes.length(row);
    const isIpv4 = addresses.isIpv4(row);
    for (let i = 0; i < peers.count; i += 1) {
      /* `lengths` has 1 more than the length of the best route so far, 0 for none. */
      if ((lengths[i] ?? 0) > length || !addresses.contains(row, length, hosts, i)) continue;
      if (hosts.isIpv4(i) !== isIpv4) continue;
      best[i] = row + 1;
      lengths[i] = length + 1;
    }
  }
  return best;
}
