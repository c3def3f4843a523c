/** Changes what the kernel holds into what it should hold, and says what stood in the way. */
import { ADDRESS_WORDS, type WordIndex } from "../ip/words.ts";
import { EntryTable, FOREIGN, HEAD, KEY, METRIC, ROUTE, ROW_WORDS, STAMP } from "../netlink/entry-table.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { writeDeleteTunnelRoute, writeTunnelRoute } from "../netlink/tunnel-route.ts";
import { differenceOf, FEW_NODES, hostsOf, indexOf, tooManyLost } from "./difference.ts";
import { describeEntry, metricAt, type Overlay } from "./entries.ts";
import { ignore, send } from "./kernel-entries.ts";
import type { PeerList } from "./peers.ts";
import { isSameStamp, stampRoute } from "./stamp.ts";

const MAX_REPORTED = 3;

/** What the kernel should hold. */
export interface Wanted {
  readonly overlay: Overlay;
  readonly desired: EntryTable;
  readonly list: PeerList;
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
  const { overlay, desired, list } = wanted;
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
  const emptied = list.peers.count === 0 && held > 0 && !list.force;
  const heldBack = lost > 0 || emptied;
  const remove = heldBack ? new Int32Array(0) : difference.remove;
  const changes = remove.length + difference.put.length;
  const refused: string[] = [];
  const restamped = changes > 0 || !stamped;
  if (restamped) {
    for (const row of stamps) writeDeleteTunnelRoute(socket, found, row);
    socket.executeAll(ignore);
    send(socket, overlay, found, remove, true, refused);
    send(socket, overlay, desired, difference.put, false, refused);
  }
  /* Whoever is killed here has left no stamp, and the next call does the rest. */
  if (!heldBack) beforeStamp();
  if (restamped && refused.length === 0 && !heldBack) {
    putStamp(socket, EntryTable.of([{ kind: "route", route: stamp }]));
  }
  const repaired: string[] = [];
  for (let i = 0; stamped && i < changes && i < MAX_REPORTED; i += 1) {
    const entry =
      i < remove.length ? found.entry(remove[i] ?? 0) : desired.entry(difference.put[i - remove.length] ?? 0);
    repaired.push(describeEntry(entry));
  }
  const kept = heldBack ? heldBackBecause(emptied ? -1 : lost, found) : "";
  const problem = refused[0] ?? (kept === "" ? overriddenBy(overlay, index, found, foreign) : kept);
  return {
    problem,
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

/** Says of a route to a peer's pods that is not ours and comes before ours; "" if there is none. */
function overriddenBy(overlay: Overlay, index: WordIndex, found: EntryTable, foreign: readonly number[]): string {
  const key = new EntryTable(1);
  for (const row of foreign) {
    const at = row * ROW_WORDS;
    const wide = (found.words[at + HEAD] ?? 0) >>> 8;
    key.begin();
    key.words[HEAD] = ROUTE | (wide << 8);
    for (let i = 0; i < ADDRESS_WORDS; i += 1) key.words[KEY + i] = found.words[at + KEY + i] ?? 0;
    const metric = metricAt(key.words, KEY, wide, overlay.vni);
    key.words[METRIC] = metric;
    if ((found.words[at + METRIC] ?? 0) >>> 0 >= metric || index.find(key.words, 0) < 0) continue;
    return `somebody's ${describeEntry(found.entry(row))} comes before the overlay's route to these pods`;
  }
  return "";
}
