/** Takes a network's overlay away from a node: its routes, its device, its table, and the line of its configuration. */
import { writeDeleteLink } from "../netlink/link.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import * as sys from "../sys/sys.ts";
import { ownDevice } from "./device.ts";
import { filterTable } from "./filter-rules.ts";
import { listMarkedRoutes, removeRows } from "./kernel-entries.ts";
import { OURS, rowsMarked } from "./ownership.ts";
import { FEW_ENTRIES } from "./reconcile.ts";
import { deviceName, type OverlaySettings } from "./settings.ts";
import { removeTable } from "./stale-devices.ts";
import { linesIn, lockState, removeLine } from "./state-file.ts";
import { overlayOf } from "./topology.ts";

export interface Removal {
  /** The device that was removed; "" if there was none. */
  readonly device: string;
  /** How many routes to other nodes' pods there were. */
  readonly routes: number;
  /** What the kernel refused to remove, a sentence each. */
  readonly refused: readonly string[];
}

/**
 * As `ip route del ...` for each route, then `ip link del overlay1; nft delete table inet podwire_overlay1`. Forwarding stays on, and
 * so do the bridge and the pods on it.
 * @throws CniError if another program's device has the overlay's name, or a lock is not to be had; NetlinkError
 */
export function removeOverlay(socket: NetlinkSocket, settings: OverlaySettings): Removal {
  const lock = lockState();
  try {
    const device = ownDevice(socket, settings);
    const overlay = overlayOf(settings, device);
    const found = listMarkedRoutes(socket, overlay, FEW_ENTRIES);
    const rows = rowsMarked(found, OURS);
    const refused = removeRows(socket, overlay, found, rows);
    if (device !== null) {
      writeDeleteLink(socket, device.link.index);
      socket.run();
    }
    removeTable(filterTable(settings));
    removeLine(lock, linesIn(lock), settings);
    return { device: device === null ? "" : deviceName(settings), routes: rows.length, refused };
  } finally {
    sys.close(lock);
  }
}
