/** From what the kernel holds to what it should hold: the fewest changes, in an order that never asks it to guess. Pure. */
import { ADDRESS_WORDS, sameAt, WordIndex } from "../ip/words.ts";
import {
  type EntryTable,
  FORWARDING,
  KEY_WORDS,
  NEIGHBOUR,
  ROUTE,
  ROW_WORDS,
  VALUE_WORDS,
} from "../netlink/entry-table.ts";
import type { Addresses } from "../netlink/nftables/address-sets.ts";

/** What to take away and what to put, which replaces what is there under the same key. Take away first. */
export interface Difference {
  /** Rows of what was found: routes first, then what they need. */
  readonly remove: Int32Array;
  /** Rows of what is desired: routes last. One whose gateway is not known yet would make the kernel ask for it. */
  readonly put: Int32Array;
}

/* What becomes of a row that was found. */
const KEPT = 0;
const OTHER = 1;
const REPLACED = 2;

/** Desired entries by their keys. @param desired no two with one key */
export function indexOf(desired: EntryTable): WordIndex {
  const index = new WordIndex(desired.words, ROW_WORDS, 0, KEY_WORDS, desired.count);
  for (let row = 0; row < desired.count; row += 1) index.add(row);
  return index;
}

/**
 * Compares the entries that should be with those found.
 * @param wanted the index of `desired`
 */
export function differenceOf(desired: EntryTable, wanted: WordIndex, found: EntryTable): Difference {
  const there = new Uint8Array(desired.count);
  const fates = new Uint8Array(found.count);
  const own = desired.words;
  const { words } = found;
  for (let row = 0; row < found.count; row += 1) {
    const at = row * ROW_WORDS;
    if (((words[at] ?? 0) & 255) > ROUTE) continue;
    const twin = wanted.find(words, at);
    if (twin >= 0 && sameAt(own, twin * ROW_WORDS + KEY_WORDS, words, at + KEY_WORDS, VALUE_WORDS)) there[twin] = 1;
    else fates[row] = OTHER;
  }
  /* Of what has the key but another value one is replaced by putting; a second one would stay in the way. */
  const replaced = new Uint8Array(desired.count);
  for (let row = 0; row < found.count; row += 1) {
    if (fates[row] !== OTHER) continue;
    const twin = wanted.find(found.words, row * ROW_WORDS);
    if (twin < 0 || there[twin] === 1 || replaced[twin] === 1) continue;
    replaced[twin] = 1;
    fates[row] = REPLACED;
  }
  for (let row = 0; row < found.count; row += 1) fates[row] = fates[row] === OTHER ? 0 : 1;
  return {
    remove: rowsOf(found, fates, [ROUTE, NEIGHBOUR, FORWARDING]),
    put: rowsOf(desired, there, [FORWARDING, NEIGHBOUR, ROUTE]),
  };
}

/** The rows that are not marked, by kinds. */
function rowsOf(table: EntryTable, marks: Uint8Array, kinds: readonly number[]): Int32Array {
  const rows = new Int32Array(table.count);
  let count = 0;
  for (const kind of kinds) {
    for (let row = 0; row < table.count; row += 1) {
      if (marks[row] !== KEPT || table.kind(row) !== kind) continue;
      rows[count] = row;
      count += 1;
    }
  }
  return rows.subarray(0, count);
}

/** Up to so many nodes may go at once without a question: small clusters change as a whole. */
export const FEW_NODES = 10;

/**
 * Whether a change would take away more than half of more than ten nodes, which is more likely somebody's mistake than
 * what happened to the cluster. Each of a number of changes takes one node away at most. The answer is the number of nodes that would go, or 0 if the change is fine.
 */
export function tooManyLost(desired: EntryTable, found: EntryTable, changes: number): number {
  /* Of so many nodes no half goes, however many more there are. */
  const before = hostsOf(found, Math.max(FEW_NODES + 1, changes * 2));
  const nodes = before.length / ADDRESS_WORDS;
  if (nodes <= FEW_NODES || changes * 2 <= nodes) return 0;
  const after = hostsOf(desired);
  const index = new WordIndex(after, ADDRESS_WORDS, 0, ADDRESS_WORDS, after.length / ADDRESS_WORDS);
  for (let row = 0; row * ADDRESS_WORDS < after.length; row += 1) index.add(row);
  let lost = 0;
  for (let at = 0; at < before.length; at += ADDRESS_WORDS) {
    if (index.find(before, at) < 0) lost += 1;
  }
  return lost * 2 > nodes ? lost : 0;
}

/** The addresses of the nodes that entries lead to, each once. @param most how many are enough */
export function hostsOf(table: EntryTable, most = table.count): Int32Array {
  const hosts = new Int32Array(Math.min(table.count, most) * ADDRESS_WORDS);
  const index = new WordIndex(hosts, ADDRESS_WORDS, 0, ADDRESS_WORDS, Math.min(table.count, most));
  let count = 0;
  for (let row = 0; row < table.count && count < most; row += 1) {
    const at = table.kind(row) > ROUTE ? -1 : table.hostAt(row);
    if (at < 0) continue;
    for (let i = 0; i < ADDRESS_WORDS; i += 1) hosts[count * ADDRESS_WORDS + i] = table.words[at + i] ?? 0;
    if (index.add(count) === count) count += 1;
  }
  return hosts.subarray(0, count * ADDRESS_WORDS);
}

/** Addresses that come and that go when one list takes the place of another. */
export interface AddressDifference {
  readonly coming: Addresses;
  readonly going: Addresses;
}

/** Compares the addresses that should be with those found, each of which is there once. */
export function addressDifference(wanted: Addresses, found: Addresses): AddressDifference {
  const index = new WordIndex(found.words, ADDRESS_WORDS, 0, ADDRESS_WORDS, found.count);
  for (let row = 0; row < found.count; row += 1) index.add(row);
  const stays = new Uint8Array(found.count);
  const there = new Uint8Array(wanted.count);
  for (let row = 0; row < wanted.count; row += 1) {
    const twin = index.find(wanted.words, row * ADDRESS_WORDS);
    if (twin < 0) continue;
    stays[twin] = 1;
    there[row] = 1;
  }
  return { coming: unmarked(wanted, there), going: unmarked(found, stays) };
}

function unmarked(list: Addresses, marks: Uint8Array): Addresses {
  const words = new Int32Array(list.count * ADDRESS_WORDS);
  let count = 0;
  for (let row = 0; row < list.count; row += 1) {
    if (marks[row] === 1) continue;
    for (let i = 0; i < ADDRESS_WORDS; i += 1) {
      words[count * ADDRESS_WORDS + i] = list.words[row * ADDRESS_WORDS + i] ?? 0;
    }
    count += 1;
  }
  return { words, count };
}
