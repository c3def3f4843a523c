/** From what the kernel holds to what it should hold: the fewest changes, routes after what they need. Pure. */
import { AddressColumn, AddressIndex, AddressList } from "../ip/columns.ts";
import { EntryIndex, type EntryTable, FDB, NEIGHBOUR, ROUTE } from "../netlink/entries/table.ts";
import type { Addresses } from "../netlink/nftables/address-sets.ts";
import { OURS } from "./ownership.ts";

/** What to remove and what to put, which replaces what has the same key. Remove first. */
export interface Difference {
  /** Rows of what was found: routes first, then what they need. */
  readonly remove: Int32Array;
  /** Rows of what is desired: routes last. The kernel would ask the network for a gateway that it does not know yet. */
  readonly put: Int32Array;
}

/* What becomes of a row that was found. */
const SAME = 0;
const OTHER = 1;
const REPLACED = 2;

/**
 * Compares the entries that should exist with those found.
 * @param desired no two with one key
 * @param found with marks; only OURS are compared
 */
export function differenceOf(desired: EntryTable, found: EntryTable): Difference {
  const wanted = EntryIndex.of(desired);
  const exists = new Uint8Array(desired.count);
  const fates = new Uint8Array(found.count);
  for (let row = 0; row < found.count; row += 1) {
    if (found.mark(row) !== OURS) continue;
    const match = wanted.find(found, row);
    if (match >= 0 && desired.isSame(match, found, row)) exists[match] = 1;
    else fates[row] = OTHER;
  }
  /* Of several that have a wanted key but another value, the request replaces one. The others have to be removed. */
  const replaced = new Uint8Array(desired.count);
  for (let row = 0; row < found.count; row += 1) {
    if (fates[row] !== OTHER) continue;
    const match = wanted.find(found, row);
    if (match < 0 || exists[match] === 1 || replaced[match] === 1) continue;
    replaced[match] = 1;
    fates[row] = REPLACED;
  }
  for (let row = 0; row < found.count; row += 1) fates[row] = fates[row] === OTHER ? 0 : 1;
  return {
    remove: rowsOf(found, fates, [ROUTE, NEIGHBOUR, FDB]),
    put: rowsOf(desired, exists, [FDB, NEIGHBOUR, ROUTE]),
  };
}

/** The rows that are not marked with 1, by kinds. */
function rowsOf(table: EntryTable, marks: Uint8Array, kinds: readonly number[]): Int32Array {
  const rows = new Int32Array(table.count);
  let count = 0;
  for (const kind of kinds) {
    for (let row = 0; row < table.count; row += 1) {
      if (marks[row] !== SAME || table.kind(row) !== kind) continue;
      rows[count] = row;
      count += 1;
    }
  }
  return rows.subarray(0, count);
}

/** Up to so many nodes may be removed at once without a question: small clusters change as a whole. */
export const FEW_NODES = 10;

/**
 * Whether a change would remove more than half of more than ten nodes: that is more likely a mistake in the list than a
 * change of the cluster.
 * @param changes how many entries change; each removes one node at most
 * @returns the number of nodes that would be removed, or 0 if the change is fine
 */
export function tooManyLost(desired: EntryTable, found: EntryTable, changes: number): number {
  /* Of so many nodes no half can be removed, however many more there are. */
  const before = hostsOf(found, Math.max(FEW_NODES + 1, changes * 2));
  if (before.count <= FEW_NODES || changes * 2 <= before.count) return 0;
  const after = hostsOf(desired).index();
  let lost = 0;
  for (let row = 0; row < before.count; row += 1) if (after.find(before.addresses, row) < 0) lost += 1;
  return lost * 2 > before.count ? lost : 0;
}

/** The addresses of the nodes that our entries lead to, each once. @param most how many are enough */
export function hostsOf(table: EntryTable, most = table.count): AddressList {
  const capacity = Math.min(table.count, most);
  const hosts = new AddressList(capacity);
  const index = new AddressIndex(hosts.addresses, capacity);
  for (let row = 0; row < table.count && hosts.count < most; row += 1) {
    const nodes = table.mark(row) === OURS ? table.nodes(row) : null;
    if (nodes === null) continue;
    const last = hosts.count;
    hosts.append(nodes, row);
    if (index.add(last) !== last) hosts.count = last;
  }
  return hosts;
}

/** Addresses to add and to remove when one list takes the place of another. */
export interface AddressDifference {
  readonly coming: Addresses;
  readonly going: Addresses;
}

/** Compares the addresses that should exist with those found, each of which is there once. */
export function addressDifference(wanted: Addresses, found: Addresses): AddressDifference {
  const wantedRows = AddressColumn.list(wanted.words);
  const foundRows = AddressColumn.list(found.words);
  const index = new AddressIndex(foundRows, found.count);
  for (let row = 0; row < found.count; row += 1) index.add(row);
  const stays = new Uint8Array(found.count);
  const exists = new Uint8Array(wanted.count);
  for (let row = 0; row < wanted.count; row += 1) {
    const match = index.find(wantedRows, row);
    if (match < 0) continue;
    stays[match] = 1;
    exists[row] = 1;
  }
  return { coming: unmarked(wantedRows, wanted.count, exists), going: unmarked(foundRows, found.count, stays) };
}

function unmarked(column: AddressColumn, count: number, marks: Uint8Array): Addresses {
  const list = new AddressList(count);
  for (let row = 0; row < count; row += 1) if (marks[row] !== 1) list.append(column, row);
  return { words: list.addresses.words, count: list.count };
}
