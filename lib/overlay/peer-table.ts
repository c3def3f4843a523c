/** All peers of a list, as columns of numbers: there may be thousands, and most of them have not changed. */
import type { Address, Prefix } from "../ip/address.ts";
import { MAC_WORDS, macAt, putMac } from "../ip/mac.ts";
import { ADDRESS_WORDS, addressAt, prefixAt, putAddress, WordIndex, wideLength } from "../ip/words.ts";
import type { Peer } from "./peer.ts";

/** A network of pods: its address, and its length from 0 to 128. */
export const CIDR_WORDS = 5;

export class PeerTable {
  /** How many peers there are. */
  count = 0;
  /** Their addresses. */
  hosts: Int32Array;
  macs: Int32Array;
  /** The networks of all peers' pods, host bits zero. */
  cidrs: Int32Array;
  /** The network that a peer's begin with; those of the next peer follow them. */
  firsts: Int32Array;
  /** Whether a peer's Ethernet address was given. */
  #ownMacs: Uint8Array;
  #lines: Int32Array;
  readonly #name: string;
  readonly #places: string[] = [];
  #index: WordIndex | null = null;
  #twin = -1;

  /**
   * @param name what lines are counted in, for messages
   * @param capacity how many peers are expected
   */
  constructor(name: string, capacity: number) {
    this.#name = name;
    this.hosts = new Int32Array(capacity * ADDRESS_WORDS);
    this.macs = new Int32Array(capacity * MAC_WORDS);
    this.cidrs = new Int32Array(capacity * CIDR_WORDS);
    this.firsts = new Int32Array(capacity + 1);
    this.#ownMacs = new Uint8Array(capacity);
    this.#lines = new Int32Array(capacity);
  }

  /** A table of the given peers. */
  static of(peers: readonly Peer[]): PeerTable {
    const table = new PeerTable("", peers.length);
    for (const peer of peers) table.add(peer, 0);
    return table;
  }

  /** Where a peer was read, for messages: "peers.ndjson line 7". */
  place(row: number): string {
    return this.#places[row] ?? `${this.#name} line ${this.#lines[row] ?? 0}`;
  }

  /** How many networks of pods there are. */
  get cidrCount(): number {
    return this.firsts[this.count] ?? 0;
  }

  /** A peer as a value. */
  peer(row: number): Peer {
    const podCidrs: Prefix[] = [];
    for (let i = this.firsts[row] ?? 0; i < (this.firsts[row + 1] ?? 0); i += 1) podCidrs.push(this.cidr(i));
    const nodeIp = this.host(row);
    const mac = macAt(this.macs, row * MAC_WORDS);
    return { place: this.place(row), nodeIp, podCidrs, mac, ownMac: this.hasOwnMac(row) };
  }

  /** The address of a peer, which may be one that was begun only. */
  host(row: number): Address {
    return addressAt(this.hosts, row * ADDRESS_WORDS);
  }

  cidr(index: number): Prefix {
    return prefixAt(this.cidrs, index * CIDR_WORDS, this.cidrs[index * CIDR_WORDS + ADDRESS_WORDS] ?? 0);
  }

  hasOwnMac(row: number): boolean {
    return this.#ownMacs[row] === 1;
  }

  /** The first peer with the address that stands in some words; -1 if there is none. */
  find(words: Int32Array, at: number): number {
    return this.index().find(words, at);
  }

  /** The peers by their addresses. To be asked for when all are there. */
  index(): WordIndex {
    let index = this.#index;
    if (index !== null) return index;
    index = new WordIndex(this.hosts, ADDRESS_WORDS, 0, ADDRESS_WORDS, this.count);
    let twin = -1;
    for (let row = 0; row < this.count; row += 1) {
      if (index.add(row) !== row && twin < 0) twin = row;
    }
    this.#twin = twin;
    this.#index = index;
    return index;
  }

  /** The first peer with an address that one before it has; -1 if there is none. To be asked for when all are there. */
  twin(): number {
    this.index();
    return this.#twin;
  }

  /** Adds a peer. One that was read from a line of the file is at that line; 0 if it says itself where it was read. */
  add(peer: Peer, line: number): void {
    this.beginRow(line);
    putAddress(this.hosts, this.count * ADDRESS_WORDS, peer.nodeIp);
    putMac(this.macs, this.count * MAC_WORDS, peer.mac);
    if (peer.ownMac) this.#ownMacs[this.count] = 1;
    if (line === 0) this.#places.push(peer.place);
    for (const cidr of peer.podCidrs) {
      const at = this.nextCidr();
      putAddress(this.cidrs, at, cidr.address);
      this.cidrs[at + ADDRESS_WORDS] = wideLength(cidr);
      this.addCidr();
    }
    this.endRow();
  }

  /** The peers that are not marked. */
  without(marks: Uint8Array): PeerTable {
    const table = new PeerTable(this.#name, this.count);
    for (let row = 0; row < this.count; row += 1)
      if (marks[row] !== 1) table.add(this.peer(row), this.#lines[row] ?? 0);
    return table;
  }

  /** Makes room for a peer, which is not there before `endRow`. */
  beginRow(line: number): void {
    if (this.count === this.#lines.length) this.#growRows();
    this.firsts[this.count + 1] = this.firsts[this.count] ?? 0;
    this.#lines[this.count] = line;
  }

  /** Makes room for a network of the peer that was begun, and returns where in `cidrs` it is. */
  nextCidr(): number {
    const at = (this.firsts[this.count + 1] ?? 0) * CIDR_WORDS;
    if (at + CIDR_WORDS > this.cidrs.length) this.cidrs = resized(this.cidrs, this.cidrs.length * 2 + CIDR_WORDS);
    return at;
  }

  addCidr(): void {
    this.firsts[this.count + 1] = (this.firsts[this.count + 1] ?? 0) + 1;
  }

  endRow(): void {
    this.count += 1;
  }

  #growRows(): void {
    const capacity = this.#lines.length * 2 + 16;
    this.hosts = resized(this.hosts, capacity * ADDRESS_WORDS);
    this.macs = resized(this.macs, capacity * MAC_WORDS);
    this.firsts = resized(this.firsts, capacity + 1);
    this.#lines = resized(this.#lines, capacity);
    const flags = new Uint8Array(capacity);
    flags.set(this.#ownMacs);
    this.#ownMacs = flags;
  }
}

function resized(words: Int32Array, length: number): Int32Array {
  const larger = new Int32Array(length);
  larger.set(words);
  return larger;
}
