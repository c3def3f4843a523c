/**
 * The order in which a range set's addresses are handed out, so that each comes back as late as possible: first one lap
 * through addresses that nobody has had, then the released ones, the one released longest ago first.
 *
 * This is only a hint. Whether an address is free is decided by its lease file; whatever is lost here costs a search.
 */

import { type Address, formatAddress, holdsAddress, parseAddress, sameAddress } from "../../lib/ip/address.ts";
import { formatSpans, isAhead, nextAddress, parseSpans, type Span, spanIndex } from "../../lib/ip/range.ts";
import { numberAt, textAt } from "../../lib/lists.ts";
import { isDigits } from "../../lib/text.ts";

/** Released addresses remembered for one set; the oldest gives way to the newest. */
export const RING_CAPACITY = 65536;
/** Sets of one network that are remembered: several only while configurations change, or with `ipRanges` by the runtime. */
export const MAX_LAPS = 8;
/** The index fits into one page, which the kernel writes whole or not at all whenever the writer is killed. */
export const INDEX_BYTES = 4096;
/** As many free addresses are noted by one search. */
const REFILL = 1024;
/** Addresses that lie before the lap's cursor but have been used, by request. */
const MAX_SKIPPED = 24;
const HEADER = "podwire host-local index 1";

/** Where the allocation from one range set stands. */
export class Lap {
  readonly spans: readonly Span[];
  /** Which part of the index file holds the ring of its released addresses. */
  readonly slot: number;
  /** The address with which the lap began. */
  start: Address;
  /** The next address of the lap; null when it is over. */
  cursor: Address | null;
  /** The ring: the position of the address released longest ago, and how many there are. */
  head = 0;
  count = 0;
  /** When the set was last searched and found exhausted, in milliseconds since boot; 0 if not since the last release. */
  fullMs = 0;
  skipped: Address[] = [];

  constructor(spans: readonly Span[], slot: number, start: Address, cursor: Address | null) {
    this.spans = spans;
    this.slot = slot;
    this.start = start;
    this.cursor = cursor;
  }

  /** Whether the set holds the address. */
  holds(address: Address): boolean {
    return spanIndex(this.spans, address) >= 0;
  }

  /** Takes the next address of the lap; null when the lap is over. */
  next(): Address | null {
    while (this.cursor !== null) {
      const address: Address = this.cursor;
      const following = nextAddress(this.spans, address);
      this.cursor = sameAddress(following, this.start) ? null : following;
      if (!holdsAddress(this.skipped, address)) return address;
      this.skipped = without(this.skipped, address);
    }
    return null;
  }

  /** Takes the address released longest ago; null if none is left. */
  pop(ground: Ground): Address | null {
    while (this.count > 0) {
      const address = ground.get(this.slot, this.head, this.start.family);
      this.head = (this.head + 1) % RING_CAPACITY;
      this.count -= 1;
      if (this.holds(address)) return address;
    }
    return null;
  }

  /** Notes that an address of this set has become free. */
  push(address: Address, ground: Ground): void {
    this.fullMs = 0;
    if (this.cursor !== null && isAhead(this.spans, this.start, this.cursor, address)) {
      /* Without room to note that it has been used it stays with the lap, which comes to it sooner. */
      const known = holdsAddress(this.skipped, address);
      if (!known && this.skipped.length >= MAX_SKIPPED) return;
      if (!known) this.skipped.push(address);
    }
    if (this.count > 0) {
      /* A container with an address of its own that comes and goes would fill the ring with it. */
      const last = ground.get(this.slot, (this.head + this.count - 1) % RING_CAPACITY, address.family);
      if (sameAddress(last, address)) return;
    }
    if (this.count === RING_CAPACITY) {
      this.head = (this.head + 1) % RING_CAPACITY;
      this.count -= 1;
    }
    ground.put(this.slot, (this.head + this.count) % RING_CAPACITY, address);
    this.count += 1;
  }
}

/** What the order needs to know and to keep. */
export abstract class Ground {
  /** An address in a ring of released ones. */
  abstract get(slot: number, position: number, family: number): Address;
  abstract put(slot: number, position: number, address: Address): void;
  /** Whether an address is leased. */
  abstract inUse(address: Address): boolean;
}

/**
 * A free address: the next of the lap, then the one released longest ago; null if the index knows of none.
 * @param excluded addresses never to be given: the gateways
 */
export function nextFree(lap: Lap, ground: Ground, excluded: readonly Address[]): Address | null {
  for (;;) {
    const address = lap.next() ?? lap.pop(ground);
    if (address === null) return null;
    if (!holdsAddress(excluded, address) && !ground.inUse(address)) return address;
  }
}

/**
 * Looks at every address of the set, beginning after the last one given, and fills the ring with the free ones: for when
 * the index knows of none. Ends the lap.
 */
