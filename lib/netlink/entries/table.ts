/**
 * A table of entries that lead to other nodes: forwarding entries, neighbours and routes. There may be tens of thousands, so an
 * entry is a row of words (layout.ts), and no object is made for it. A row is a number from 0 to `count` - 1.
 */
import { AddressColumn, MacColumn, resized } from "../../ip/columns.ts";
import { formatMac, parseMac } from "../../ip/mac.ts";
import { sameAt, WordIndex, wideLength } from "../../ip/words.ts";
import type { Entry, TunnelRoute } from "./entry.ts";
import {
  ADDRESS,
  ENTRY_WORDS,
  FDB_MAC,
  FLAGS,
  GATEWAY,
  HAS_GATEWAY,
  HAS_TUNNEL,
  HOST,
  KEY_WORDS,
  LINK,
  METRIC,
  NEIGHBOUR_MAC,
  ONLINK,
  PERMANENT,
  REST,
  VALUE_WORDS,
  VNI,
} from "./layout.ts";

/* The kinds of entry. */
export const FDB = 1;
export const NEIGHBOUR = 2;
export const ROUTE = 3;

export class EntryTable {
  /** How many rows there are. */
  count = 0;
  /** As layout.ts has it: for this folder. */
  words: Int32Array;
  /** The address of a neighbour, and of a route's prefix. */
  readonly addresses: AddressColumn;
  /** The gateway of a route that has one. */
  readonly gateways: AddressColumn;
  /** The node that a forwarding entry or a tunnel leads to. */
  readonly hosts: AddressColumn;
  readonly fdbMacs: MacColumn;
  readonly neighbourMacs: MacColumn;
  /** How many rows have ever been begun: what is behind them is zero. */
  #begun = 0;

  /** @param capacity how many entries are expected; the table grows */
  constructor(capacity: number) {
    const words = new Int32Array(capacity * ENTRY_WORDS);
    this.words = words;
    this.addresses = new AddressColumn(words, ENTRY_WORDS, ADDRESS);
    this.gateways = new AddressColumn(words, ENTRY_WORDS, GATEWAY);
    this.hosts = new AddressColumn(words, ENTRY_WORDS, HOST);
    this.fdbMacs = new MacColumn(words, ENTRY_WORDS, FDB_MAC);
    this.neighbourMacs = new MacColumn(words, ENTRY_WORDS, NEIGHBOUR_MAC);
  }

  /** A table of the given entries. */
  static of(entries: readonly Entry[]): EntryTable {
    const table = new EntryTable(entries.length);
    for (const entry of entries) table.add(entry);
    return table;
  }

  /** Makes room for a row of zeros, which `end` adds. Returns the word where it begins: for this folder. */
  begin(): number {
    const { count } = this;
    const at = count * ENTRY_WORDS;
    if (count < this.#begun) {
      for (let i = at; i < at + ENTRY_WORDS; i += 1) this.words[i] = 0;
      return at;
    }
    this.#begun = count + 1;
    if (at + ENTRY_WORDS > this.words.length) this.#grow();
    return at;
  }

