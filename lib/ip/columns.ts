/**
 * Columns of addresses, MACs and prefixes: row after row at a fixed distance in an array of 32-bit words (words.ts). A list of
 * addresses is one column; a table of several columns keeps them side by side. A row is a number from 0; who asks for a row
 * knows that it exists. No object is made for a row. Pure.
 */
import type { Address, Prefix } from "./address.ts";
import { FNV1A_OFFSET, fnv1aWord } from "./fnv1a.ts";
import { MAC_WORDS, macAt, putMac } from "./mac.ts";
import {
  ADDRESS_WORDS,
  addressAt,
  clearHostBits,
  compareAt,
  containsAt,
  isIpv4At,
  prefixAt,
  putAddress,
  readAddress,
  sameAt,
  WordIndex,
  wideLength,
} from "./words.ts";

export class AddressColumn {
  words: Int32Array;
  readonly #stride: number;
  readonly #offset: number;

  /**
   * @param stride the distance of two rows, in words
   * @param offset the word where row 0 has its address
   */
  constructor(words: Int32Array, stride: number, offset: number) {
    this.words = words;
    this.#stride = stride;
    this.#offset = offset;
  }

  /** A list: addresses and nothing between them. */
  static list(words: Int32Array): AddressColumn {
    return new AddressColumn(words, ADDRESS_WORDS, 0);
  }

  /** A list of one address. */
  static of(address: Address): AddressColumn {
    const list = AddressColumn.list(new Int32Array(ADDRESS_WORDS));
    list.set(0, address);
    return list;
  }

  /** The word where a row's address begins. */
  place(row: number): number {
    return row * this.#stride + this.#offset;
  }

