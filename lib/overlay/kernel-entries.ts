/** An overlay's entries in the kernel: listing them, putting them, taking them away. */
import { EntryTable, ROUTE } from "../netlink/entry-table.ts";
import { listForwarding, listNeighbours, writeDeletePermanent, writePermanent } from "../netlink/neighbour.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { listTunnelRoutes, writeDeleteTunnelRoute, writeTunnelRoute } from "../netlink/tunnel-route.ts";
import { ENOENT, ESRCH, errnoText } from "../sys/errno.ts";
import { classify, describeEntry, type Overlay, PROTOCOL } from "./entries.ts";

/** So many changes are sent at once. */
const AT_ONCE = 512;

/** All routes of the main table, told apart. @param expected how many there may be */
export function listRoutes(socket: NetlinkSocket, overlay: Overlay, expected: number): EntryTable {
  const table = new EntryTable(expected);
  listTunnelRoutes(socket, 4, table);
  listTunnelRoutes(socket, 6, table);
  classify(overlay, table);
  return table;
}

/** Adds what else the kernel holds for the overlay. */
export function listOthers(socket: NetlinkSocket, overlay: Overlay, table: EntryTable): void {
  if (overlay.datapath === "gpe" || overlay.link === 0) return;
  listNeighbours(socket, overlay.link, 4, PROTOCOL, table);
  listNeighbours(socket, overlay.link, 6, PROTOCOL, table);
  listForwarding(socket, overlay.link, table);
}

/**
 * Puts some of a table's rows, or with `away` removes them, and notes in `refused` what the kernel refused, in words.
 * @throws SystemError
 */
export function send(
  socket: NetlinkSocket,
  overlay: Overlay,
  table: EntryTable,
  rows: Int32Array,
  away: boolean,
  refused: string[],
): void {
  for (let from = 0; from < rows.length; from += AT_ONCE) {
    const end = Math.min(from + AT_ONCE, rows.length);
    for (let i = from; i < end; i += 1) {
      if (away) writeRemoval(socket, overlay, table, rows[i] ?? 0);
      else writeRow(socket, overlay, table, rows[i] ?? 0);
    }
    for (const { index, errno } of socket.exchange(ignore)) {
      if (away && (errno === ENOENT || errno === ESRCH)) continue;
      const entry = describeEntry(table.entry(rows[from + index] ?? 0));
      refused.push(`cannot ${away ? "remove" : "put"} ${entry}: ${errnoText(errno)}`);
    }
  }
}

function writeRow(socket: NetlinkSocket, overlay: Overlay, table: EntryTable, row: number): void {
  if (table.kind(row) >= ROUTE) writeTunnelRoute(socket, table, row);
  else writePermanent(socket, overlay.link, table, row, PROTOCOL);
}

function writeRemoval(socket: NetlinkSocket, overlay: Overlay, table: EntryTable, row: number): void {
  if (table.kind(row) >= ROUTE) writeDeleteTunnelRoute(socket, table, row);
  else writeDeletePermanent(socket, overlay.link, table, row);
}

/** Answers that say nothing. */
export function ignore(): void {}