  #grow(): void {
    const words = resized(this.words, this.words.length * 2 + 16 * ENTRY_WORDS);
    this.words = words;
    this.addresses.words = words;
    this.gateways.words = words;
    this.hosts.words = words;
    this.fdbMacs.words = words;
    this.neighbourMacs.words = words;
  }

  end(): void {
    this.count += 1;
  }

  /** Adds a row that says nothing but its kind, and returns it. */
  append(kind: number): number {
    const at = this.begin();
    const row = this.count;
    this.words[at] = kind;
    this.count += 1;
    return row;
  }

  /** Adds a row of another table, with its mark. */
  appendRow(from: EntryTable, row: number): void {
    const at = this.begin();
    for (let i = 0; i < ENTRY_WORDS; i += 1) this.words[at + i] = from.words[row * ENTRY_WORDS + i] ?? 0;
    this.count += 1;
  }

  /** Drops the rows from `count` on. */
  cut(count: number): void {
    this.count = count;
  }

  /** FDB, NEIGHBOUR or ROUTE. */
  kind(row: number): number {
    return (this.words[row * ENTRY_WORDS] ?? 0) & 255;
  }

  /** What the table's user has noted of a row, from 0 to 255; 0 for a new one. */
  mark(row: number): number {
    return (this.words[row * ENTRY_WORDS + REST] ?? 0) >>> 8;
  }

  setMark(row: number, mark: number): void {
    const at = row * ENTRY_WORDS + REST;
    this.words[at] = ((this.words[at] ?? 0) & 255) | (mark << 8);
  }

  /** The length of a route's prefix, from 0 to 128. */
  length(row: number): number {
    return (this.words[row * ENTRY_WORDS] ?? 0) >>> 8;
  }

  setLength(row: number, length: number): void {
    const at = row * ENTRY_WORDS;
    this.words[at] = ((this.words[at] ?? 0) & 255) | (length << 8);
  }

  /** A route's metric. */
  metric(row: number): number {
    return (this.words[row * ENTRY_WORDS + METRIC] ?? 0) >>> 0;
  }

  setMetric(row: number, metric: number): void {
    this.words[row * ENTRY_WORDS + METRIC] = metric | 0;
  }

  /** The index of a route's link. */
  link(row: number): number {
    return this.words[row * ENTRY_WORDS + LINK] ?? 0;
  }

  setLink(row: number, link: number): void {
    this.words[row * ENTRY_WORDS + LINK] = link;
  }

  /** Who made a route (RTPROT_*). */
  protocol(row: number): number {
    return (this.words[row * ENTRY_WORDS + FLAGS] ?? 0) >>> 8;
  }

  setProtocol(row: number, protocol: number): void {
    const at = row * ENTRY_WORDS + FLAGS;
    this.words[at] = ((this.words[at] ?? 0) & 255) | (protocol << 8);
  }

  hasGateway(row: number): boolean {
    return ((this.words[row * ENTRY_WORDS + FLAGS] ?? 0) & HAS_GATEWAY) !== 0;
  }

  /** Gives a route the gateway that another column has. */
  setGateway(row: number, from: AddressColumn, other: number): void {
    this.gateways.copy(row, from, other);
    this.#setFlag(row, HAS_GATEWAY);
  }

  /** Gives a route a tunnel to the node that another column has. */
  setTunnel(row: number, vni: number, from: AddressColumn, other: number): void {
    this.words[row * ENTRY_WORDS + VNI] = vni;
    this.hosts.copy(row, from, other);
    this.#setFlag(row, HAS_TUNNEL);
  }

  setPermanent(row: number): void {
    this.#setFlag(row, PERMANENT);
  }

  setOnlink(row: number): void {
    this.words[row * ENTRY_WORDS + REST] = (this.words[row * ENTRY_WORDS + REST] ?? 0) | ONLINK;
  }

  #setFlag(row: number, flag: number): void {
    const at = row * ENTRY_WORDS + FLAGS;
    this.words[at] = (this.words[at] ?? 0) | flag;
  }

  /** The column that has the address of the node that a row leads to; null if the row does not tell. */
  nodes(row: number): AddressColumn | null {
    const at = row * ENTRY_WORDS;
    const flags = this.words[at + FLAGS] ?? 0;
    if (this.kind(row) === FDB || (flags & HAS_TUNNEL) !== 0) return this.hosts;
    return (flags & HAS_GATEWAY) !== 0 && ((this.words[at + REST] ?? 0) & ONLINK) === 0 ? this.gateways : null;
  }

  /** Whether a row says the same of its key as another one of that key. */
  isSame(row: number, other: EntryTable, otherRow: number): boolean {
    const at = row * ENTRY_WORDS + KEY_WORDS;
    return sameAt(this.words, at, other.words, otherRow * ENTRY_WORDS + KEY_WORDS, VALUE_WORDS);
  }

  add(entry: Entry): void {
    if (entry.kind === "route") this.#addRoute(entry.route);
    else if (entry.kind === "fdb") {
      const row = this.append(FDB);
      this.fdbMacs.set(row, macOf(entry.mac));
      this.hosts.set(row, entry.host);
      if (entry.permanent) this.setPermanent(row);
    } else {
      const row = this.append(NEIGHBOUR);
      this.addresses.set(row, entry.address);
      this.neighbourMacs.set(row, macOf(entry.mac));
      if (entry.permanent) this.setPermanent(row);
    }
  }

  #addRoute(route: TunnelRoute): void {
    const { dst, gateway, tunnel } = route;
    const row = this.append(ROUTE);
    this.addresses.set(row, dst.address);
    this.setLength(row, wideLength(dst));
    this.setMetric(row, route.priority);
    this.setLink(row, route.link);
    this.setProtocol(row, route.protocol);
    if (gateway !== null) this.setGateway(row, AddressColumn.of(gateway), 0);
    if (tunnel !== null) this.setTunnel(row, tunnel.vni, AddressColumn.of(tunnel.host), 0);
    if (route.onlink) this.setOnlink(row);
  }

  /** A row as a value. */
  entry(row: number): Entry {
    const permanent = ((this.words[row * ENTRY_WORDS + FLAGS] ?? 0) & PERMANENT) !== 0;
    if (this.kind(row) === FDB) {
      const mac = formatMac(this.fdbMacs.mac(row));
      return { kind: "fdb", mac, host: this.hosts.address(row), permanent };
    }
    if (this.kind(row) === NEIGHBOUR) {
      const mac = formatMac(this.neighbourMacs.mac(row));
      return { kind: "neighbour", address: this.addresses.address(row), mac, permanent };
    }
    return { kind: "route", route: this.route(row) };
  }

  route(row: number): TunnelRoute {
    const at = row * ENTRY_WORDS;
    const { words } = this;
    const host = ((words[at + FLAGS] ?? 0) & HAS_TUNNEL) === 0 ? null : this.hosts.address(row);
    return {
      dst: this.addresses.prefix(row, this.length(row)),
      link: this.link(row),
      protocol: this.protocol(row),
      priority: this.metric(row),
      gateway: this.hasGateway(row) ? this.gateways.address(row) : null,
      onlink: ((words[at + REST] ?? 0) & ONLINK) !== 0,
      tunnel: host === null ? null : { vni: words[at + VNI] ?? 0, host },
    };
  }
}

function macOf(text: string): Uint8Array {
  return parseMac(text) ?? new Uint8Array(6);
}

/**
 * Finds the rows of a table by their keys: a forwarding entry's MAC, a neighbour's address, a route's prefix and metric. The
 * table must not be made longer after that.
 */
export class EntryIndex {
  readonly #index: WordIndex;

  constructor(table: EntryTable) {
    this.#index = new WordIndex(table.words, ENTRY_WORDS, 0, KEY_WORDS, table.count);
  }

  /** An index of all rows. */
  static of(table: EntryTable): EntryIndex {
    const index = new EntryIndex(table);
    for (let row = 0; row < table.count; row += 1) index.add(row);
    return index;
  }

  /** Adds a row. Returns the first row that was added with its key: the row itself if it is new. */
  add(row: number): number {
    return this.#index.add(row);
  }

  /** The row that has the key of a row of another table; -1 if none has it. */
  find(table: EntryTable, row: number): number {
    return this.#index.find(table.words, row * ENTRY_WORDS);
  }
}
