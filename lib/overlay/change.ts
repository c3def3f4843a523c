/** Brings the entries in the kernel to what they should be, and says what prevented it. */
import type { Address } from "../ip/address.ts";
import { AddressColumn } from "../ip/columns.ts";
import type { EntryTable } from "../netlink/entries/table.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { type Difference, differenceOf, FEW_NODES, hostsOf, tooManyLost } from "./difference.ts";
import { describeEntry } from "./entries.ts";
import { areUnknown } from "./kept.ts";
import { addStamp, putRows, removeRows } from "./kernel-entries.ts";
import { countMarked, OURS, type Overlay, rowsMarked, STAMP } from "./ownership.ts";
import type { PeerList } from "./peers.ts";
import { isSameStamp, stampRoute } from "./stamp.ts";
import type { ValidPeers } from "./valid-peers.ts";

/** What the kernel should hold. */
export interface Wanted {
  readonly overlay: Overlay;
  readonly desired: EntryTable;
  readonly list: PeerList;
  /** What of the list is used. */
  readonly valid: ValidPeers;
  /** What the stamp is made from. */
  readonly configuration: string;
  readonly identity: string;
}

export interface ChangeResult {
  /** Why the kernel does not hold what the peers say; "" if it does. */
  readonly problem: string;
  /** Whether nothing was removed although the list asks for it, or may do so. */
  readonly heldBack: boolean;
  /** Whether the kernel has entries of any peer. */
  readonly hasPeers: boolean;
  /** Whether anything was changed, or the stamp added. */
  readonly changed: boolean;
  /** The first few entries that were different although the stamp was right. */
  readonly repaired: readonly string[];
}

/**
 * @param found all that the kernel holds, with marks
 * @param beforeStamp what else has to be removed with peers; not called while they are kept
 */
export function changeEntries(
  socket: NetlinkSocket,
  wanted: Wanted,
  found: EntryTable,
  beforeStamp: () => void,
): ChangeResult {
  const { overlay, desired, valid } = wanted;
  const stamp = stampRoute(overlay.link, wanted.configuration, wanted.identity);
  const stamps = rowsMarked(found, STAMP);
  const stamped = stamps.length === 1 && isSameStamp(stamp, found.route(stamps[0] ?? 0));
  const difference = differenceOf(desired, found);
  const held = countMarked(found, OURS);
  const reason = heldBackBecause(wanted.list, desired, found, difference);
  const heldBack = reason !== "" || areUnknown(valid.rejects);
  const { put } = difference;
  const remove = heldBack ? new Int32Array(0) : difference.remove;
  const refused: string[] = [];
  const changed = remove.length + put.length > 0 || !stamped;
  if (changed) {
    removeRows(socket, overlay, found, stamps);
    refused.push(...removeRows(socket, overlay, found, remove));
    refused.push(...putRows(socket, overlay, desired, put));
  }
  /* A call that is killed here leaves no stamp, and the next one does the rest. */
  if (!heldBack) beforeStamp();
  /* Without a stamp each call looks again: what a rejected record contradicts may have gone. */
  const isWhole = refused.length === 0 && !heldBack && valid.rejects.length === 0;
  if (changed && isWhole && isFree(stamp.dst.address, valid)) {
    addStamp(socket, stamp);
  }
  return {
    problem: refused[0] ?? reason,
    heldBack,
    hasPeers: desired.count > 0 || held > remove.length,
    changed,
    repaired: stamped ? firstOf(found, remove, desired, put) : [],
  };
}

const MAX_REPORTED = 3;

/** The first few of the rows that were removed and put, as text. */
function firstOf(found: EntryTable, remove: Int32Array, desired: EntryTable, put: Int32Array): string[] {
  const texts: string[] = [];
  for (let i = 0; i < remove.length && texts.length < MAX_REPORTED; i += 1)
    texts.push(describeEntry(found.entry(remove[i] ?? 0)));
  for (let i = 0; i < put.length && texts.length < MAX_REPORTED; i += 1)
    texts.push(describeEntry(desired.entry(put[i] ?? 0)));
  return texts;
}

/** Why nothing is removed although the list lacks nodes; "" if all may be. @param found with marks */
export function heldBackBecause(
  list: PeerList,
  desired: EntryTable,
  found: EntryTable,
  difference: Difference,
): string {
  if (list.force) return "";
  const emptied = list.peers.count + list.rejects.length === 0 && countMarked(found, OURS) > 0;
  /* An entry that is removed or replaced may be the last one of its node. */
  const atMost = difference.remove.length + difference.put.length;
  const lost = atMost > FEW_NODES / 2 ? tooManyLost(desired, found, atMost) : 0;
  if (!emptied && lost === 0) return "";
  const nodes = hostsOf(found).count;
  return `the peers lack ${emptied ? "all" : lost} of ${nodes} nodes that they had: nothing is removed unless their first line says "force":true`;
}

/** Whether no node and no pod has the stamp's address: some networks use reserved addresses. */
function isFree(address: Address, { peers, networks }: ValidPeers): boolean {
  const column = AddressColumn.of(address);
  return networks.networkOf(column, 0) < 0 && peers.find(column, 0) < 0;
}
