/** Changes what the kernel holds into what it should hold, and says what stood in the way. */
import type { Address } from "../ip/address.ts";
import { ADDRESS_WORDS, putAddress } from "../ip/words.ts";
import { EntryTable, FOREIGN, STAMP } from "../netlink/entry-table.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { writeDeleteTunnelRoute, writeTunnelRoute } from "../netlink/tunnel-route.ts";
import { differenceOf, FEW_NODES, hostsOf, indexOf, tooManyLost } from "./difference.ts";
import { describeEntry, type Overlay } from "./entries.ts";
import { areUnknown } from "./kept.ts";
import { ignore, send } from "./kernel-entries.ts";
import type { PeerList } from "./peers.ts";
import type { Sound } from "./sound.ts";
import { isSameStamp, stampRoute } from "./stamp.ts";

const MAX_REPORTED = 3;

/** What the kernel should hold. */
export interface Wanted {
  readonly overlay: Overlay;
  readonly desired: EntryTable;
  readonly list: PeerList;
  /** What of the list is used. */
  readonly sound: Sound;
  /** What the stamp is to say. */
  readonly configuration: string;
  readonly identity: string;
}

export interface Change {
  /** Why the kernel does not hold what the peers say; "" if it does. */
  readonly problem: string;
  /** Whether peers were kept although the list does not have them. */
  readonly heldBack: boolean;
  readonly hasPeers: boolean;
  /** Whether anything had to be done. */
  readonly changed: boolean;
  /** What was different although the stamp was right, at most a few of it. */
  readonly repaired: readonly string[];
}

/**
 * @param found all that the kernel holds, told apart
 * @param beforeStamp what else is to be done with peers that have gone; not called while they are kept
 */
export function change(socket: NetlinkSocket, wanted: Wanted, found: EntryTable, beforeStamp: () => void): Change {
  const { overlay, desired, list, sound } = wanted;
  const index = indexOf(desired);
  const stamp = stampRoute(overlay.link, wanted.configuration, wanted.identity);
  const stamps = found.rowsOf(STAMP);
  const foreign = found.rowsOf(FOREIGN);
  const stamped = stamps.length === 1 && isSameStamp(stamp, found.route(stamps[0] ?? 0));
  const difference = differenceOf(desired, index, found);
  /* An entry that goes or is replaced may be the last of its node's. */
  const atMost = difference.remove.length + difference.put.length;
  const lost = atMost > FEW_NODES / 2 && !list.force ? tooManyLost(desired, found, atMost) : 0;
  const held = found.count - stamps.length - foreign.length;
  const emptied = list.peers.count + list.rejects.length === 0 && held > 0 && !list.force;
  const unknown = areUnknown(sound.rejects);
  const heldBack = lost > 0 || emptied || unknown;
  const remove = heldBack ? new Int32Array(0) : difference.remove;
  const changes = remove.length + difference.put.length;
  const refused: string[] = [];
  const restamped = changes > 0 || !stamped;
  if (restamped) {
    for (const row of stamps) writeDeleteTunnelRoute(socket, found, row);
    socket.exchange(ignore);
    send(socket, overlay, found, remove, true, refused);
    send(socket, overlay, desired, difference.put, false, refused);
  }
  /* Whoever is killed here has left no stamp, and the next call does the rest. */
  if (!heldBack) beforeStamp();
  /* While a record is not used each call looks again: what it contradicts may have gone. */
  const isWhole = refused.length === 0 && !heldBack && sound.rejects.length === 0;
  if (restamped && isWhole && isFree(stamp.dst.address, sound)) {
    putStamp(socket, EntryTable.of([{ kind: "route", route: stamp }]));
  }
  const repaired: string[] = [];
  for (let i = 0; stamped && i < changes && i < MAX_REPORTED; i += 1) {
    const entry =
      i < remove.length ? found.entry(remove[i] ?? 0) : desired.entry(difference.put[i - remove.length] ?? 0);
    repaired.push(describeEntry(entry));
  }
  const kept = lost > 0 || emptied ? heldBackBecause(emptied ? -1 : lost, found) : "";
  return {
    problem: refused[0] ?? kept,
    heldBack,
    hasPeers: desired.count > 0 || held > remove.length,
    changed: restamped,
    repaired,
  };
}

function putStamp(socket: NetlinkSocket, stamp: EntryTable): void {
  writeTunnelRoute(socket, stamp, 0);
  socket.run();
}

/** Why entries were kept that the list does not have. @param lost how many nodes they are of, -1 for all */
function heldBackBecause(lost: number, found: EntryTable): string {
  const nodes = hostsOf(found).length / ADDRESS_WORDS;
  return `the peers lack ${lost < 0 ? "all" : lost} of ${nodes} nodes that they had: nothing is removed unless their first line says "force":true`;
}

/** Whether no node and no pod has the stamp's address: some networks use what is reserved. */
function isFree(address: Address, { peers, claims }: Sound): boolean {
  const words = new Int32Array(ADDRESS_WORDS);
  putAddress(words, 0, address);
  return claims.holderOf(words, 0) < 0 && peers.find(words, 0) < 0;
}
