/**
 * Thousands of addresses as words: each is four 32-bit words of an Int32Array, IPv4 as ::ffff:a.b.c.d (RFC 4291 section
 * 2.5.5.2), so that both families are compared in the same way and prefix lengths are 0 to 128. No objects are created. Pure.
 */
import type { Address, Prefix } from "./address.ts";

/** Words an address takes. */
export const ADDRESS_WORDS = 4;
/** What an IPv4 prefix length grows by. */
export const IPV4_LENGTH = 96;
const MAPPED = 0xffff;

const QUOTE = 0x22;
const DOT = 0x2e;
const SLASH = 0x2f;
const COLON = 0x3a;
const ZERO = 0x30;

export function isIpv4At(words: Int32Array, at: number): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === MAPPED;
}

/** Writes an IPv4 address that is given as a number of any sign. */
export function putIpv4(words: Int32Array, at: number, value: number): void {
  words[at] = 0;
  words[at + 1] = 0;
  words[at + 2] = MAPPED;
  words[at + 3] = value | 0;
}

export function putAddress(words: Int32Array, at: number, address: Address): void {
  const { bytes } = address;
  if (address.family === 4) putIpv4(words, at, wordOf(bytes, 0));
  else for (let i = 0; i < ADDRESS_WORDS; i += 1) words[at + i] = wordOf(bytes, i * 4);
}

/** Four bytes in network order; the caller knows that they are there. */
function wordOf(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);
}

export function addressAt(words: Int32Array, at: number): Address {
  const isIpv4 = isIpv4At(words, at);
  const bytes = new Uint8Array(isIpv4 ? 4 : 16);
  const first = isIpv4 ? at + 3 : at;
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = ((words[first + (i >> 2)] ?? 0) >>> (24 - (i & 3) * 8)) & 0xff;
  return { family: isIpv4 ? 4 : 6, bytes };
}

/** The network whose address and length from 0 to 128 are given. */
export function prefixAt(words: Int32Array, at: number, length: number): Prefix {
  const address = addressAt(words, at);
  return { address, length: address.family === 4 ? length - IPV4_LENGTH : length };
}

/** A prefix's length from 0 to 128. */
export function wideLength(prefix: Prefix): number {
  return prefix.address.family === 4 ? prefix.length + IPV4_LENGTH : prefix.length;
}

/** Orders addresses by number. Negative, zero or positive. */
export function compareAt(a: Int32Array, atA: number, b: Int32Array, atB: number): number {
  for (let i = 0; i < ADDRESS_WORDS; i += 1) {
    const one = a[atA + i] ?? 0;
    const other = b[atB + i] ?? 0;
    if (one !== other) return one >>> 0 < other >>> 0 ? -1 : 1;
  }
  return 0;
}

/** Whether a number of words are the same. */
export function sameAt(a: Int32Array, atA: number, b: Int32Array, atB: number, count: number): boolean {
  for (let i = 0; i < count; i += 1) {
    if (a[atA + i] !== b[atB + i]) return false;
  }
  return true;
}

/** The mask of a word of a network, which is the word that begins at bit `first`. */
function maskOf(length: number, first: number): number {
  const ones = length - first;
  return ones >= 32 ? -1 : ones <= 0 ? 0 : -1 << (32 - ones);
}

/** Makes an address the first of its network: host bits zero. */
export function clearHostBits(words: Int32Array, at: number, length: number): void {
  for (let i = 0; i < ADDRESS_WORDS; i += 1) words[at + i] = (words[at + i] ?? 0) & maskOf(length, i * 32);
}

/** Whether a network holds an address. */
export function containsAt(
  network: Int32Array,
  atNetwork: number,
  length: number,
  words: Int32Array,
  at: number,
): boolean {
  for (let i = 0; i < ADDRESS_WORDS && i * 32 < length; i += 1) {
    if ((((network[atNetwork + i] ?? 0) ^ (words[at + i] ?? 0)) & maskOf(length, i * 32)) !== 0) return false;
  }
  return true;
}

/**
 * Reads the address that stands in ASCII text from `start` to a quotation mark, a slash or `end`.
 * @returns the place behind it; -1 if it is none in the commonest spelling, which proves nothing
 */
export function readAddress(text: Uint8Array, start: number, end: number, words: Int32Array, at: number): number {
  const behind = readIpv4(text, start, end, words, at);
  if (behind >= 0) return behind;
  let stop = start;
  while (stop < end && text[stop] !== QUOTE && text[stop] !== SLASH) stop += 1;
  return readIpv6(text, start, stop, words, at) ? stop : -1;
}