  isIpv4(row: number): boolean {
    return isIpv4At(this.words, row * this.#stride + this.#offset);
  }

  address(row: number): Address {
    return addressAt(this.words, row * this.#stride + this.#offset);
  }

  /** @param length from 0 to 128 */
  prefix(row: number, length: number): Prefix {
    return prefixAt(this.words, row * this.#stride + this.#offset, length);
  }

  /** The first byte of the address: 10 of 10.0.0.1. */
  firstByte(row: number): number {
    const at = row * this.#stride + this.#offset;
    return (this.words[isIpv4At(this.words, at) ? at + ADDRESS_WORDS - 1 : at] ?? 0) >>> 24;
  }

  set(row: number, address: Address): void {
    putAddress(this.words, row * this.#stride + this.#offset, address);
  }

  /** Copies an address of another column, or of this one. */
  copy(row: number, from: AddressColumn, other: number): void {
    const { words } = this;
    const at = row * this.#stride + this.#offset;
    const source = from.words;
    const place = other * from.#stride + from.#offset;
    for (let i = 0; i < ADDRESS_WORDS; i += 1) words[at + i] = source[place + i] ?? 0;
  }

  isSame(row: number, from: AddressColumn, other: number): boolean {
    const at = row * this.#stride + this.#offset;
    return sameAt(this.words, at, from.words, other * from.#stride + from.#offset, ADDRESS_WORDS);
  }

  /** Negative if the address is the smaller number, 0 if they are the same, else positive. */
  compare(row: number, from: AddressColumn, other: number): number {
    const at = row * this.#stride + this.#offset;
    return compareAt(this.words, at, from.words, other * from.#stride + from.#offset);
  }

  /** Whether the prefix that begins with a row's address contains another address. @param length from 0 to 128 */
  contains(row: number, length: number, from: AddressColumn, other: number): boolean {
    const at = row * this.#stride + this.#offset;
    return containsAt(this.words, at, length, from.words, other * from.#stride + from.#offset);
  }

  /** FNV-1a of the 4 or 16 bytes of an address. */
  fnv1a(row: number): number {
    const { words } = this;
    const at = row * this.#stride + this.#offset;
    let hash = FNV1A_OFFSET;
    for (let i = isIpv4At(words, at) ? ADDRESS_WORDS - 1 : 0; i < ADDRESS_WORDS; i += 1)
      hash = fnv1aWord(hash, words[at + i] ?? 0);
    return hash;
  }

  /** Makes an address the first one of its prefix. @param length from 0 to 128 */
  clearHostBits(row: number, length: number): void {
    clearHostBits(this.words, row * this.#stride + this.#offset, length);
  }

  /** Reads a row's address from ASCII text, as `readAddress`. */
  read(row: number, text: Uint8Array, start: number, end: number): number {
    return readAddress(text, start, end, this.words, row * this.#stride + this.#offset);
  }
}

/** Finds the rows of a column by their addresses. The column must not be made longer after that. */
export class AddressIndex {
  readonly #index: WordIndex;

  /** @param capacity how many rows will be added at most */
  constructor(column: AddressColumn, capacity: number) {
    const { words } = column;
    this.#index = new WordIndex(words, column.place(1) - column.place(0), column.place(0), ADDRESS_WORDS, capacity);
  }

  /** Adds a row. Returns the first row that was added with its address: the row itself if it is new. */
  add(row: number): number {
    return this.#index.add(row);
  }

  /** The row that has the address of a row of another column; -1 if none has it. */
  find(column: AddressColumn, row: number): number {
    return this.#index.find(column.words, column.place(row));
  }
}

/** A list of addresses with a limit. */
export class AddressList {
  readonly addresses: AddressColumn;
  count = 0;

  constructor(capacity: number) {
    this.addresses = AddressColumn.list(new Int32Array(capacity * ADDRESS_WORDS));
  }

  /** Adds an address. The caller knows that there is room. */
  append(from: AddressColumn, row: number): void {
    this.addresses.copy(this.count, from, row);
    this.count += 1;
  }

  /** Adds the rows [from, to) of another list. The caller knows that there is room. */
  appendRows(list: AddressColumn, from: number, to: number): void {
    this.addresses.words.set(list.words.subarray(list.place(from), list.place(to)), this.addresses.place(this.count));
    this.count += to - from;
  }

  /** The addresses by their values. */
  index(): AddressIndex {
    const index = new AddressIndex(this.addresses, this.count);
    for (let row = 0; row < this.count; row += 1) index.add(row);
    return index;
  }

  /** Four words for each address. */
  words(): Int32Array {
    return this.addresses.words.subarray(0, this.count * ADDRESS_WORDS);
  }
}

export class MacColumn {
  words: Int32Array;
  readonly #stride: number;
  readonly #offset: number;

  /** As of an AddressColumn. */
  constructor(words: Int32Array, stride: number, offset: number) {
    this.words = words;
    this.#stride = stride;
    this.#offset = offset;
  }

  /** A list: MACs and nothing between them. */
  static list(capacity: number): MacColumn {
    return new MacColumn(new Int32Array(capacity * MAC_WORDS), MAC_WORDS, 0);
  }

  mac(row: number): Uint8Array {
    return macAt(this.words, row * this.#stride + this.#offset);
  }

  set(row: number, mac: Uint8Array): void {
    putMac(this.words, row * this.#stride + this.#offset, mac);
  }

  /** Sets a MAC of two given bytes and the four of an IPv4 address. @param first the two bytes as a number */
  setFromIpv4(row: number, first: number, addresses: AddressColumn, address: number): void {
    const at = row * this.#stride + this.#offset;
    this.words[at] = first;
    this.words[at + 1] = addresses.words[addresses.place(address) + ADDRESS_WORDS - 1] ?? 0;
  }

  copy(row: number, from: MacColumn, other: number): void {
    const { words } = this;
    const at = row * this.#stride + this.#offset;
    const source = from.words;
    const place = other * from.#stride + from.#offset;
    for (let i = 0; i < MAC_WORDS; i += 1) words[at + i] = source[place + i] ?? 0;
  }

  isSame(row: number, from: MacColumn, other: number): boolean {
    const at = row * this.#stride + this.#offset;
    return sameAt(this.words, at, from.words, other * from.#stride + from.#offset, MAC_WORDS);
  }

  /** Finds rows by their MACs; none is added yet. @param capacity how many rows will be added at most */
  index(capacity: number): WordIndex {
    return new WordIndex(this.words, this.#stride, this.#offset, MAC_WORDS, capacity);
  }
}

/** A list of prefixes. Lengths are from 0 to 128; those of IPv4 prefixes are 96 more than a person writes. */
export class PrefixList {
  readonly addresses: AddressColumn;
  lengths: Int32Array;

  constructor(capacity: number) {
    this.addresses = AddressColumn.list(new Int32Array(capacity * ADDRESS_WORDS));
    this.lengths = new Int32Array(capacity);
  }

  get capacity(): number {
    return this.lengths.length;
  }

  /** Makes room for more. */
  grow(capacity: number): void {
    this.addresses.words = resized(this.addresses.words, capacity * ADDRESS_WORDS);
    this.lengths = resized(this.lengths, capacity);
  }

  /** From 0 to 128. */
  length(row: number): number {
    return this.lengths[row] ?? 0;
  }

  prefix(row: number): Prefix {
    return this.addresses.prefix(row, this.lengths[row] ?? 0);
  }

  set(row: number, prefix: Prefix): void {
    this.addresses.set(row, prefix.address);
    this.lengths[row] = wideLength(prefix);
  }

  /** Copies the rows [from, to) of another list to the rows from `row` on. */
  copyRows(row: number, list: PrefixList, from: number, to: number): void {
    const { words } = list.addresses;
    this.addresses.words.set(words.subarray(from * ADDRESS_WORDS, to * ADDRESS_WORDS), row * ADDRESS_WORDS);
    this.lengths.set(list.lengths.subarray(from, to), row);
  }

  /** Whether a prefix contains an address. */
  contains(row: number, from: AddressColumn, other: number): boolean {
    return this.addresses.contains(row, this.lengths[row] ?? 0, from, other);
  }
}

/** A longer array that begins with the same words. */
export function resized(words: Int32Array, length: number): Int32Array {
  const larger = new Int32Array(length);
  larger.set(words);
  return larger;
}
