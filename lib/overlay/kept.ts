/** What the kernel holds of nodes whose records cannot be used. It stays: the node may exist although its record is wrong. Pure. */
import { formatAddress } from "../ip/address.ts";
import { AddressList } from "../ip/columns.ts";
import type { TunnelRoute } from "../netlink/entries/entry.ts";
import { EntryIndex, EntryTable, NEIGHBOUR, ROUTE } from "../netlink/entries/table.ts";
import { isAsWeMake, OURS, type Overlay } from "./ownership.ts";
import type { Reject } from "./peers.ts";

/** Whether a record does not tell which node it is of: then no node is removed. */
export function areUnknown(rejects: readonly Reject[]): boolean {
  return rejects.some((reject) => reject.host === null && reject.podCidrs.length === 0);
}

/** The entries that lead to the nodes of some rejects. @param found all that the kernel holds, with marks */
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
    if (found.mark(row) !== OURS) continue;
    if (found.kind(row) === ROUTE && !isAsWeMake(overlay, found, row)) continue;
    const entry = found.entry(row);
    let isKept = false;
    if (entry.kind === "route") isKept = leadsTo(entry.route, nodes, networks, gateways);
    else if (entry.kind === "neighbour") isKept = macs.has(entry.mac);
    else isKept = macs.has(entry.mac);
    if (isKept) kept.appendRow(found, row);
  }
  return kept;
}

/** The MACs that are behind the nodes, or that the gateways to the networks have. */
function macsOf(found: EntryTable, nodes: Set<string>, networks: Set<string>): Set<string> {
  const macs = new Set<string>();
  for (let row = 0; row < found.count; row += 1) {
    if (found.kind(row) === ROUTE) continue;
    const entry = found.entry(row);
    if (entry.kind === "fdb" && nodes.has(formatAddress(entry.host))) macs.add(entry.mac);
    if (entry.kind === "neighbour" && networks.has(formatAddress(entry.address))) macs.add(entry.mac);
  }
  return macs;
}

/** The gateways that have one of some MACs. */
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

/**
 * Adds what is kept to what should exist, unless something else has its key.
 * @param before the index of the device that it was on; `overlay` may have another one now
 */
export function addKept(overlay: Overlay, desired: EntryTable, kept: EntryTable, before: number): void {
  const taken = EntryIndex.of(desired);
  const own = new EntryIndex(kept);
  for (let row = 0; row < kept.count; row += 1) {
    if (kept.kind(row) === ROUTE && kept.link(row) === before) kept.setLink(row, overlay.link);
    if (taken.find(kept, row) < 0 && own.add(row) === row) desired.appendRow(kept, row);
  }
}

/** The addresses of two lists, each of which has an address once. */
export function joined(hosts: AddressList, more: AddressList): AddressList {
  if (more.count === 0) return hosts;
  const all = new AddressList(hosts.count + more.count);
  all.appendRows(hosts.addresses, 0, hosts.count);
  const index = hosts.index();
  for (let row = 0; row < more.count; row += 1) {
    if (index.find(more.addresses, row) < 0) all.append(more.addresses, row);
  }
  return all;
}
