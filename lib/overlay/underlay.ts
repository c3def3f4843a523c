/** Which address and link of this node the overlay stands on. Pure but for the questions that `Surroundings` answers. */
import { CniError, INVALID_CONFIG, KERNEL_REFUSED } from "../errors.ts";
import { type Address, formatAddress, parseAddress, sameAddress } from "../ip/address.ts";
import { ADDRESS_WORDS, containsAt, isIpv4At } from "../ip/words.ts";
import type { PlacedAddress } from "../netlink/address.ts";
import { type EntryTable, FOREIGN, KEY, ROW_WORDS } from "../netlink/entry-table.ts";
import type { Link } from "../netlink/link.ts";
import type { Path } from "../netlink/path.ts";
import type { PeerTable } from "./peer-table.ts";

/** This node's own end of all tunnels. */
export interface Underlay {
  readonly address: Address;
  /** The index of the link that packets to the other nodes leave by: the one with the address, unless that is on lo. */
  readonly link: number;
}

/** What is known of the node when the underlay is chosen. */
export interface Surroundings {
  readonly addresses: readonly PlacedAddress[];
  /** The link that the configuration names; null if it names none or there is none of that name. */
  readonly named: Link | null;
  /** Those of the node's addresses that the list of peers has, in the list's order. */
  readonly listed: readonly Address[];
  /** The way to the first of the peers that is another node; null if there is none. */
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
  const chosen = chosenUnderlay(configured, around);
  if (chosen.link !== LOOPBACK_IFINDEX) return chosen;
  /* Nodes that are reached over several links have their address on lo. */
  const { path, defaultLink } = around;
  const way = path === null || path.local ? defaultLink : path.link;
  return way === 0 ? chosen : { address: chosen.address, link: way };
}

/** The index of "lo" in every network namespace (include/net/flow.h). */
export const LOOPBACK_IFINDEX = 1;

function chosenUnderlay(configured: string, around: Surroundings): Underlay {
  if (configured !== "") return namedUnderlay(configured, around);
  for (const address of around.listed) {
    const own = ownAddress(around, address);
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
  for (const { prefix, link } of around.addresses) {
    if (sameAddress(prefix.address, address)) return { address, link };
  }
  return null;
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
 * Peers that the same route leads to, so that one question to the kernel answers for all of them: for each peer the first
 * peer that shares its route.
 * @param routes the node's own routes are the FOREIGN ones
 * @param ownRow the row that is this node and shares nothing, -1 if none is
 */
export function sameRoutes(peers: PeerTable, routes: EntryTable, ownRow: number): Int32Array {
  const foreign: number[] = [];
  for (let row = 0; row < routes.count && foreign.length <= FEW_ROUTES; row += 1) {
    if (routes.kind(row) === FOREIGN) foreign.push(row);
  }
  const shared = new Int32Array(peers.count);
  for (let row = 0; row < peers.count; row += 1) shared[row] = row;
  if (foreign.length > FEW_ROUTES) return shared;
  const matching = longestMatches(routes, foreign, peers);
  /* By route, counted from 1: the first peer, counted from 1; the first one stands for none at all. */
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
  const { words } = routes;
  const { hosts } = peers;
  const best = new Int32Array(peers.count);
  const lengths = new Int32Array(peers.count);
  for (const row of rows) {
    const at = row * ROW_WORDS;
    const wide = (words[at] ?? 0) >>> 8;
    const isIpv4 = isIpv4At(words, at + KEY);
    for (let i = 0; i < peers.count; i += 1) {
      /* Lengths are counted from 1 here, that 0 is less than any. */
      if ((lengths[i] ?? 0) > wide || !containsAt(words, at + KEY, wide, hosts, i * ADDRESS_WORDS)) continue;
      if (isIpv4At(hosts, i * ADDRESS_WORDS) !== isIpv4) continue;
      best[i] = row + 1;
      lengths[i] = wide + 1;
    }
  }
  return best;
}
