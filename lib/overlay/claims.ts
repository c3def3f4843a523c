/** Networks of pods and whose they are: which overlap, and who has an address. Pure. */
import { formatPrefix, type Prefix } from "../ip/address.ts";
import { ADDRESS_WORDS, compareAt, containsAt, prefixAt, putAddress, wideLength } from "../ip/words.ts";
import { numberAt } from "../lists.ts";
import { CIDR_WORDS, type PeerTable } from "./peer-table.ts";

/** Stands for this node where a peer's number is expected. */
export const THIS_NODE = -1;

/** Networks of pods and whose they are, in the order of addresses. */
export class Claims {
  /** The networks, as in a PeerTable. */
  readonly #cidrs: Int32Array;
  readonly #owners: Int32Array;
  #order: Int32Array;

  /**
   * @param ownRow the row that is this node, whose networks are not its own record's but those given; -1 if none is
   */
  constructor(peers: PeerTable, ownRow: number, ownCidrs: readonly Prefix[]) {
    const room = peers.cidrCount + ownCidrs.length;
    this.#cidrs = new Int32Array(room * CIDR_WORDS);
    this.#owners = new Int32Array(room);
    let count = 0;
    for (const cidr of ownCidrs) {
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

  /** The number of networks. */
  get count(): number {
    return this.#order.length;
  }

  /**
   * Tells of each network that lies in another one, and of the smallest that holds it.
   * @param tell given the numbers of two networks, the larger first
   */
  overlaps(tell: (outer: number, inner: number) => void): void {
    /* In the order of addresses a network comes behind those that hold it, and before what it does not hold. */
    const around: number[] = [];
    for (const claim of this.#order) {
      while (around.length > 0 && !this.#holds(numberAt(around, around.length - 1), this.#cidrs, claim * CIDR_WORDS)) {
        around.pop();
      }
      if (around.length > 0) tell(numberAt(around, around.length - 1), claim);
      around.push(claim);
    }
  }

  /** The number of the network that holds an address, where no two overlap; -1 if none does. */
  holderOf(words: Int32Array, at: number): number {
    const claim = this.#lastNotAfter(words, at);
    return claim >= 0 && this.#holds(claim, words, at) ? claim : -1;
  }

  /** The row whose a network is, or THIS_NODE. */
  ownerOf(claim: number): number {
    return this.#owners[claim] ?? THIS_NODE;
  }

  /** A network's length from 0 to 128. */
  lengthOf(claim: number): number {
    return this.#length(claim);
  }

  text(claim: number): string {
    return formatPrefix(prefixAt(this.#cidrs, claim * CIDR_WORDS, this.#length(claim)));
  }

  #holds(claim: number, words: Int32Array, at: number): boolean {
    return containsAt(this.#cidrs, claim * CIDR_WORDS, this.#length(claim), words, at);
  }

  #length(claim: number): number {
    return this.#cidrs[claim * CIDR_WORDS + ADDRESS_WORDS] ?? 0;
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
