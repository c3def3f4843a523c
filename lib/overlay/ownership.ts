/**
 * Which of the kernel's entries are this overlay's. Neighbours and forwarding entries are if they are on its device. Routes are
 * if they are on its device, or have its protocol number and the metric that it gives to their prefix. Pure.
 */
import type { AddressColumn } from "../ip/columns.ts";
import { fnv1aByte } from "../ip/fnv1a.ts";
import { IPV4_LENGTH } from "../ip/words.ts";
import { RTPROT_KERNEL } from "../netlink/entries/entry.ts";
import { type EntryTable, ROUTE } from "../netlink/entries/table.ts";
import type { Datapath } from "./mtu.ts";

/** The protocol number of our routes and neighbours: `ip route show proto 112`. No routing daemon has it (rt_protos of iproute2). */
export const PROTOCOL = 112;

/* The marks of rows. Neighbours and forwarding entries are listed from our device alone, so they are ours. */
export const OURS = 0;
/** A route of somebody else. */
export const FOREIGN = 1;
/** The stamp of some configuration, see stamp.ts. */
export const STAMP = 2;

/** The overlay that entries belong to. */
export interface Overlay {
  readonly datapath: Datapath;
  readonly vni: number;
  /** The index of its VXLAN device, 0 if there is none. */
  readonly link: number;
}

/** Marks the routes of a table. */
export function markRoutes(overlay: Overlay, table: EntryTable): void {
  for (let row = 0; row < table.count; row += 1) {
    if (table.kind(row) === ROUTE) table.setMark(row, markOf(overlay, table, row));
  }
}

function markOf(overlay: Overlay, table: EntryTable, row: number): number {
  if (overlay.link === 0 || table.link(row) !== overlay.link) return isAsWeMake(overlay, table, row) ? OURS : FOREIGN;
  if (isStamp(table, row)) return STAMP;
  return table.protocol(row) === RTPROT_KERNEL ? FOREIGN : OURS;
}

/** Whether a route has the protocol number and the metric that this overlay gives to it, on whichever link. */
export function isAsWeMake(overlay: Overlay, table: EntryTable, row: number): boolean {
  if (table.protocol(row) !== PROTOCOL) return false;
  return table.metric(row) === metricOf(table.addresses, row, table.length(row), overlay.vni);
}

/** The first byte of addresses of 240.0.0.0/4. */
const FIRST_RESERVED = 240;

/** Whether a route leads to one address of 240.0.0.0/4. */
function isStamp(table: EntryTable, row: number): boolean {
  const { addresses } = table;
  return table.length(row) === 128 && addresses.isIpv4(row) && addresses.firstByte(row) >= FIRST_RESERVED;
}

/** The rows with a mark. */
export function rowsMarked(table: EntryTable, mark: number): Int32Array {
  const rows = new Int32Array(countMarked(table, mark));
  let count = 0;
  for (let row = 0; row < table.count; row += 1) {
    if (table.mark(row) !== mark) continue;
    rows[count] = row;
    count += 1;
  }
  return rows;
}

export function countMarked(table: EntryTable, mark: number): number {
  let count = 0;
  for (let row = 0; row < table.count; row += 1) if (table.mark(row) === mark) count += 1;
  return count;
}

/**
 * The metric of the route to a network of pods, from 2^30 to 2^31 - 1: FNV-1a of network and VNI, so that networks differ in
 * it. The kernel compares a new IPv4 route's next hop with those of all routes that share device and metric: with one metric
 * for all, each of 5,000 routes would take 30 times as long to add.
 * @param networks the column that has the network's address in `row`
 * @param length the network's, from 0 to 128
 */
export function metricOf(networks: AddressColumn, row: number, length: number, vni: number): number {
  let hash = networks.fnv1a(row);
  hash = fnv1aByte(hash, networks.isIpv4(row) ? length - IPV4_LENGTH : length);
  hash = fnv1aByte(hash, vni & 255);
  hash = fnv1aByte(hash, (vni >> 8) & 255);
  hash = fnv1aByte(hash, (vni >> 16) & 255);
  return (hash >>> 2) | 0x40000000;
}
