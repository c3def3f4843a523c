/** All networks of pods and whose they are: which of them overlap, and which one contains an address. Pure. */
import { formatPrefix, type Prefix } from "../ip/address.ts";
import { type AddressColumn, PrefixList } from "../ip/columns.ts";
import { numberAt } from "../lists.ts";
import type { PeerTable } from "./peer-table.ts";

/** Stands for this node where a peer's row is expected. */
export const THIS_NODE = -1;

/** The networks of all nodes. A network is a number from 0 to `count` - 1. */
export class PodNetworks {
  readonly #networks: PrefixList;
  readonly #owners: Int32Array;
  /** The networks in the order of their addresses, larger ones before those that they contain. */
  #order: Int32Array;

  /**
   * @param ownRow the row that is this node, whose networks are `ownCidrs` and not its record's; -1 if none is
   */
  constructor(peers: PeerTable, ownRow: number, ownCidrs: readonly Prefix[]) {
    const { networks, networkCount } = peers;
    const capacity = networkCount + ownCidrs.length;
    this.#networks = new PrefixList(capacity);
    this.#owners = new Int32Array(capacity);
    let count = 0;
    for (const cidr of ownCidrs) {
      this.#networks.set(count, cidr);
      this.#owners[count] = THIS_NODE;
      count += 1;
    }
    const ownBegin = ownRow < 0 ? networkCount : peers.networksBegin(ownRow);
    const ownEnd = ownRow < 0 ? networkCount : peers.networksEnd(ownRow);
    this.#networks.copyRows(count, networks, 0, ownBegin);
    this.#networks.copyRows(count + ownBegin, networks, ownEnd, networkCount);
    const owners = this.#owners;
    for (let row = 0; row < peers.count; row += 1) {
      if (row === ownRow) continue;
      const end = peers.networksEnd(row);
      for (let network = peers.networksBegin(row); network < end; network += 1) {
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
   * Reports each network that lies in another one, with the smallest one that contains it.
   * @param report given two networks, the larger first
   */
  overlaps(report: (outer: number, inner: number) => void): void {
    const { addresses } = this.#networks;
    /* In this order a network follows those that contain it, and is followed by those that it contains. */
    const around: number[] = [];
    for (const network of this.#order) {
      while (around.length > 0 && !this.#networks.contains(numberAt(around, around.length - 1), addresses, network)) {
        around.pop();
      }
      if (around.length > 0) report(numberAt(around, around.length - 1), network);
      around.push(network);
    }
  }

  /** The network that contains the address in a row of a column; -1 if none does. No two networks may overlap. */
  networkOf(addresses: AddressColumn, row: number): number {
    const network = this.#lastNotAfter(addresses, row);
    return network >= 0 && this.#networks.contains(network, addresses, row) ? network : -1;
  }

  /** The row of the peer that has a network, or THIS_NODE. */
  ownerOf(network: number): number {
    return this.#owners[network] ?? THIS_NODE;
  }

  /** From 0 to 128. */
  lengthOf(network: number): number {
    return this.#networks.length(network);
  }

  text(network: number): string {
    return formatPrefix(this.#networks.prefix(network));
  }

  #compare(a: number, b: number): number {
    const { addresses } = this.#networks;
    const order = addresses.compare(a, addresses, b);
    return order !== 0 ? order : this.#networks.length(a) - this.#networks.length(b);
  }

  /** A merge sort. Most lists are in order already, which costs one comparison for each network. */
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
  #lastNotAfter(addresses: AddressColumn, row: number): number {
    const order = this.#order;
    const begins = this.#networks.addresses;
    const last = order.length - 1;
    /* Mostly the addresses of nodes are all below or all above those of pods. */
    if (last < 0 || begins.compare(order[0] ?? 0, addresses, row) > 0) return -1;
    if (begins.compare(order[last] ?? 0, addresses, row) <= 0) return order[last] ?? 0;
    let low = 0;
    let high = last;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (begins.compare(order[middle] ?? 0, addresses, row) <= 0) low = middle + 1;
      else high = middle;
    }
    return order[low - 1] ?? 0;
  }
}
