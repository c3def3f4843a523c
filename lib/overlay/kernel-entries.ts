/** An overlay's entries in the kernel: listing them, putting them, taking them away. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { parseMac } from "../ip/mac.ts";
import {
  listForwarding,
  listNeighbours,
  writeDeleteForwarding,
  writeForwarding,
  writeNeighbour,
} from "../netlink/neighbour.ts";
import { writeDeleteNeighbour } from "../netlink/route.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import {
  listTunnelRoutes,
  type TunnelRoute,
  writeDeleteTunnelRoute,
  writeTunnelRoute,
} from "../netlink/tunnel-route.ts";
import { ENOENT, ESRCH, errnoText } from "../sys/errno.ts";
import { describeEntry, type Entry, entriesFound, type Overlay, PROTOCOL } from "./entries.ts";
import { isStamp } from "./stamp.ts";

/** So many changes are sent at once. */
const AT_ONCE = 512;

/** All routes of the main table. */
export function listAllRoutes(socket: NetlinkSocket): TunnelRoute[] {
  return [...listTunnelRoutes(socket, 4), ...listTunnelRoutes(socket, 6)];
}

/** What the kernel holds for the overlay. */
export function heldBy(socket: NetlinkSocket, overlay: Overlay): Entry[] {
  return foundOf(socket, overlay, listAllRoutes(socket));
}

/** The same with the routes that were listed already. */
export function foundOf(socket: NetlinkSocket, overlay: Overlay, routes: readonly TunnelRoute[]): Entry[] {
  const plain = routes.filter((route) => !isStamp(route));
  if (overlay.datapath === "gpe") return entriesFound(overlay, [], [], plain);
  const neighbours = [...listNeighbours(socket, overlay.link, 4), ...listNeighbours(socket, overlay.link, 6)];
  return entriesFound(overlay, listForwarding(socket, overlay.link), neighbours, plain);
}

/**
 * Puts entries, or with `away` removes them, and notes in `refused` what the kernel refused, in words.
 * @throws SystemError
 */
export function send(
  socket: NetlinkSocket,
  overlay: Overlay,
  entries: readonly Entry[],
  away: boolean,
  refused: string[],
): void {
  for (let from = 0; from < entries.length; from += AT_ONCE) {
    const some = entries.slice(from, from + AT_ONCE);
    for (const entry of some) {
      if (away) writeRemoval(socket, overlay, entry);
      else writeEntry(socket, overlay, entry);
    }
    const errors = socket.executeAll(ignore);
    for (let i = 0; i < some.length; i += 1) {
      const errno = errors[i] ?? 0;
      const entry = some[i];
      if (errno === 0 || entry === undefined || (away && (errno === ENOENT || errno === ESRCH))) continue;
      refused.push(`cannot ${away ? "remove" : "put"} ${describeEntry(entry)}: ${errnoText(errno)}`);
    }
  }
}

function writeEntry(socket: NetlinkSocket, overlay: Overlay, entry: Entry): void {
  if (entry.kind === "route") writeTunnelRoute(socket, entry.route);
  else if (entry.kind === "forwarding") writeForwarding(socket, overlay.link, macOf(entry.mac), entry.host);
  else writeNeighbour(socket, overlay.link, entry.address, macOf(entry.mac), PROTOCOL);
}

function writeRemoval(socket: NetlinkSocket, overlay: Overlay, entry: Entry): void {
  if (entry.kind === "route") writeDeleteTunnelRoute(socket, entry.route);
  else if (entry.kind === "forwarding") writeDeleteForwarding(socket, overlay.link, macOf(entry.mac), entry.host);
  else writeDeleteNeighbour(socket, overlay.link, entry.address);
}

function macOf(text: string): Uint8Array {
  const mac = parseMac(text);
  if (mac === null) throw new CniError(KERNEL_REFUSED, `the kernel lists an Ethernet address "${text}"`);
  return mac;
}

/** Answers that say nothing. */
export function ignore(): void {}
