/** Puts the overlay's table into the packet filter, and keeps the peers in it what they are. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { compileRule } from "../filter/language.ts";
import { refused } from "../filter/tables.ts";
import { type Address, addressOf, formatAddress } from "../ip/address.ts";
import { decodeChain, decodeTable } from "../netlink/nftables/decode.ts";
import {
  writeDeleteElements,
  writeDeleteTable,
  writeNewChain,
  writeNewElements,
  writeNewRule,
  writeNewSet,
  writeNewTable,
} from "../netlink/nftables/messages.ts";
import {
  type Element,
  NFPROTO_INET,
  type NftSet,
  TYPE_IPV4_ADDR,
  TYPE_IPV6_ADDR,
} from "../netlink/nftables/objects.ts";
import { listElements, writeGetChain, writeGetTable } from "../netlink/nftables/queries.ts";
import { NETLINK_NETFILTER, NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { ENOENT, SystemError } from "../sys/errno.ts";
import { filterChains, filterComment, filterTable, needsFilter, type OverlayChain } from "./filter-rules.ts";
import type { OverlaySettings } from "./settings.ts";

/** "other": of another configuration, or with rules missing. */
type State = "present" | "missing" | "other";

/** The overlay's part of the packet filter; the socket is opened when it is first needed. */
export class OverlayFilter {
  readonly #settings: OverlaySettings;
  #socket: NetlinkSocket | null = null;

  constructor(settings: OverlaySettings) {
    this.#settings = settings;
  }

  close(): void {
    this.#socket?.abandon();
  }

  /** Whether nothing but the peers may be different. @throws CniError 100, 11 */
  isThere(): boolean {
    return !needsFilter(this.#settings) || this.#state() === "present";
  }

  /**
   * Makes the table be there with its rules, and the hosts be among its peers; with `exactly` no others. One transaction.
   * @returns whether other hosts are among its peers
   * @throws CniError 100, 11; then nothing has changed
   */
  put(hosts: readonly Address[], exactly: boolean): boolean {
    if (!needsFilter(this.#settings)) return false;
    try {
      return this.#put(hosts, exactly);
    } catch (error) {
      if (error instanceof NetlinkError) throw refused(error, "put in the overlay's packet filter");
      throw error;
    }
  }

  #put(hosts: readonly Address[], exactly: boolean): boolean {
    const state = this.#state();
    const found = state === "present" ? this.#peers() : [];
    const there = new Set<string>(found.map((address) => formatAddress(address)));
    const wanted = new Set<string>(hosts.map((address) => formatAddress(address)));
    const coming = hosts.filter((address) => !there.has(formatAddress(address)));
    const others = found.filter((address) => !wanted.has(formatAddress(address)));
    const going = exactly ? others : [];
    if (state === "present" && coming.length === 0 && going.length === 0) return others.length > 0;
    this.#open().beginBatch();
    if (state !== "present") this.#writeTable(state === "other");
    for (const family of [4, 6]) {
      const set = this.#set(family);
      const add = elementsOf(coming, family);
      const remove = elementsOf(going, family);
      if (remove.length > 0) writeDeleteElements(this.#open(), set, remove);
      if (add.length > 0) writeNewElements(this.#open(), set, add, 0);
    }
    this.#open().commitBatch();
    return others.length > going.length;
  }

  #state(): State {
    const chains = filterChains(this.#settings);
    const table = filterTable(this.#settings);
    const socket = this.#open();
    writeGetTable(socket, NFPROTO_INET, table);
    for (const chain of chains) writeGetChain(socket, NFPROTO_INET, table, chain.name);
    const comment = filterComment(this.#settings);
    let matching = 0;
    const errors = socket.executeAll((message, index) => {
      if (index === 0) matching += decodeTable(message.body).comment === comment ? 1 : 0;
      else matching += decodeChain(message.body).uses === chains[index - 1]?.rules.length ? 1 : 0;
    });
    for (const errno of errors) {
      if (errno !== 0 && errno !== ENOENT) throw refused(new NetlinkError(errno, "", 0), "read the packet filter");
    }
    if (errors[0] === ENOENT) return "missing";
    return matching === 1 + chains.length ? "present" : "other";
  }

  #peers(): Address[] {
    const found: Address[] = [];
    for (const family of [4, 6]) {
      for (const element of listElements(this.#open(), this.#set(family))) found.push(addressOf(element.key));
    }
    return found;
  }

  #writeTable(replace: boolean): void {
    const socket = this.#open();
    const name = filterTable(this.#settings);
    const chains = filterChains(this.#settings);
    if (replace) writeDeleteTable(socket, NFPROTO_INET, name);
    writeNewTable(socket, { family: NFPROTO_INET, name, comment: filterComment(this.#settings) }, 0);
    for (const family of [4, 6]) writeNewSet(socket, this.#set(family), 0);
    for (const chain of chains) this.#writeChain(name, chain);
  }

  #writeChain(table: string, chain: OverlayChain): void {
    const { name, hook, rules } = chain;
    writeNewChain(this.#open(), { family: NFPROTO_INET, table, name, hook, uses: 0 }, 0);
    for (const rule of rules) {
      const expressions = compileRule(NFPROTO_INET, rule);
      writeNewRule(this.#open(), { family: NFPROTO_INET, table, chain: name, expressions, comment: "", handle: 0n });
    }
  }

  #set(family: number): NftSet {
    const field = family === 4 ? { type: TYPE_IPV4_ADDR, length: 4 } : { type: TYPE_IPV6_ADDR, length: 16 };
    const table = filterTable(this.#settings);
    return { family: NFPROTO_INET, table, name: `peers${family}`, key: [field], data: [] };
  }

  #open(): NetlinkSocket {
    let socket = this.#socket;
    if (socket !== null) return socket;
    try {
      socket = new NetlinkSocket(NETLINK_NETFILTER);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      throw new CniError(
        KERNEL_REFUSED,
        `this kernel has no nf_tables: ${error.message}`,
        'without it nobody keeps strangers out of the overlay; "peersOnly": false and "masquerade": false do without',
      );
    }
    this.#socket = socket;
    return socket;
  }
}

function elementsOf(addresses: readonly Address[], family: number): Element[] {
  const elements: Element[] = [];
  for (const { family: own, bytes } of addresses) {
    if (own === family) elements.push({ key: bytes, data: null, verdict: null, comment: "" });
  }
  return elements;
}
