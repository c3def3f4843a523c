/** All peers of a list, as columns: there may be tens of thousands, and no object is made for one. */
import type { Address, Prefix } from "../ip/address.ts";
import { AddressColumn, AddressIndex, MacColumn, PrefixList, resized } from "../ip/columns.ts";
import { MAC_WORDS } from "../ip/mac.ts";
import { ADDRESS_WORDS } from "../ip/words.ts";
import type { Peer } from "./peer.ts";

export class PeerTable {
  /** How many peers there are. */
  count = 0;
  /** The addresses of the nodes. */
  readonly hosts: AddressColumn;
  readonly macs: MacColumn;
  /** The networks of all peers' pods, host bits zero. */
  readonly networks: PrefixList;
  /** Of each peer its first network; those of the next peer follow. */
  #firsts: Int32Array;
  /** Whether a peer's MAC was given. */
  #ownMacs: Uint8Array;
  #lines: Int32Array;
  readonly #name: string;
  readonly #places: string[] = [];
  #index: AddressIndex | null = null;
  #duplicate = -1;

  /**
   * @param name what lines are counted in, for messages
   * @param capacity how many peers are expected
   */
  constructor(name: string, capacity: number) {
    this.#name = name;
    this.hosts = AddressColumn.list(new Int32Array(capacity * ADDRESS_WORDS));
    this.macs = MacColumn.list(capacity);
    this.networks = new PrefixList(capacity);
    this.#firsts = new Int32Array(capacity + 1);
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
  get networkCount(): number {
    return this.#firsts[this.count] ?? 0;
  }

  /** A peer's networks are the rows [networksBegin, networksEnd) of `networks`. */
  networksBegin(row: number): number {
    return this.#firsts[row] ?? 0;
  }

  networksEnd(row: number): number {
    return this.#firsts[row + 1] ?? 0;
  }

  /** A peer as a value. */
  peer(row: number): Peer {
    const podCidrs: Prefix[] = [];
    for (let i = this.networksBegin(row); i < this.networksEnd(row); i += 1) podCidrs.push(this.networks.prefix(i));
    const nodeIp = this.host(row);
    return { place: this.place(row), nodeIp, podCidrs, mac: this.macs.mac(row), ownMac: this.hasOwnMac(row) };
  }

  host(row: number): Address {
    return this.hosts.address(row);
  }

  hasOwnMac(row: number): boolean {
    return this.#ownMacs[row] === 1;
  }

  /** The first peer with the address that a column has in a row; -1 if there is none. No peer may be added after that. */
  find(addresses: AddressColumn, row: number): number {
    return this.index().find(addresses, row);
  }

  /** The peers by their addresses. No peer may be added after that. */
  index(): AddressIndex {
    let index = this.#index;
    if (index !== null) return index;
    index = new AddressIndex(this.hosts, this.count);
    let duplicate = -1;
    for (let row = 0; row < this.count; row += 1) {
      if (index.add(row) !== row && duplicate < 0) duplicate = row;
    }
    this.#duplicate = duplicate;
    this.#index = index;
    return index;
  }

  /** The first peer with an address that one before it has; -1 if there is none. No peer may be added after that. */
  duplicate(): number {
    this.index();
    return this.#duplicate;
  }

  /** Adds a peer. @param line of the file; 0 for a peer that has its own `place` */
  add(peer: Peer, line: number): void {
    this.beginRow(line);
    this.hosts.set(this.count, peer.nodeIp);
    this.macs.set(this.count, peer.mac);
    if (peer.ownMac) this.#ownMacs[this.count] = 1;
    if (line === 0) this.#places.push(peer.place);
    for (const cidr of peer.podCidrs) {
      this.networks.set(this.beginNetwork(), cidr);
      this.endNetwork();
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

  /** Makes room for a peer in row `count`; `endRow` adds it. */
  beginRow(line: number): void {
    if (this.count === this.#lines.length) this.#growRows();
    this.#firsts[this.count + 1] = this.#firsts[this.count] ?? 0;
    this.#lines[this.count] = line;
  }

  /** Makes room for a network of the peer that was begun, and returns its row; `endNetwork` adds it. */
  beginNetwork(): number {
    const row = this.#firsts[this.count + 1] ?? 0;
    if (row === this.networks.capacity) this.networks.grow(row * 2 + 1);
    return row;
  }

  endNetwork(): void {
    this.#firsts[this.count + 1] = (this.#firsts[this.count + 1] ?? 0) + 1;
  }

  endRow(): void {
    this.count += 1;
  }

  #growRows(): void {
    const capacity = this.#lines.length * 2 + 16;
    this.hosts.words = resized(this.hosts.words, capacity * ADDRESS_WORDS);
    this.macs.words = resized(this.macs.words, capacity * MAC_WORDS);
    this.#firsts = resized(this.#firsts, capacity + 1);
    this.#lines = resized(this.#lines, capacity);
    const flags = new Uint8Array(capacity);
    flags.set(this.#ownMacs);
    this.#ownMacs = flags;
  }
}
