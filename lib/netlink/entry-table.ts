/**
 * What leads to other nodes (forwarding entries, neighbours, routes), as rows of 32-bit words: there may be thousands, they
 * are compared by number, and a few are looked at more closely.
 */
import type { Address, Prefix } from "../ip/address.ts";
import { formatMac, macAt, parseMac, putMac } from "../ip/mac.ts";
import { ADDRESS_WORDS, addressAt, prefixAt, putAddress, wideLength } from "../ip/words.ts";

export type Entry = ForwardingObject | NeighbourObject | RouteObject;

/** Behind which node an Ethernet address is. */
export interface ForwardingObject {
  readonly kind: "forwarding";
  readonly mac: string;
  readonly host: Address;
  readonly permanent: boolean;
}

/** Which Ethernet address the gateway to a network of pods has. */
export interface NeighbourObject {
  readonly kind: "neighbour";
  readonly address: Address;
  /** "" if it is not known. */
  readonly mac: string;
  readonly permanent: boolean;
}

export interface RouteObject {
  readonly kind: "route";
  readonly route: TunnelRoute;
}

/** The other end of a tunnel. */
export interface Encapsulation {
  readonly vni: number;
  readonly host: Address;
}

/** A route to a network of pods. Of `gateway` and `tunnel` one is null, or both. */
export interface TunnelRoute {
  readonly dst: Prefix;
  readonly link: number;
  /** Who made it (RTPROT_*). */
  readonly protocol: number;
  /** The metric: of routes to one prefix the lowest counts. */
  readonly priority: number;
  readonly gateway: Address | null;
  /** The gateway is on the link although no address says so. */
  readonly onlink: boolean;
  readonly tunnel: Encapsulation | null;
}

/* Which of a row's words hold what. The first six say which entry it is; the eleven behind them, what it says. */
/** The kind, and 256 times the prefix length from 0 to 128. */
export const HEAD = 0;
/** A route's metric. */
export const METRIC = 1;
/** An address, or the Ethernet address of a forwarding entry in the last two words. */
export const KEY = 2;
export const KEY_WORDS = 6;
export const LINK = 6;
/** PERMANENT, HAS_GATEWAY, HAS_TUNNEL, and 256 times a route's protocol. */
export const FLAGS = 7;
export const VNI = 8;
/** The gateway of a route, or a neighbour's Ethernet address. */
export const GATEWAY = 9;
/** The node at the other end of a tunnel. */
export const HOST = 13;
export const VALUE_WORDS = 11;
/** Whether a route's gateway is on the link although no address says so; kernels differ in what they list of that. */
export const ONLINK = 17;
export const ROW_WORDS = 18;

export const FORWARDING = 1;
export const NEIGHBOUR = 2;
export const ROUTE = 3;
/** A route that is nobody's concern here. */
export const FOREIGN = 4;
export const STAMP = 5;

export const PERMANENT = 1;
export const HAS_GATEWAY = 2;
export const HAS_TUNNEL = 4;

export class EntryTable {
  /** How many rows there are. */
  count = 0;
  words: Int32Array;
  /** How many rows have ever been begun: what is behind them is zero. */
  #begun = 0;

  constructor(capacity: number) {
    this.words = new Int32Array(capacity * ROW_WORDS);
  }

  /** A table of the given entries. */
  static of(entries: readonly Entry[]): EntryTable {
    const table = new EntryTable(entries.length);
    for (const entry of entries) table.add(entry);
    return table;
  }

  /** Makes room for a row of zeros and returns where in `words` it begins; `end` adds it. */
  begin(): number {
    const { count } = this;
    const at = count * ROW_WORDS;
    if (count < this.#begun) {
      for (let i = at; i < at + ROW_WORDS; i += 1) this.words[i] = 0;
      return at;
    }
    this.#begun = count + 1;
    if (at + ROW_WORDS > this.words.length) {
      const larger = new Int32Array(this.words.length * 2 + 16 * ROW_WORDS);
      larger.set(this.words);
      this.words = larger;
    }
    return at;
  }

  end(): void {
    this.count += 1;
  }

  /** Drops all rows from this one on. */
  cut(count: number): void {
    this.count = count;
  }

  kind(row: number): number {
    return (this.words[row * ROW_WORDS] ?? 0) & 255;
  }

