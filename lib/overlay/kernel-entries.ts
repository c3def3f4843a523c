/** An overlay's entries in the kernel: listing, putting and removing them. */

import type { TunnelRoute } from "../netlink/entries/entry.ts";
import { listFdb, listNeighbours, writeDeleteNeighbour, writeReplaceNeighbour } from "../netlink/entries/neighbours.ts";
import { listRoutes, writeDeleteRoute, writeReplaceRoute } from "../netlink/entries/routes.ts";
import { EntryTable, ROUTE } from "../netlink/entries/table.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { ENOENT, ESRCH, errnoText } from "../sys/errno.ts";
import { describeEntry } from "./entries.ts";
import { markRoutes, type Overlay, PROTOCOL } from "./ownership.ts";

/** So many changes are sent at once. */
const AT_ONCE = 512;

/** All routes of the main routing table, with marks. @param expected how many there may be */
export function listMarkedRoutes(socket: NetlinkSocket, overlay: Overlay, expected: number): EntryTable {
  const table = new EntryTable(expected);
  listRoutes(socket, 4, table);
  listRoutes(socket, 6, table);
  markRoutes(overlay, table);
  return table;
}

/** Adds the overlay's neighbours and forwarding entries. */
export function addDeviceEntries(socket: NetlinkSocket, overlay: Overlay, table: EntryTable): void {
  if (overlay.datapath === "gpe" || overlay.link === 0) return;
  listNeighbours(socket, overlay.link, 4, PROTOCOL, table);
  listNeighbours(socket, overlay.link, 6, PROTOCOL, table);
  listFdb(socket, overlay.link, table);
}

/** @throws NetlinkError */
export function addStamp(socket: NetlinkSocket, stamp: TunnelRoute): void {
  writeReplaceRoute(socket, EntryTable.of([{ kind: "route", route: stamp }]), 0);
  socket.run();
}

/** Puts some rows of a table. Returns what the kernel refused, a sentence each. @throws SystemError */
export function putRows(socket: NetlinkSocket, overlay: Overlay, table: EntryTable, rows: Int32Array): string[] {
  return send(socket, overlay, table, rows, false);
}

/** Removes some rows of a table; one that does not exist any more is removed. Returns and throws as `putRows`. */
export function removeRows(socket: NetlinkSocket, overlay: Overlay, table: EntryTable, rows: Int32Array): string[] {
  return send(socket, overlay, table, rows, true);
}

function send(socket: NetlinkSocket, overlay: Overlay, table: EntryTable, rows: Int32Array, remove: boolean): string[] {
  const refused: string[] = [];
  for (let from = 0; from < rows.length; from += AT_ONCE) {
    const end = Math.min(from + AT_ONCE, rows.length);
    for (let i = from; i < end; i += 1) {
      if (remove) writeRemove(socket, overlay, table, rows[i] ?? 0);
      else writePut(socket, overlay, table, rows[i] ?? 0);
    }
    for (const { index, errno } of socket.exchange(() => {})) {
      if (remove && (errno === ENOENT || errno === ESRCH)) continue;
      const entry = describeEntry(table.entry(rows[from + index] ?? 0));
      refused.push(`cannot ${remove ? "remove" : "put"} ${entry}: ${errnoText(errno)}`);
    }
  }
  return refused;
}

function writePut(socket: NetlinkSocket, overlay: Overlay, table: EntryTable, row: number): void {
  if (table.kind(row) === ROUTE) writeReplaceRoute(socket, table, row);
  else writeReplaceNeighbour(socket, overlay.link, table, row, PROTOCOL);
}

function writeRemove(socket: NetlinkSocket, overlay: Overlay, table: EntryTable, row: number): void {
  if (table.kind(row) === ROUTE) writeDeleteRoute(socket, table, row);
  else writeDeleteNeighbour(socket, overlay.link, table, row);
}