function readIpv4(text: Uint8Array, start: number, end: number, words: Int32Array, at: number): number {
  let address = 0;
  let dots = 0;
  let value = 0;
  let digits = 0;
  let next = start;
  for (; next < end; next += 1) {
    const byte = text[next] ?? 0;
    const digit = byte - ZERO;
    if (digit >= 0 && digit <= 9) {
      /* No leading zero. */
      if (digits > 0 && value === 0) return -1;
      value = value * 10 + digit;
      digits += 1;
      if (value > 255) return -1;
    } else if (byte === DOT) {
      if (digits === 0 || dots === 3) return -1;
      address = address * 256 + value;
      dots += 1;
      value = 0;
      digits = 0;
    } else {
      break;
    }
  }
  if (dots !== 3 || digits === 0 || (next < end && text[next] !== QUOTE && text[next] !== SLASH)) return -1;
  putIpv4(words, at, address * 256 + value);
  return next;
}

const groups = new Int32Array(8);

function readIpv6(text: Uint8Array, start: number, end: number, words: Int32Array, at: number): boolean {
  let count = 0;
  let gap = -1;
  let next = start;
  if (end - start >= 2 && text[start] === COLON && text[start + 1] === COLON) {
    gap = 0;
    next = start + 2;
  }
  while (next < end) {
    let value = 0;
    let digits = 0;
    while (next < end && digits < 5) {
      const digit = hexDigit(text[next] ?? 0);
      if (digit < 0) break;
      value = value * 16 + digit;
      digits += 1;
      next += 1;
    }
    if (digits === 0 || digits > 4 || count === 8) return false;
    groups[count] = value;
    count += 1;
    if (next === end) break;
    if (text[next] !== COLON || next + 1 === end) return false;
    next += 1;
    if (text[next] !== COLON) continue;
    if (gap >= 0) return false;
    gap = count;
    next += 1;
  }
  if (gap < 0 ? count !== 8 : count > 7) return false;
  for (let i = 0; i < ADDRESS_WORDS; i += 1) {
    words[at + i] = (groupAt(i * 2, count, gap) << 16) | groupAt(i * 2 + 1, count, gap);
  }
  return !isIpv4At(words, at);
}

/** One of the eight groups, of which those at `gap` were left out. */
function groupAt(index: number, count: number, gap: number): number {
  if (gap < 0 || index < gap) return groups[index] ?? 0;
  const behind = index - (8 - count);
  return behind < gap ? 0 : (groups[behind] ?? 0);
}

function hexDigit(byte: number): number {
  if (byte >= ZERO && byte <= ZERO + 9) return byte - ZERO;
  const letter = (byte | 0x20) - 0x61;
  return letter >= 0 && letter < 6 ? letter + 10 : -1;
}

/** 2^32 divided by the golden ratio, as Knuth multiplies hashes. */
const MULTIPLIER = 0x9e3779b1;

/**
 * Finds rows by the words they begin with. The rows are `stride` words apart; the first `width` from `offset` on are the key.
 */
export class WordIndex {
  readonly #words: Int32Array;
  readonly #stride: number;
  readonly #offset: number;
  readonly #width: number;
  /** Rows by hash, counted from 1. */
  readonly #slots: Int32Array;

  /**
   * @param width an even number
   * @param capacity how many rows will be added at most
   */
  constructor(words: Int32Array, stride: number, offset: number, width: number, capacity: number) {
    let size = 16;
    while (size < capacity * 2) size *= 2;
    this.#words = words;
    this.#stride = stride;
    this.#offset = offset;
    this.#width = width;
    this.#slots = new Int32Array(size);
  }

  /** Adds a row, and returns the one that has its key: another one if that was added before. */
  add(row: number): number {
    const slot = this.#slotOf(this.#words, row * this.#stride + this.#offset);
    const there = this.#slots[slot] ?? 0;
    if (there !== 0) return there - 1;
    this.#slots[slot] = row + 1;
    return row;
  }

  /** The row with the key that stands in other words; -1 if there is none. */
  find(words: Int32Array, at: number): number {
    return (this.#slots[this.#slotOf(words, at)] ?? 0) - 1;
  }

  /** The slot of the row with the key, or the free one where it would be. */
  #slotOf(words: Int32Array, at: number): number {
    const own = this.#words;
    const slots = this.#slots;
    const stride = this.#stride;
    const offset = this.#offset;
    const width = this.#width;
    let hash = 0;
    for (let i = at; i < at + width; i += 2) {
      const first = Math.imul(hash ^ (words[i] ?? 0), MULTIPLIER);
      const second = Math.imul(first ^ (first >>> 15) ^ (words[i + 1] ?? 0), MULTIPLIER);
      hash = second ^ (second >>> 15);
    }
    let slot = hash & (slots.length - 1);
    for (;;) {
      const row = (slots[slot] ?? 0) - 1;
      if (row < 0) return slot;
      const from = row * stride + offset;
      let same = 0;
      while (same < width && own[from + same] === words[at + same]) same += 1;
      if (same === width) return slot;
      slot = slot + 1 === slots.length ? 0 : slot + 1;
    }
  }
}
