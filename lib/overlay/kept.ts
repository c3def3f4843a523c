/** What the kernel holds of nodes whose records cannot be used: it stays, since whoever is named wrongly may well be there. Pure. */
import { formatAddress } from "../ip/address.ts";
import { ADDRESS_WORDS, WordIndex } from "../ip/words.ts";
import {
  EntryTable,
  FLAGS,
  KEY_WORDS,
  LINK,
  NEIGHBOUR,
  ROUTE,
  ROW_WORDS,
  type TunnelRoute,
} from "../netlink/entry-table.ts";
import { hasOurMetric, type Overlay, PROTOCOL } from "./entries.ts";
import type { Reject } from "./peers.ts";

/** Whether something of a list cannot be told to be any node's: then nobody is taken away. */
export function areUnknown(rejects: readonly Reject[]): boolean {
  return rejects.some((reject) => reject.host === null && reject.podCidrs.length === 0);
}

/** The entries that lead to the nodes of some rejects. @param found all that the kernel holds, told apart */
export function keptEntries(overlay: Overlay, found: EntryTable, rejects: readonly Reject[]): EntryTable {
  const nodes = new Set<string>();
  const networks = new Set<string>();
  for (const { host, podCidrs } of rejects) {
    if (host !== null) nodes.add(formatAddress(host));
    for (const { address } of podCidrs) networks.add(formatAddress(address));
  }
  const macs = macsOf(found, nodes, networks);
  const gateways = gatewaysOf(found, macs);
  const kept = new EntryTable(0);
  for (let row = 0; row < found.count; row += 1) {
    const kind = found.kind(row);
    if (kind > ROUTE || (kind === ROUTE && !isCanonical(overlay, found, row))) continue;
    const entry = found.entry(row);
    let isKept = false;
    if (entry.kind === "route") isKept = leadsTo(entry.route, nodes, networks, gateways);
    else if (entry.kind === "neighbour") isKept = macs.has(entry.mac);
    else isKept = macs.has(entry.mac);
    if (isKept) copyRow(found, row, kept);
  }
  return kept;
}

/** The Ethernet addresses that are behind the nodes, or that the gateways to the networks have. */
function macsOf(found: EntryTable, nodes: Set<string>, networks: Set<string>): Set<string> {
  const macs = new Set<string>();
  for (let row = 0; row < found.count; row += 1) {
    if (found.kind(row) >= ROUTE) continue;
    const entry = found.entry(row);
    if (entry.kind === "forwarding" && nodes.has(formatAddress(entry.host))) macs.add(entry.mac);
    if (entry.kind === "neighbour" && networks.has(formatAddress(entry.address))) macs.add(entry.mac);
  }
  return macs;
}

/** The gateways that have one of some Ethernet addresses. */
function gatewaysOf(found: EntryTable, macs: Set<string>): Set<string> {
  const gateways = new Set<string>();
  for (let row = 0; row < found.count; row += 1) {
    if (found.kind(row) !== NEIGHBOUR) continue;
    const entry = found.entry(row);
    if (entry.kind === "neighbour" && macs.has(entry.mac)) gateways.add(formatAddress(entry.address));
  }
  return gateways;
}

function leadsTo(route: TunnelRoute, nodes: Set<string>, networks: Set<string>, gateways: Set<string>): boolean {
  const { dst, gateway, tunnel, onlink } = route;
  if (networks.has(formatAddress(dst.address))) return true;
  if (tunnel !== null) return nodes.has(formatAddress(tunnel.host));
  if (gateway === null) return false;
  return onlink ? gateways.has(formatAddress(gateway)) : nodes.has(formatAddress(gateway));
}

/** Whether a route is as this overlay makes them. */
function isCanonical(overlay: Overlay, found: EntryTable, row: number): boolean {
  const at = row * ROW_WORDS;
  return (found.words[at + FLAGS] ?? 0) >>> 8 === PROTOCOL && hasOurMetric(overlay, found.words, at);
}

function copyRow(from: EntryTable, row: number, to: EntryTable): void {
  const at = to.begin();
  for (let i = 0; i < ROW_WORDS; i += 1) to.words[at + i] = from.words[row * ROW_WORDS + i] ?? 0;
  to.end();
}

/**
 * Adds what is kept to what should be, where nothing else is to be in its place.
 * @param before the index of the device that it was on, in whose place another one may be now
 */
export function addKept(overlay: Overlay, desired: EntryTable, kept: EntryTable, before: number): void {
  const own = new WordIndex(desired.words, ROW_WORDS, 0, KEY_WORDS, desired.count);
  for (let row = 0; row < desired.count; row += 1) own.add(row);
  const taken = new WordIndex(kept.words, ROW_WORDS, 0, KEY_WORDS, kept.count);
  for (let row = 0; row < kept.count; row += 1) {
    const at = row * ROW_WORDS;
    if (kept.kind(row) === ROUTE && kept.words[at + LINK] === before) kept.words[at + LINK] = overlay.link;
    if (own.find(kept.words, at) < 0 && taken.add(row) === row) copyRow(kept, row, desired);
  }
}

/** The addresses of some entries' nodes besides others'. */
export function joined(hosts: Int32Array, more: Int32Array): Int32Array {
  if (more.length === 0) return hosts;
  const all = new Int32Array(hosts.length + more.length);
  all.set(hosts);
  const index = new WordIndex(hosts, ADDRESS_WORDS, 0, ADDRESS_WORDS, hosts.length / ADDRESS_WORDS);
  for (let row = 0; row * ADDRESS_WORDS < hosts.length; row += 1) index.add(row);
  let length = hosts.length;
  for (let at = 0; at < more.length; at += ADDRESS_WORDS) {
    if (index.find(more, at) >= 0) continue;
    for (let i = 0; i < ADDRESS_WORDS; i += 1) all[length + i] = more[at + i] ?? 0;
    length += ADDRESS_WORDS;
  }
  return all.subarray(0, length);
}