  /** The rows of a kind. */
  rowsOf(kind: number): number[] {
    const rows: number[] = [];
    const { words, count } = this;
    for (let row = 0; row < count; row += 1) {
      if (((words[row * ROW_WORDS] ?? 0) & 255) === kind) rows.push(row);
    }
    return rows;
  }

  setKind(row: number, kind: number): void {
    const at = row * ROW_WORDS;
    this.words[at] = ((this.words[at] ?? 0) & ~255) | kind;
  }

  add(entry: Entry): void {
    const at = this.begin();
    const { words } = this;
    if (entry.kind === "route") putRoute(words, at, entry.route);
    else if (entry.kind === "forwarding") {
      words[at] = FORWARDING;
      putMac(words, at + KEY + 2, macOf(entry.mac));
      putAddress(words, at + HOST, entry.host);
      words[at + FLAGS] = entry.permanent ? PERMANENT : 0;
    } else {
      words[at] = NEIGHBOUR;
      putAddress(words, at + KEY, entry.address);
      putMac(words, at + GATEWAY, macOf(entry.mac));
      words[at + FLAGS] = entry.permanent ? PERMANENT : 0;
    }
    this.end();
  }

  /** A row as a value. */
  entry(row: number): Entry {
    const at = row * ROW_WORDS;
    const { words } = this;
    const permanent = ((words[at + FLAGS] ?? 0) & PERMANENT) !== 0;
    if (this.kind(row) === FORWARDING) {
      const mac = formatMac(macAt(words, at + KEY + 2));
      return { kind: "forwarding", mac, host: addressAt(words, at + HOST), permanent };
    }
    if (this.kind(row) === NEIGHBOUR) {
      const mac = formatMac(macAt(words, at + GATEWAY));
      return { kind: "neighbour", address: addressAt(words, at + KEY), mac, permanent };
    }
    return { kind: "route", route: this.route(row) };
  }

  route(row: number): TunnelRoute {
    const at = row * ROW_WORDS;
    const { words } = this;
    const flags = words[at + FLAGS] ?? 0;
    const host = (flags & HAS_TUNNEL) === 0 ? null : addressAt(words, at + HOST);
    return {
      dst: prefixAt(words, at + KEY, (words[at] ?? 0) >>> 8),
      link: words[at + LINK] ?? 0,
      protocol: flags >>> 8,
      priority: (words[at + METRIC] ?? 0) >>> 0,
      gateway: (flags & HAS_GATEWAY) === 0 ? null : addressAt(words, at + GATEWAY),
      onlink: words[at + ONLINK] === 1,
      tunnel: host === null ? null : { vni: words[at + VNI] ?? 0, host },
    };
  }

  /** Where in `words` the address of the node stands that a row leads to; -1 if it does not tell. */
  hostAt(row: number): number {
    const at = row * ROW_WORDS;
    const flags = this.words[at + FLAGS] ?? 0;
    if (this.kind(row) === FORWARDING || (flags & HAS_TUNNEL) !== 0) return at + HOST;
    return (flags & HAS_GATEWAY) !== 0 && this.words[at + ONLINK] === 0 ? at + GATEWAY : -1;
  }
}

function putRoute(words: Int32Array, at: number, route: TunnelRoute): void {
  const { dst, gateway, tunnel } = route;
  words[at] = ROUTE | (wideLength(dst) << 8);
  words[at + METRIC] = route.priority | 0;
  putAddress(words, at + KEY, dst.address);
  words[at + LINK] = route.link;
  if (gateway !== null) putAddress(words, at + GATEWAY, gateway);
  if (tunnel !== null) {
    putAddress(words, at + HOST, tunnel.host);
    words[at + VNI] = tunnel.vni;
  }
  const flags = (gateway === null ? 0 : HAS_GATEWAY) | (tunnel === null ? 0 : HAS_TUNNEL);
  words[at + FLAGS] = flags | (route.protocol << 8);
  words[at + ONLINK] = route.onlink ? 1 : 0;
}

function macOf(text: string): Uint8Array {
  return parseMac(text) ?? new Uint8Array(6);
}

/** The words of an address as they are sent: how many of them, which are its last. */
export function addressWords(isIpv4: boolean): number {
  return isIpv4 ? 1 : ADDRESS_WORDS;
}
