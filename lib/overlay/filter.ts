/** Puts the overlay's table into the packet filter, and keeps the peers in it what they are. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { compileRule } from "../filter/language.ts";
import { refused } from "../filter/refusals.ts";
import { isRule } from "../filter/tables.ts";
import { ADDRESS_WORDS } from "../ip/words.ts";
import { itemAt } from "../lists.ts";
import type { Batch } from "../netlink/netfilter.ts";
import { type Addresses, listAddresses, writeAddresses } from "../netlink/nftables/address-sets.ts";
import { decodeChain, decodeTable } from "../netlink/nftables/decode.ts";
import {
  writeDeleteTable,
  writeNewChain,
  writeNewRule,
  writeNewSet,
  writeNewTable,
} from "../netlink/nftables/messages.ts";
import {
  type Chain,
  type FoundTable,
  NF_ACCEPT,
  NFPROTO_INET,
  type NftSet,
  TYPE_IPV4_ADDR,
  TYPE_IPV6_ADDR,
} from "../netlink/nftables/objects.ts";
import { listRules, writeGetChain, writeGetTable } from "../netlink/nftables/queries.ts";
import { NETLINK_NETFILTER, NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { ENOENT, SystemError } from "../sys/errno.ts";
import { addressDifference } from "./difference.ts";
import {
  filterChains,
  filterComment,
  filterTable,
  type Judged,
  needsFilter,
  type OverlayChain,
} from "./filter-rules.ts";
import type { OverlaySettings } from "./settings.ts";
import { removeTable } from "./stale-devices.ts";

/** "other": of another configuration, or with rules missing. */
type State = "present" | "missing" | "other";

/** The overlay's part of the packet filter; the socket is opened when it is first needed. */
export class OverlayFilter {
  readonly #settings: OverlaySettings;
  readonly #thorough: boolean;
  #socket: NetlinkSocket | null = null;
  #judged: Judged = "vni";
  #chains: readonly OverlayChain[] | null = null;
  /** Peers that should be none. */
  #others: Addresses = { words: new Int32Array(0), count: 0 };

  /** Whether anything of the table has been put. */
  changed = false;

  /** @param thorough whether rules are compared; otherwise they are counted */
  constructor(settings: OverlaySettings, thorough: boolean) {
    this.#settings = settings;
    this.#thorough = thorough;
  }

  close(): void {
    this.#socket?.abandon();
  }

  /** Says which packets the device takes. @returns whether that is news, so that what was put is not right */
  judge(judged: Judged): boolean {
    if (judged === this.#judged) return false;
    this.#judged = judged;
    this.#chains = null;
    return true;
  }

  #wanted(): readonly OverlayChain[] {
    const chains = this.#chains ?? filterChains(this.#settings, this.#judged);
    this.#chains = chains;
    return chains;
  }

  /** Whether nothing but the peers may be different. @throws CniError 100, 11 */
  isThere(): boolean {
    return !needsFilter(this.#settings) || this.#state() === "present";
  }

  /**
   * Makes the table be there with its rules, and the hosts be among its peers. One transaction. Those that are no longer
   * to be peers stay until `dropOthers`.
   * @param hosts addresses as words
   * @throws CniError 100, 11; then nothing has changed
   */
  put(hosts: Int32Array): void {
    if (!needsFilter(this.#settings)) {
      /* What was there for another configuration would go on dropping and translating. */
      removeTable(filterTable(this.#settings));
      return;
    }
    const wanted = { words: hosts, count: hosts.length / ADDRESS_WORDS };
    this.#transaction((socket) => {
      const state = this.#state();
      const found = state === "present" ? this.#peers() : { words: new Int32Array(0), count: 0 };
      const { coming, going } = addressDifference(wanted, found);
      this.#others = going;
      if (state === "present" && coming.count === 0) return;
      const batch = socket.batch();
      if (state !== "present") this.#writeTable(batch, state === "other");
      for (const family of [4, 6]) writeAddresses(batch, this.#set(family), family === 4, coming, false);
      batch.commit();
      this.changed = true;
    });
  }

  /** Takes those out of the peers that the last `put` found there and was not told of. @throws CniError 100, 11 */
  dropOthers(): void {
    const others = this.#others;
    if (others.count === 0) return;
    this.#transaction((socket) => {
      const batch = socket.batch();
      for (const family of [4, 6]) writeAddresses(batch, this.#set(family), family === 4, others, true);
      batch.commit();
    });
  }

  #transaction(action: (socket: NetlinkSocket) => void): void {
    try {
      action(this.#open());
    } catch (error) {
      if (error instanceof NetlinkError) throw refused(error, "put in the overlay's packet filter");
      throw error;
    }
  }

  #state(): State {
    const chains = this.#wanted();
    const table = filterTable(this.#settings);
    const socket = this.#open();
    writeGetTable(socket, NFPROTO_INET, table);
    for (const chain of chains) writeGetChain(socket, NFPROTO_INET, table, chain.name);
    const comment = filterComment(this.#settings, chains);
    let matching = 0;
    const refusals = socket.exchange((message, index) => {
      if (index === 0) matching += isInForce(decodeTable(message.body), comment) ? 1 : 0;
      else matching += isComplete(decodeChain(message.body), chains[index - 1]?.rules.length ?? 0) ? 1 : 0;
    });
    for (const refusal of refusals) if (refusal.errno !== ENOENT) throw refused(refusal, "read the packet filter");
    if (itemAt(refusals, 0)?.index === 0) return "missing";
    if (matching !== 1 + chains.length) return "other";
    return this.#thorough && !chains.every((chain) => this.#hasItsRules(table, chain)) ? "other" : "present";
  }

  #hasItsRules(table: string, chain: OverlayChain): boolean {
    const found = listRules(this.#open(), NFPROTO_INET, table, chain.name, true);
    return chain.rules.every((rule, i) => isRule(found[i]?.expressions, NFPROTO_INET, rule));
  }

  #peers(): Addresses {
    const found = { words: new Int32Array(0), count: 0 };
    for (const family of [4, 6]) listAddresses(this.#open(), this.#set(family), found);
    return found;
  }

  #writeTable(batch: Batch, replace: boolean): void {
    const name = filterTable(this.#settings);
    const chains = this.#wanted();
    if (replace) writeDeleteTable(batch, NFPROTO_INET, name);
    writeNewTable(batch, { family: NFPROTO_INET, name, comment: filterComment(this.#settings, chains) }, 0);
    for (const family of [4, 6]) writeNewSet(batch, this.#set(family), 0);
    for (const chain of chains) this.#writeChain(batch, name, chain);
  }

  #writeChain(batch: Batch, table: string, chain: OverlayChain): void {
    const { name, hook, rules } = chain;
    writeNewChain(batch, { family: NFPROTO_INET, table, name, hook, policy: NF_ACCEPT, uses: 0 }, 0);
    for (const rule of rules) {
      const expressions = compileRule(NFPROTO_INET, rule);
      writeNewRule(batch, { family: NFPROTO_INET, table, chain: name, expressions, comment: "", handle: 0n });
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

/** Whether a chain has as many rules, and accepts what they do not decide. */
function isComplete(found: Chain, rules: number): boolean {
  return found.uses === rules && found.policy === NF_ACCEPT;
}

/** Whether a table is the one with that comment, and nobody has switched it off (`flags dormant`). */
function isInForce(found: FoundTable, comment: string): boolean {
  return found.comment === comment && found.flags === 0;
}
