/** What the peers say as a whole: nobody has what another one has. Pure. */
import { CniError, INVALID_CONFIG } from "../errors.ts";
import { type Address, formatAddress, formatPrefix, formatPrefixes, type Prefix } from "../ip/address.ts";
import { formatMac, MAC_WORDS, macAt, putMac } from "../ip/mac.ts";
import {
  ADDRESS_WORDS,
  compareAt,
  containsAt,
  isIpv4At,
  prefixAt,
  putAddress,
  sameAt,
  WordIndex,
  wideLength,
} from "../ip/words.ts";
import { CIDR_WORDS, type PeerTable } from "./peer-table.ts";

/** This node, as its configuration and its links have it. */
export interface OwnNode {
  readonly nodeIp: Address;
  readonly podCidrs: readonly Prefix[];
  readonly mac: Uint8Array;
  /** Whether peers may have addresses of the other IP version only: a classic device has one version. */
  readonly mixed: boolean;
}

/** Stands for this node where a peer's number is expected. */
const THIS_NODE = -1;

/**
 * Checks a list as a whole.
 * @returns the row of this node's own record, -1 if there is none
 * @throws CniError 7 that names the records: two nodes with one address, overlapping networks of pods, this node's network
 *   under another address, another network under this node's address, a node inside a network of pods
 */
export function validatePeers(peers: PeerTable, own: OwnNode): number {
  const ownHost = new Int32Array(ADDRESS_WORDS);
  putAddress(ownHost, 0, own.nodeIp);
  const ownRow = peers.find(ownHost, 0);
  const { hosts } = peers;
  const isIpv4 = own.nodeIp.family === 4;
  /* Ethernet addresses that hold IPv4 addresses differ as these do. */
  let compareMacs = false;
  const twin = peers.twin();
  if (twin >= 0) {
    const first = peers.find(hosts, twin * ADDRESS_WORDS);
    throw contradiction(peers, twin, first, `both have the address ${formatAddress(peers.host(twin))}`);
  }
  for (let row = 0; row < peers.count; row += 1) {
    const isIpv4Host = isIpv4At(hosts, row * ADDRESS_WORDS);
    if (!own.mixed && isIpv4Host !== isIpv4) throw wrongFamily(peers, row, own);
    if (!isIpv4Host || peers.hasOwnMac(row)) compareMacs = true;
  }
  if (ownRow >= 0) checkOwnRecord(peers, ownRow, own);
  if (compareMacs) checkMacs(peers, ownRow, own);
  new Claims(peers, ownRow, own).check();
  return ownRow;
}

function checkOwnRecord(peers: PeerTable, row: number, own: OwnNode): void {
  const record = peers.peer(row);
  const listed = formatPrefixes(record.podCidrs).sort();
  const configured = formatPrefixes(own.podCidrs).sort();
  if (listed.length === configured.length && listed.every((text, i) => text === configured[i])) return;
  throw new CniError(
    INVALID_CONFIG,
    `${record.place} gives this node (${formatAddress(own.nodeIp)}) other pods than its configuration`,
    `the peers say [${listed.join(", ")}], "podCIDRs" says [${configured.join(", ")}]; pods with addresses of the old network cannot be reached: correct one of the two`,
  );
}

function checkMacs(peers: PeerTable, ownRow: number, own: OwnNode): void {
  const { macs } = peers;
  const ownMac = new Int32Array(MAC_WORDS);
  putMac(ownMac, 0, own.mac);
  const index = new WordIndex(macs, MAC_WORDS, 0, MAC_WORDS, peers.count);
  for (let row = 0; row < peers.count; row += 1) {
    if (row === ownRow) continue;
    const first = index.add(row);
    const isOwn = sameAt(macs, row * MAC_WORDS, ownMac, 0, MAC_WORDS);
    if (first === row && !isOwn) continue;
    const mac = formatMac(macAt(macs, row * MAC_WORDS));
    throw contradiction(peers, row, isOwn ? THIS_NODE : first, `both have the address ${mac}`);
  }
}

/** Networks of pods and whose they are, in the order of addresses. */
class Claims {
  readonly #peers: PeerTable;
  readonly #ownRow: number;
  /** The networks, as in a PeerTable. */
  readonly #cidrs: Int32Array;
  readonly #owners: Int32Array;
  #order: Int32Array;

