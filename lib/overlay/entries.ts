/**
 * What the kernel holds for the other nodes of an overlay: a function of the list of peers. Every entry can be derived from
 * {nodeIP, podCIDRs} alone, and shows whose it is: by the device it is on, its protocol number, and the metric.
 *
 * | datapath | for a peer |
 * |---|---|
 * | classic | a forwarding entry (its MAC is behind its IP address); for each network of pods a neighbour (the network's first address has that MAC) and a route to the network by way of that address |
 * | gpe | for each network of pods a route into the tunnel |
 * | either, directly | for each network of pods of the node's IP version a route by way of the node, which is on the same segment; for the others as above |
 *
 * Pure.
 */
import { type Family, formatAddress, formatPrefix } from "../ip/address.ts";
import { MAC_WORDS } from "../ip/mac.ts";
import { ADDRESS_WORDS, IPV4_LENGTH, isIpv4At } from "../ip/words.ts";
import {
  type Entry,
  EntryTable,
  FLAGS,
  FOREIGN,
  FORWARDING,
  GATEWAY,
  HAS_GATEWAY,
  HAS_TUNNEL,
  HOST,
  KEY,
  LINK,
  METRIC,
  NEIGHBOUR,
  ONLINK,
  PERMANENT,
  ROUTE,
  ROW_WORDS,
  STAMP,
  VNI,
} from "../netlink/entry-table.ts";
import type { Datapath } from "./mtu.ts";
import { CIDR_WORDS, type PeerTable } from "./peer-table.ts";

/** The mark of our routes and neighbours ("p"; no routing daemon's, see iproute2's rt_protos). */
export const PROTOCOL = 112;
const RTPROT_KERNEL = 2;

/** The overlay that entries belong to. */
export interface Overlay {
  readonly datapath: Datapath;
  readonly vni: number;
  /** The index of its VXLAN device, 0 if there is none. */
  readonly link: number;
}

/**
 * The entries for the peers.
 * @param ownRow the row that is this node, -1 if none is
 * @param direct for each peer the index of the link on which it is reached without a tunnel; 0 for those behind the tunnel
 * @param without an IP version that this node's pods do not have, and that its kernel may not have; 0 for none
 */
export function entriesFor(
  overlay: Overlay,
  peers: PeerTable,
  ownRow: number,
  direct: Int32Array,
  without: Family | 0,
): EntryTable {
  const classic = overlay.datapath === "classic";
  const table = new EntryTable(peers.cidrCount * (classic ? 2 : 1) + (classic ? peers.count : 0));
  const { hosts, cidrs, firsts } = peers;
  for (let row = 0; row < peers.count; row += 1) {
    if (row === ownRow) continue;
    const host = row * ADDRESS_WORDS;
    const end = firsts[row + 1] ?? 0;
    let tunnelled = false;
    for (let cidr = firsts[row] ?? 0; cidr < end; cidr += 1) {
      const isIpv4 = isIpv4At(cidrs, cidr * CIDR_WORDS);
      if (without === (isIpv4 ? 4 : 6)) continue;
      /* A gateway is of its route's IP version. */
      const sameFamily = isIpv4At(hosts, host) === isIpv4;
      const link = sameFamily ? (direct[row] ?? 0) : 0;
      if (link === 0 && classic && !tunnelled) addForwarding(table, peers, row);
      if (link === 0) tunnelled = true;
      if (link === 0 && classic) addNeighbour(table, peers, row, cidr);
      addRoute(table, overlay, peers, row, cidr, link);
    }
  }
  return table;
}

function addForwarding(table: EntryTable, peers: PeerTable, row: number): void {
  const at = table.begin();
  const { words } = table;
  words[at] = FORWARDING;
  copy(peers.macs, row * MAC_WORDS, words, at + KEY + 2, MAC_WORDS);
  copy(peers.hosts, row * ADDRESS_WORDS, words, at + HOST, ADDRESS_WORDS);
  words[at + FLAGS] = PERMANENT;
  table.end();
}

function addNeighbour(table: EntryTable, peers: PeerTable, row: number, cidr: number): void {
  const at = table.begin();
  const { words } = table;
  words[at] = NEIGHBOUR;
  copy(peers.cidrs, cidr * CIDR_WORDS, words, at + KEY, ADDRESS_WORDS);
  copy(peers.macs, row * MAC_WORDS, words, at + GATEWAY, MAC_WORDS);
  words[at + FLAGS] = PERMANENT;
  table.end();
}

