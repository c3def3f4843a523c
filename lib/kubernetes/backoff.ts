/**
 * How long to wait before the next try. 5,000 agents start and fail together, so each has its own jitter. It follows from the
 * node's name: the same node waits the same times in each run, and nothing random is needed. Pure.
 */
import { FNV1A_OFFSET, fnv1aByte } from "../ip/fnv1a.ts";

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;
/** The first lists of all nodes are spread over this time. */
const SPREAD_MS = 5000;

/** Numbers in [0, 1) that differ from node to node. Not for secrets. */
export class Jitter {
  #state: number;

  /** @param seed the node's name, and what the numbers are for */
  constructor(seed: string) {
    this.#state = hashOf(seed);
  }

  next(): number {
    /* A linear congruential generator; its low bits are poor, the quotient is made of the high ones. */
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state / 0x1_0000_0000;
  }

  /** A whole number, at least `least` and less than `limit`. */
  between(least: number, limit: number): number {
    return least + Math.floor(this.next() * (limit - least));
  }
}

/** Pauses of 1, 2, 4 .. 30 s, each between its half and the whole. */
export class Backoff {
  readonly #jitter: Jitter;
  #limit = FIRST_MS;

  constructor(jitter: Jitter) {
    this.#jitter = jitter;
  }

  /** The next pause in milliseconds; after the first failure between 0.5 and 1 s. */
  next(): number {
    const limit = this.#limit;
    this.#limit = Math.min(limit * 2, LONGEST_MS);
    return this.#jitter.between(limit / 2, limit);
  }

  /** After a success the next pause is short again. */
  reset(): void {
    this.#limit = FIRST_MS;
  }
}

/** When in the first five seconds a node makes its list, in milliseconds: its place among all nodes. @param node its name */
export function spreadMs(node: string): number {
  return hashOf(node) % SPREAD_MS;
}

function hashOf(text: string): number {
  let hash = FNV1A_OFFSET;
  for (const byte of new TextEncoder().encode(text)) hash = fnv1aByte(hash, byte);
  return hash >>> 0;
}
