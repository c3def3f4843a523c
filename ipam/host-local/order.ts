/**
 * The index file of a network, `<dataDir>/.podwire/<network>/index`: the allocation order of its range sets. The text of
 * index-text.ts comes first, padded to one page; the queues of released addresses follow.
 *
 * An index is valid if this boot wrote it and nobody has changed the lease directory since. For that each call that
 * writes an index sets the directory's modification time, as its last change, to the time that the index names. Every later
 * change to a lease, by the reference plugin, by hand or by a call that is killed, gives the directory another time.
 */

import { openOwnFile } from "../../lib/host/state-directory.ts";
import { type Address, parseAddress } from "../../lib/ip/address.ts";
import { formatSpans, type Span } from "../../lib/ip/range.ts";
import { ELOOP, SystemError } from "../../lib/sys/errno.ts";
import * as sys from "../../lib/sys/sys.ts";
import { formatIndex, INDEX_BYTES, MAX_RINGS, parseIndex } from "./index-text.ts";
import type { Leases } from "./leases.ts";
import { beginRing, QUEUE_CAPACITY, type Ring, RingStorage } from "./ring.ts";

const NAME = "index";
const ENTRY_BYTES = 16;

export class Order extends RingStorage {
  /** The directory of the index; -1 if there is none: then nothing is read or written. */
  readonly #directory: number;
  readonly #leases: Leases;
  readonly #boot: string;
  #fd = -1;
  /** The one used last comes first. */
  #rings: Ring[] = [];
  #changed = false;
  #failed = false;

  constructor(directory: number, leases: Leases, boot: string) {
    super();
    this.#directory = directory;
    this.#leases = leases;
    this.#boot = boot;
  }

  close(): void {
    sys.close(this.#fd);
  }

  /** Whether an entry of a queue could not be written, as on a full disk. */
  get failed(): boolean {
    return this.#failed;
  }

  /**
   * Reads the index.
   * @param write whether it is to be written as well: then the file is created if it is missing
   * @returns whether it is valid; otherwise the order is what it was before
   * @throws SystemError if the index is a symbolic link
   */
  read(write: boolean): boolean {
    if (this.#directory < 0) return false;
    if (this.#fd < 0) {
      this.#fd = write
        ? openOwnFile(this.#directory, NAME, sys.O_RDWR, `the index of ${this.#leases.path}`)
        : sys.openat(this.#directory, NAME, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK, 0);
      if (this.#fd === -ELOOP) throw new SystemError(ELOOP, `open the index of ${this.#leases.path}`);
    }
    const buffer = new Uint8Array(INDEX_BYTES);
    const length = sys.pread(this.#fd, buffer, 0);
    const index = length <= 0 ? null : parseIndex(new TextDecoder().decode(buffer.subarray(0, length)));
    if (index === null || index.boot !== this.#boot || index.leasesModified !== this.#leases.modified()) return false;
    this.#rings = index.rings;
    return true;
  }

  /** Forgets all rings. */
  clear(): void {
    this.#rings = [];
    this.#changed = true;
  }

  /** The index must be written: a ring or a lease has changed. */
  markChanged(): void {
    this.#changed = true;
  }

  /**
   * Writes the index if it must be written.
   * @param discard whether to leave the old one in place, so that the next call finds it invalid
   */
  write(discard: boolean): void {
    if (!this.#changed) return;
    this.#changed = false;
    if (discard) return;
    /*
     * A time in the past, which no change to a lease gives the directory. It is even, since file systems may count in
     * steps of two seconds (FAT).
     */
    const seconds = Math.floor(sys.clockMs(sys.CLOCK_REALTIME) / 2000) * 2 - 10;
    const text = formatIndex({ boot: this.#boot, leasesModified: `${seconds}000000000`, rings: this.#rings });
    /* The time comes last: a kill between the two leaves an index that is not valid. */
    if (sys.pwrite(this.#fd, new TextEncoder().encode(text), 0) > 0) this.#leases.setModified(seconds);
  }

  /** The ring of a range set; null if the index has none. */
  find(spans: readonly Span[]): Ring | null {
    const name = formatSpans(spans);
    return this.#rings.find((ring) => formatSpans(ring.spans) === name) ?? null;
  }

  /**
   * The ring of a range set, for an allocation. If the index has none it begins one.
   * @param setNumber the number of the set, for last_reserved_ip.N
   */
  use(spans: readonly Span[], setNumber: number): Ring {
    const last = this.find(spans) === null ? this.#leases.lastReserved(setNumber) : null;
    return useRing(this.#rings, spans, last);
  }

  /** Appends a released address to the queue of its range set. */
  addReleased(address: string): void {
    const parsed = parseAddress(address);
    if (parsed === null || this.#directory < 0) return;
    for (const ring of this.#rings) {
      if (ring.holds(parsed)) ring.addReleased(parsed, this);
    }
  }

  /* RingStorage */

  readQueue(queue: number, position: number, family: number): Address {
    const bytes = new Uint8Array(family === 4 ? 4 : ENTRY_BYTES);
    sys.pread(this.#fd, bytes, entryOffset(queue, position));
    return { family: family === 4 ? 4 : 6, bytes };
  }

  writeQueue(queue: number, position: number, address: Address): void {
    const entry = new Uint8Array(ENTRY_BYTES);
    entry.set(address.bytes);
    if (sys.pwrite(this.#fd, entry, entryOffset(queue, position)) < 0) this.#failed = true;
    this.#changed = true;
  }

  isLeased(address: Address): boolean {
    return this.#leases.has(address);
  }
}

function entryOffset(queue: number, position: number): number {
  return INDEX_BYTES + (queue * QUEUE_CAPACITY + position) * ENTRY_BYTES;
}

/**
 * Moves the ring of a range set to the front. If there is none a new one begins after `last`, and the ring that was not
 * used for the longest time is dropped where MAX_RINGS are reached.
 */
export function useRing(rings: Ring[], spans: readonly Span[], last: Address | null): Ring {
  const name = formatSpans(spans);
  let index = 0;
  const queues: number[] = [];
  for (const ring of rings) {
    if (formatSpans(ring.spans) === name) {
      rings.splice(index, 1);
      rings.unshift(ring);
      return ring;
    }
    index += 1;
    if (index < MAX_RINGS) queues.push(ring.queue);
  }
  if (rings.length >= MAX_RINGS) rings.pop();
  let queue = 0;
  while (queues.includes(queue)) queue += 1;
  const ring = beginRing(spans, queue, last);
  rings.unshift(ring);
  return ring;
}