export function refill(lap: Lap, ground: Ground, excluded: readonly Address[], after: Address): void {
  lap.cursor = null;
  lap.skipped = [];
  const first = nextAddress(lap.spans, after);
  let address = first;
  do {
    if (!holdsAddress(excluded, address) && !ground.inUse(address)) lap.push(address, ground);
    address = nextAddress(lap.spans, address);
  } while (!sameAddress(address, first) && lap.count < REFILL);
}

function without(addresses: readonly Address[], address: Address): Address[] {
  const left: Address[] = [];
  for (const other of addresses) {
    if (!sameAddress(other, address)) left.push(other);
  }
  return left;
}

/** What is remembered of a network between two calls. */
export interface Index {
  /** The boot in which it was written. */
  readonly boot: string;
  /** The lease directory's modification time as the last call left it, in nanoseconds. */
  readonly mark: string;
  /** The one used last comes first. */
  readonly laps: Lap[];
}

/** A new lap through a set, after the address that was given last. */
export function beginLap(spans: readonly Span[], slot: number, last: Address | null): Lap {
  const first = spans[0]?.first ?? { family: 4, bytes: new Uint8Array(4) };
  const start = last === null || spanIndex(spans, last) < 0 ? first : nextAddress(spans, last);
  return new Lap(spans, slot, start, start);
}

/** The lap of a set, moved to the front; a new one if there is none, in place of the one not used for longest. */
export function lapOf(laps: Lap[], spans: readonly Span[], last: Address | null): Lap {
  const name = formatSpans(spans);
  let index = 0;
  const slots: number[] = [];
  for (const lap of laps) {
    if (formatSpans(lap.spans) === name) {
      laps.splice(index, 1);
      laps.unshift(lap);
      return lap;
    }
    index += 1;
    if (index < MAX_LAPS) slots.push(lap.slot);
  }
  if (laps.length >= MAX_LAPS) laps.pop();
  let slot = 0;
  while (slots.includes(slot)) slot += 1;
  const lap = beginLap(spans, slot, last);
  laps.unshift(lap);
  return lap;
}

/** The text of an index, ended by a line of its own: what follows in the file is left from a longer one. */
export function formatIndex(index: Index): string {
  let text = `${HEADER}\nboot ${index.boot}\nmark ${index.mark}\n`;
  for (const lap of index.laps) {
    const cursor = lap.cursor === null ? "-" : formatAddress(lap.cursor);
    const skipped: string[] = [];
    for (const address of lap.skipped) skipped.push(formatAddress(address));
    const fields = [
      formatSpans(lap.spans),
      lap.slot,
      formatAddress(lap.start),
      cursor,
      lap.head,
      lap.count,
      lap.fullMs,
    ];
    const line = `set ${fields.join(" ")} ${skipped.length === 0 ? "-" : skipped.join(",")}\n`;
    /* A set whose description is too long is not remembered. */
    if (text.length + line.length < INDEX_BYTES - 8) text += line;
  }
  return `${text}end\n`;
}

/** Reads an index; null if it is torn or no index. A set that makes no sense is left out. */
export function parseIndex(text: string): Index | null {
  const lines = text.split("\n");
  const end = lines.indexOf("end");
  const boot = textAt(lines, 1);
  const mark = textAt(lines, 2);
  if (lines[0] !== HEADER || end < 3 || !boot.startsWith("boot ") || !mark.startsWith("mark ")) return null;
  const laps: Lap[] = [];
  for (const line of lines.slice(3, end)) {
    const lap = parseLap(line.split(" "));
    if (lap !== null && laps.every((other) => other.slot !== lap.slot)) laps.push(lap);
  }
  return { boot: boot.slice(5), mark: mark.slice(5), laps };
}

function parseLap(fields: string[]): Lap | null {
  if (fields.length !== 9 || fields[0] !== "set") return null;
  const spans = parseSpans(textAt(fields, 1));
  const start = parseAddress(textAt(fields, 3));
  const cursor = parseAddress(textAt(fields, 4));
  if (spans === null || start === null) return null;
  const numbers: number[] = [];
  for (const at of [2, 5, 6, 7]) {
    const text = textAt(fields, at);
    if (text.length >= 16 || !isDigits(text)) return null;
    numbers.push(parseInt(text, 10));
  }
  const slot = numberAt(numbers, 0);
  const head = numberAt(numbers, 1);
  const count = numberAt(numbers, 2);
  if (spanIndex(spans, start) < 0 || (cursor !== null && spanIndex(spans, cursor) < 0)) return null;
  if (slot >= MAX_LAPS || head >= RING_CAPACITY || count > RING_CAPACITY) return null;
  const lap = new Lap(spans, slot, start, cursor);
  lap.head = head;
  lap.count = count;
  lap.fullMs = numberAt(numbers, 3);
  for (const text of textAt(fields, 8).split(",")) {
    const address = parseAddress(text);
    if (address !== null && lap.skipped.length < MAX_SKIPPED) lap.skipped.push(address);
  }
  return lap;
}