/** @param link where the peer is reached without a tunnel, 0 if it is not */
function addRoute(
  table: EntryTable,
  overlay: Overlay,
  peers: PeerTable,
  row: number,
  cidr: number,
  link: number,
): void {
  const at = table.begin();
  const { words } = table;
  const wide = peers.cidrs[cidr * CIDR_WORDS + ADDRESS_WORDS] ?? 0;
  words[at] = ROUTE | (wide << 8);
  copy(peers.cidrs, cidr * CIDR_WORDS, words, at + KEY, ADDRESS_WORDS);
  words[at + METRIC] = metricAt(words, at + KEY, wide, overlay.vni);
  words[at + LINK] = link === 0 ? overlay.link : link;
  const tunnel = link === 0 && overlay.datapath === "gpe";
  if (tunnel) {
    copy(peers.hosts, row * ADDRESS_WORDS, words, at + HOST, ADDRESS_WORDS);
    words[at + VNI] = overlay.vni;
  } else if (link === 0) {
    copy(peers.cidrs, cidr * CIDR_WORDS, words, at + GATEWAY, ADDRESS_WORDS);
    words[at + ONLINK] = 1;
  } else {
    copy(peers.hosts, row * ADDRESS_WORDS, words, at + GATEWAY, ADDRESS_WORDS);
  }
  words[at + FLAGS] = (tunnel ? HAS_TUNNEL : HAS_GATEWAY) | (PROTOCOL << 8);
  table.end();
}

function copy(from: Int32Array, at: number, to: Int32Array, target: number, count: number): void {
  for (let i = 0; i < count; i += 1) to[target + i] = from[at + i] ?? 0;
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/**
 * The metric of the route to a network of pods, from 2^30 to 2^31 - 1: another one for each network (FNV-1a of network and
 * VNI). The kernel looks for an IPv4 route's next hop among all that share device and metric, so that with one metric each
 * of 5,000 routes would take 30 times as long to add. A route with our protocol and this metric is this overlay's,
 * whichever link it is on.
 * @param wide the network's length from 0 to 128
 */
export function metricAt(words: Int32Array, at: number, wide: number, vni: number): number {
  const isIpv4 = isIpv4At(words, at);
  let hash = FNV_OFFSET;
  for (let i = isIpv4 ? ADDRESS_WORDS - 1 : 0; i < ADDRESS_WORDS; i += 1) hash = hashed(hash, words[at + i] ?? 0);
  const length = isIpv4 ? wide - IPV4_LENGTH : wide;
  hash = hashed(hash, (length << 24) | ((vni & 255) << 16) | (vni & 0xff00) | ((vni >> 16) & 255));
  return (hash >>> 2) | 0x40000000;
}

/** Goes on with the four bytes of a word, the first in its highest bits. */
function hashed(hash: number, word: number): number {
  const first = Math.imul(hash ^ (word >>> 24), FNV_PRIME);
  const second = Math.imul(first ^ ((word >>> 16) & 255), FNV_PRIME);
  const third = Math.imul(second ^ ((word >>> 8) & 255), FNV_PRIME);
  return Math.imul(third ^ (word & 255), FNV_PRIME);
}

/**
 * Tells the routes apart that the kernel lists: ours are on the overlay's device and not the kernel's own, or have our
 * marks; the rest is FOREIGN, and routes to 240.0.0.0/4 on the device are STAMPs.
 */
export function classify(overlay: Overlay, table: EntryTable): void {
  const { words } = table;
  for (let row = 0; row < table.count; row += 1) {
    const at = row * ROW_WORDS;
    if (((words[at] ?? 0) & 255) < ROUTE) continue;
    const protocol = (words[at + FLAGS] ?? 0) >>> 8;
    const isOn = overlay.link !== 0 && words[at + LINK] === overlay.link;
    let kind = ROUTE;
    if (isOn && isStampAt(words, at)) kind = STAMP;
    else if (isOn ? protocol === RTPROT_KERNEL : protocol !== PROTOCOL || !hasOurMetric(overlay, words, at))
      kind = FOREIGN;
    table.setKind(row, kind);
  }
}

/** Whether a route's metric is that of this overlay's to its network. */
export function hasOurMetric(overlay: Overlay, words: Int32Array, at: number): boolean {
  return words[at + METRIC] === metricAt(words, at + KEY, (words[at] ?? 0) >>> 8, overlay.vni);
}

/** Whether a route is a stamp: to one address of 240.0.0.0/4. */
function isStampAt(words: Int32Array, at: number): boolean {
  if ((words[at] ?? 0) >>> 8 !== 128 || !isIpv4At(words, at + KEY)) return false;
  return (words[at + KEY + ADDRESS_WORDS - 1] ?? 0) >>> 28 === 15;
}

/** An entry as a person would write it, for messages. */
export function describeEntry(entry: Entry): string {
  if (entry.kind === "forwarding") return `forwarding entry ${entry.mac} dst ${formatAddress(entry.host)}`;
  if (entry.kind === "neighbour") return `neighbour ${formatAddress(entry.address)} lladdr ${entry.mac}`;
  const { dst, gateway, tunnel, priority } = entry.route;
  const via = gateway === null ? "" : ` via ${formatAddress(gateway)}`;
  const encap = tunnel === null ? "" : ` encap ip id ${tunnel.vni} dst ${formatAddress(tunnel.host)}`;
  return `route ${formatPrefix(dst)}${encap}${via} metric ${priority}`;
}
