/**
 * The allocation order of one range set. Its addresses form a ring: the range that follows the last one is the first. The
 * addresses are allocated in one pass around the ring; after it, released addresses are allocated again, the one released
 * longest ago first. So an address is reused as late as possible.
 *
 * The order is a hint. Whether an address is free is decided by its lease file; a lost order costs a search.
 */

import { type Address, holdsAddress, sameAddress } from "../../lib/ip/address.ts";
import { isAhead, nextAddress, type Span, spanIndex } from "../../lib/ip/range.ts";

/** Released addresses that are remembered for one set. When the queue is full the oldest is dropped for the newest. */
export const QUEUE_CAPACITY = 65536;
/** The number of free addresses after which a search of the whole ring stops. */
const MAX_REFILL = 1024;
/** The limit of `skipped`, which the index must have room for. */
export const MAX_SKIPPED = 24;

/** What a ring reads and writes outside of itself. */
export abstract class RingStorage {
  /** Reads an entry of a queue of released addresses. */
  abstract readQueue(queue: number, position: number, family: number): Address;
  abstract writeQueue(queue: number, position: number, address: Address): void;
  abstract isLeased(address: Address): boolean;
}

export class Ring {
  /** The range set. */
  readonly spans: readonly Span[];
  /** The number of its queue of released addresses: each set of a network has its own. */
  readonly queue: number;
  /** The address with which the pass began. */
  start: Address;
  /** The next address of the pass; null after its end. */
  cursor: Address | null;
  /** Where the queue's oldest entry is. The queue is a circular buffer. */
  queueHead = 0;
  queueLength = 0;
  /** When a search found no free address, in milliseconds since boot; 0 if an address was released since. */
  exhaustedMs = 0;
  /** Addresses that the pass has not reached but must skip: they were allocated by request, and are in the queue. */
  skipped: Address[] = [];

  constructor(spans: readonly Span[], queue: number, start: Address, cursor: Address | null) {
    this.spans = spans;
    this.queue = queue;
    this.start = start;
    this.cursor = cursor;
  }

  /** Whether the set holds the address. */
  holds(address: Address): boolean {
    return spanIndex(this.spans, address) >= 0;
  }

  /** Takes the next address of the pass; null after its end. */
  takeNext(): Address | null {
    while (this.cursor !== null) {
      const address: Address = this.cursor;
      const following = nextAddress(this.spans, address);
      this.cursor = sameAddress(following, this.start) ? null : following;
      if (!holdsAddress(this.skipped, address)) return address;
      this.skipped = without(this.skipped, address);
    }
    return null;
  }

  /** The address that is taken next, without taking it; null if there is none. It may be skipped, or be leased. */
  peek(storage: RingStorage): Address | null {
    const next =
      this.cursor ?? (this.queueLength > 0 ? storage.readQueue(this.queue, this.queueHead, this.start.family) : null);
    return next !== null && this.holds(next) ? next : null;
  }

  /** Takes the address released longest ago from the queue; null if the queue is empty. */
  takeReleased(storage: RingStorage): Address | null {
    while (this.queueLength > 0) {
      const address = storage.readQueue(this.queue, this.queueHead, this.start.family);
      this.queueHead = (this.queueHead + 1) % QUEUE_CAPACITY;
      this.queueLength -= 1;
      if (this.holds(address)) return address;
    }
    return null;
  }

  /** Appends a released address of this set to the queue. */
  addReleased(address: Address, storage: RingStorage): void {
    this.exhaustedMs = 0;
    if (this.cursor !== null && isAhead(this.spans, this.start, this.cursor, address)) {
      /* If there is no room to skip the address the pass allocates it, which is sooner than necessary. */
      const known = holdsAddress(this.skipped, address);
      if (!known && this.skipped.length >= MAX_SKIPPED) return;
      if (!known) this.skipped.push(address);
    }
    if (this.queueLength > 0) {
      /* Otherwise a container that requests its address and is restarted often would fill the queue with that address. */
      const last = (this.queueHead + this.queueLength - 1) % QUEUE_CAPACITY;
      if (sameAddress(storage.readQueue(this.queue, last, address.family), address)) return;
    }
    if (this.queueLength === QUEUE_CAPACITY) {
      this.queueHead = (this.queueHead + 1) % QUEUE_CAPACITY;
      this.queueLength -= 1;
    }
    storage.writeQueue(this.queue, (this.queueHead + this.queueLength) % QUEUE_CAPACITY, address);
    this.queueLength += 1;
  }
}

/** A ring whose pass begins after the address that was allocated last; at the first address if `last` is null or of no range. */
export function beginRing(spans: readonly Span[], queue: number, last: Address | null): Ring {
  const first = spans[0]?.first ?? { family: 4, bytes: new Uint8Array(4) };
  const start = last === null || spanIndex(spans, last) < 0 ? first : nextAddress(spans, last);
  return new Ring(spans, queue, start, start);
}

/**
 * Takes a free address: the next of the pass, or the one released longest ago.
 * @param excluded addresses that are never allocated: the gateways
 * @returns null if the order knows of none; a search may still find one
 */
export function takeFree(ring: Ring, storage: RingStorage, excluded: readonly Address[]): Address | null {
  for (;;) {
    const address = ring.takeNext() ?? ring.takeReleased(storage);
    if (address === null) return null;
    if (!holdsAddress(excluded, address) && !storage.isLeased(address)) return address;
  }
}

/** Ends the pass, searches the ring from the address after `last`, and fills the queue with the free addresses. */
export function refill(ring: Ring, storage: RingStorage, excluded: readonly Address[], last: Address): void {
  ring.cursor = null;
  ring.skipped = [];
  const first = nextAddress(ring.spans, last);
  let address = first;
  do {
    if (!holdsAddress(excluded, address) && !storage.isLeased(address)) ring.addReleased(address, storage);
    address = nextAddress(ring.spans, address);
  } while (!sameAddress(address, first) && ring.queueLength < MAX_REFILL);
}

function without(addresses: readonly Address[], address: Address): Address[] {
  const left: Address[] = [];
  for (const other of addresses) {
    if (!sameAddress(other, address)) left.push(other);
  }
  return left;
}