  constructor(peers: PeerTable, ownRow: number, own: OwnNode) {
    const room = peers.cidrCount + own.podCidrs.length;
    this.#peers = peers;
    this.#ownRow = ownRow;
    this.#cidrs = new Int32Array(room * CIDR_WORDS);
    this.#owners = new Int32Array(room);
    let count = 0;
    for (const cidr of own.podCidrs) {
      putAddress(this.#cidrs, count * CIDR_WORDS, cidr.address);
      this.#cidrs[count * CIDR_WORDS + ADDRESS_WORDS] = wideLength(cidr);
      this.#owners[count] = THIS_NODE;
      count += 1;
    }
    const { cidrs, firsts, cidrCount } = peers;
    const ownFirst = ownRow < 0 ? cidrCount : (firsts[ownRow] ?? 0);
    const ownEnd = ownRow < 0 ? cidrCount : (firsts[ownRow + 1] ?? 0);
    this.#cidrs.set(cidrs.subarray(0, ownFirst * CIDR_WORDS), count * CIDR_WORDS);
    this.#cidrs.set(cidrs.subarray(ownEnd * CIDR_WORDS, cidrCount * CIDR_WORDS), (count + ownFirst) * CIDR_WORDS);
    const owners = this.#owners;
    for (let row = 0; row < peers.count; row += 1) {
      if (row === ownRow) continue;
      const end = firsts[row + 1] ?? 0;
      for (let cidr = firsts[row] ?? 0; cidr < end; cidr += 1) {
        owners[count] = row;
        count += 1;
      }
    }
    this.#order = new Int32Array(count);
    for (let i = 0; i < count; i += 1) this.#order[i] = i;
    this.#sort();
  }

  /** Neighbours in the order of addresses: if any two networks overlap, two that stand next to each other do. */
  check(): void {
    const order = this.#order;
    for (let i = 1; i < order.length; i += 1) {
      const before = order[i - 1] ?? 0;
      const claim = order[i] ?? 0;
      if (this.#holds(before, this.#cidrs, claim * CIDR_WORDS)) throw this.#overlap(before, claim);
    }
    const { hosts } = this.#peers;
    for (let row = 0; row < this.#peers.count; row += 1) {
      if (row === this.#ownRow) continue;
      const around = this.#lastNotAfter(hosts, row * ADDRESS_WORDS);
      if (around < 0 || !this.#holds(around, hosts, row * ADDRESS_WORDS)) continue;
      throw contradiction(
        this.#peers,
        row,
        this.#owners[around] ?? 0,
        `node ${formatAddress(this.#peers.host(row))} lies in the pods' network ${this.#text(around)}: packets to it would go round in circles`,
      );
    }
  }

  #overlap(before: number, claim: number): CniError {
    const [first, second] = [this.#owners[before] ?? 0, this.#owners[claim] ?? 0];
    if (first === THIS_NODE && second === THIS_NODE) {
      const pair = `${this.#text(before)} and ${this.#text(claim)}`;
      return new CniError(INVALID_CONFIG, `"podCIDRs": ${pair} overlap`);
    }
    const named = second === THIS_NODE ? first : second;
    const other = second === THIS_NODE ? second : first;
    const problem = `the pods' networks ${this.#text(before)} and ${this.#text(claim)} overlap`;
    return contradiction(this.#peers, named, other, problem);
  }

  #holds(claim: number, words: Int32Array, at: number): boolean {
    return containsAt(this.#cidrs, claim * CIDR_WORDS, this.#length(claim), words, at);
  }

  #length(claim: number): number {
    return this.#cidrs[claim * CIDR_WORDS + ADDRESS_WORDS] ?? 0;
  }

  #text(claim: number): string {
    return formatPrefix(prefixAt(this.#cidrs, claim * CIDR_WORDS, this.#length(claim)));
  }

  #compare(a: number, b: number): number {
    const order = compareAt(this.#cidrs, a * CIDR_WORDS, this.#cidrs, b * CIDR_WORDS);
    return order !== 0 ? order : this.#length(a) - this.#length(b);
  }

  /** Merges ever longer stretches; those that are in order already, as lists mostly are, cost one look. */
  #sort(): void {
    const count = this.#order.length;
    if (this.#isSorted()) return;
    let target: Int32Array = new Int32Array(count);
    for (let width = 1; width < count; width *= 2) {
      const source = this.#order;
      for (let from = 0; from < count; from += 2 * width) this.#merge(source, target, from, width);
      this.#order = target;
      target = source;
    }
  }

  #isSorted(): boolean {
    const order = this.#order;
    for (let i = 1; i < order.length; i += 1) {
      if (this.#compare(order[i - 1] ?? 0, order[i] ?? 0) > 0) return false;
    }
    return true;
  }

  #merge(source: Int32Array, target: Int32Array, from: number, width: number): void {
    const middle = Math.min(from + width, source.length);
    const end = Math.min(middle + width, source.length);
    if (middle === end || this.#compare(source[middle - 1] ?? 0, source[middle] ?? 0) <= 0) {
      for (let i = from; i < end; i += 1) target[i] = source[i] ?? 0;
      return;
    }
    let left = from;
    let right = middle;
    for (let i = from; i < end; i += 1) {
      const isLeft = right === end || (left < middle && this.#compare(source[left] ?? 0, source[right] ?? 0) <= 0);
      target[i] = source[isLeft ? left : right] ?? 0;
      if (isLeft) left += 1;
      else right += 1;
    }
  }

  /** The last network that begins at or before an address; -1 if none does. */
  #lastNotAfter(words: Int32Array, at: number): number {
    const order = this.#order;
    const cidrs = this.#cidrs;
    const last = order.length - 1;
    /* Nodes are mostly all before or all behind the pods' networks. */
    if (last < 0 || compareAt(cidrs, (order[0] ?? 0) * CIDR_WORDS, words, at) > 0) return -1;
    if (compareAt(cidrs, (order[last] ?? 0) * CIDR_WORDS, words, at) <= 0) return order[last] ?? 0;
    let low = 0;
    let high = last;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareAt(cidrs, (order[middle] ?? 0) * CIDR_WORDS, words, at) <= 0) low = middle + 1;
      else high = middle;
    }
    return order[low - 1] ?? 0;
  }
}

function contradiction(peers: PeerTable, row: number, other: number, problem: string): CniError {
  const named = (which: number): string => `${peers.place(which)} (${formatAddress(peers.host(which))})`;
  return new CniError(
    INVALID_CONFIG,
    `${named(row)} and ${other === THIS_NODE ? "this node" : named(other)} contradict each other`,
    `${problem}; nothing of the list is used until that is corrected`,
  );
}

function wrongFamily(peers: PeerTable, row: number, own: OwnNode): CniError {
  return new CniError(
    INVALID_CONFIG,
    `${peers.place(row)}: node ${formatAddress(peers.host(row))} cannot be reached from ${formatAddress(own.nodeIp)}`,
    'a VXLAN device with forwarding entries has one IP version outside: list addresses of one version, or use "datapath": "gpe"',
  );
}
