/**
 * The packet filter of this network namespace, as plugins use it: makes what an attachment needs, removes it, compares it, and
 * puts back what other programs have flushed. The records of attachments (store.ts) say what belongs to whom; their lock
 * orders all changes.
 */
import { sinceBootMs } from "../host/boot.ts";
import { quietly } from "../host/io.ts";
import { NO_NAMESPACE } from "../host/namespace.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { ENODEV } from "../sys/errno.ts";
import * as network from "../sys/network.ts";
import { forgetConnections, forgetTranslated } from "./flows.ts";
import { type IngressPolicy, POLICY_PLUGIN, policyOwner, policyRecord } from "./forwarding.ts";
import { hasElements } from "./hostport-elements.ts";
import type { HostPort } from "./hostports.ts";
import { IptablesBackend } from "./iptables-backend.ts";
import { NftablesBackend } from "./nftables-backend.ts";
import {
  emptyRecord,
  type FilterElement,
  type FilterOwner,
  type FilterRecord,
  ownerHash,
  ownerText,
  recordName,
} from "./record.ts";
import { recordRemovalCommands } from "./record-commands.ts";
import { type ReferencePart, removeReference } from "./reference.ts";
import { liveRecords, restoreLocalnet } from "./restore.ts";
import { managedTable, type TableName } from "./ruleset.ts";
import { waitersOf, withClaims } from "./siblings.ts";
import { RecordStore } from "./store.ts";
import { tableCommand } from "./table-text.ts";
import { FilterTables } from "./tables.ts";
import { isOrphan } from "./unused.ts";

export class PacketFilter {
  readonly #tables = new FilterTables();
  readonly #nftables = new NftablesBackend(this.#tables);
  readonly #iptables = new IptablesBackend(this.#tables.filter);
  /** Whether this call has taken a port from another attachment, or perhaps from an earlier ADD of the same. */
  #takenOver = false;

  /** The netfilter socket, on which no batch is begun. @throws CniError 100 */
  get socket(): NetlinkSocket {
    return this.#tables.filter.netlink;
  }

  /** Whether the kernel has shown that it has no nf_tables. */
  get lacksNftables(): boolean {
    return this.#tables.filter.absent;
  }

  close(): void {
    this.#tables.close();
  }

  /** For `explain`: the commands that make one of our tables as it should be; none if it is. @throws CniError 100, 11 */
  tableCommands(name: TableName): string[] {
    const table = managedTable(name);
    const state = table.state(this.#tables.filter);
    if (state === "present") return [];
    /* nft does not take raw payload ("@th,80,48") in a concatenation with a set whose type it knows; the kernel does. */
    if (name === "bridge")
      return [`# the table ${table.label}: nft cannot read all of its rules, the first ADD makes it`];
    const none: readonly string[] = [];
    const lines = tableCommand(table.definition, () => none);
    return state === "missing" ? lines : [`nft delete table ${table.label}`, ...lines];
  }

  /**
   * Makes what a record has, and keeps the record.
   * @param lastWins whether ports that live attachments have are taken from them; otherwise that is an error
   * @throws CniError 102 naming the holder of a port; 100, 11 if the kernel refuses. Then nothing has changed
   */
  put(record: FilterRecord, lastWins: boolean): void {
    const store = RecordStore.open(true);
    if (store === null) throw new Error("a directory that was made is not there");
    try {
      this.#putLocked(store, record, lastWins);
    } finally {
      store.close();
    }
  }

  #putLocked(store: RecordStore, record: FilterRecord, lastWins: boolean): void {
    const name = recordName(record.owner);
    const before = store.get(name);
    if (this.#iptables.clearPorts(store, record, lastWins) || before !== null) this.#takenOver = true;
    /* An earlier ADD has made more than the damaged record tells. */
    if (store.isIncomplete(name)) this.#nftables.removeOwned(record.owner);
    try {
      const change = { record, before, lastWins };
      if (!hasElements(record)) store.put(record);
      else if (this.#nftables.put(store, change)) this.#takenOver = true;
      this.#iptables.put(store, change);
    } catch (error) {
      quietly(`take back what ${ownerText(record.owner)} has in the packet filter`, () => {
        if (before === null) this.#removeRecord(store, record);
        else store.put(before);
      });
      throw error;
    }
  }

  /**
   * Records that packets for 127.0.0.0/8 may be routed out of a link, so that those that arrive on it are dropped from now
   * on, also after a flush, and whether or not a pod has a port then.
   * @throws CniError 100, 11
   */
  keepLocalnet(link: string): void {
    const owner = { network: "-", containerId: "-", ifname: link, plugin: "localnet" };
    const element: FilterElement = { table: "inet", set: "localnet_links", key: link, data: "" };
    /* Without a namespace the record is valid until the next boot. */
    this.put({ ...emptyRecord(owner, NO_NAMESPACE, sinceBootMs()), elements: [element] }, false);
  }

  /**
   * Makes the policy of a bridge what it should be, whatever it was.
   * @throws CniError 100, 11
   */
  setPolicy(bridge: string, policy: IngressPolicy): void {
    const owner = policyOwner(bridge);
    if (policy !== "open") this.put(policyRecord(bridge, policy, sinceBootMs()), false);
    else if (RecordStore.has(owner)) this.remove(owner, false);
  }

  /** Whether it is recorded that a bridge has a policy, so that it comes back after a flush. */
  recordsPolicy(bridge: string, policy: IngressPolicy): boolean {
    if (policy === "open") return !RecordStore.has(policyOwner(bridge));
    return RecordStore.keeps(policyRecord(bridge, policy, 0));
  }

  /** What is missing or different of the policy of a bridge: a line for each. @throws CniError 100, 11 */
  policyDifferences(bridge: string, policy: IngressPolicy): string[] {
    if (policy !== "open") return this.differences(policyRecord(bridge, policy, sinceBootMs()));
    return RecordStore.has(policyOwner(bridge)) ? [`the bridge ${bridge} has a policy, expected none`] : [];
  }

  /** Removes the policies of bridges that are gone. @throws CniError 100, 11 */
  dropGonePolicies(): void {
    this.#withRecords((store) => {
      for (const record of gonePolicies(store)) this.#removeRecord(store, record);
      return true;
    });
  }

  /** The commands that do the same. */
  gonePolicyCommands(): string[] {
    const lines: string[] = [];
    this.#withRecords((store) => {
      for (const record of gonePolicies(store)) lines.push(...recordRemovalCommands(record));
      return true;
    });
    return lines;
  }

  /**
   * Removes what an owner has, as far as it is there.
   * @param search whether all our sets are searched for elements with the owner's comment if there is no record
   * @returns the owner's record; null if there was none
   * @throws CniError 100, 11
   */
  remove(owner: FilterOwner, search: boolean): FilterRecord | null {
    const store = RecordStore.open(false);
    try {
      store?.tidy();
      const record = store === null ? null : store.get(recordName(owner));
      const incomplete = store?.isIncomplete(recordName(owner)) ?? false;
      if (store !== null && record !== null) this.#removeAll(store, record);
      else if (search || incomplete) this.#nftables.removeOwned(owner);
      if (incomplete) store?.drop(owner);
      return record;
    } finally {
      store?.close();
    }
  }

  #removeRecord(store: RecordStore, record: FilterRecord): void {
    this.#iptables.remove(record);
    this.#nftables.remove(record);
    store.drop(record.owner);
  }

  /**
   * GC: removes what a plugin has for a network's attachments other than those to keep, with or without a record.
   * @param keep the hashes of the attachments to keep
   * @param reference the parts of what the reference plugins make that the plugin replaces
   * @returns the records of what was removed
   * @throws CniError 100, 11
   */
  sweep(
    network: string,
    plugin: string,
    keep: ReadonlySet<string>,
    reference: readonly ReferencePart[],
  ): FilterRecord[] {
    const removed: FilterRecord[] = [];
    const known = new Set<string>();
    const store = RecordStore.open(false);
    try {
      store?.tidy();
      const damaged: FilterRecord[] = [];
      for (const { name, record } of store === null ? [] : store.damaged()) {
        if (recordName(record.owner) === name) damaged.push(record);
      }
      for (const record of store === null ? [] : [...store.all(), ...damaged]) {
        const { owner } = record;
        if (owner.plugin !== plugin) continue;
        if (owner.network !== network || keep.has(ownerHash(owner))) known.add(ownerHash(owner));
        else if (store !== null) {
          if (damaged.includes(record)) this.#removeDamaged(store, owner, reference);
          else this.#removeAll(store, record);
          removed.push(record);
        }
      }
      this.#nftables.removeCommented(plugin, (comment) => isOrphan(comment, network, known, keep));
    } finally {
      store?.close();
    }
    return removed;
  }

  /** Of a damaged record only the owner can be relied on. */
  #removeDamaged(store: RecordStore, owner: FilterOwner, reference: readonly ReferencePart[]): void {
    this.#nftables.removeOwned(owner);
    /* Our chains in iptables have the names that the reference's have, which follow from the owner. */
    this.removeReference(owner, reference);
    store.drop(owner);
  }

  #removeAll(store: RecordStore, record: FilterRecord): void {
    const { owner } = record;
    if (store.isIncomplete(recordName(owner))) this.#nftables.removeOwned(owner);
    this.#removeRecord(store, record);
    for (const waiter of waitersOf(store, record)) {
      this.#nftables.put(store, { record: withClaims(waiter), before: waiter, lastWins: false });
    }
  }

  /** What is missing or different of a record, in the notation of nft and iptables: a line for each. @throws CniError 100, 11 */
  differences(record: FilterRecord): string[] {
    return [...this.#nftables.differences(record), ...this.#iptables.differences(record)];
  }

  /**
   * Creates tables that are missing, with what belongs to all live attachments; with nothing missing it costs one question.
   * Where no records can be kept no attachment has anything, and the tables are created all the same.
   * @returns whether anything was missing
   * @throws CniError 100 if this kernel cannot have the tables, 11
   */
  ensure(tables: readonly TableName[]): boolean {
    if (this.#nftables.hasTables(tables)) return false;
    const store = RecordStore.openWhereAllowed();
    try {
      return this.#nftables.restoreTables(store === null ? [] : liveRecords(store, ""), tables, false);
    } finally {
      store?.close();
    }
  }

  /**
   * As `ensure`, but does nothing where no attachment has a record.
   * @returns whether anything was missing
   * @throws CniError 100, 11
   */
  restore(tables: readonly TableName[]): boolean {
    if (this.#nftables.hasTables(tables)) return false;
    return this.#withRecords((store) => this.#nftables.restoreTables(liveRecords(store, ""), tables, false));
  }

  /**
   * Puts back whatever is missing for live attachments, down to a single rule or element, in both backends.
   * @returns whether anything was missing
   * @throws CniError 100, 11
   */
  restoreAll(): boolean {
    return this.#withRecords((store) => {
      const records = liveRecords(store, "");
      /* iptables last: it is another program, and its refusal must not prevent the rest. */
      const restored = [this.#nftables.restore(records), restoreLocalnet(records), this.#iptables.restore(records)];
      return restored.includes(true);
    });
  }

  /** Asks the kernel for nf_tables. @throws CniError 100 if it has none */
  requireNftables(): void {
    this.#nftables.hasTables(["inet"]);
    this.#tables.filter.requireNftables();
  }

  /** See `forgetConnections` in flows.ts. @throws CniError 100, 11 */
  forgetConnections(ports: readonly HostPort[]): void {
    forgetConnections(this.socket, ports, this.#takenOver);
  }

  /** See `forgetTranslated` in flows.ts. @throws CniError 100, 11 */
  forgetTranslated(ports: readonly HostPort[]): void {
    forgetTranslated(this.socket, ports);
  }

  /**
   * Removes what the reference suite left for an attachment: a node may be moved to Podwire while pods run.
   * @throws CniError 100, 11
   */
  removeReference(owner: FilterOwner, parts: readonly ReferencePart[]): void {
    removeReference(this.socket, owner, parts);
  }

  /** False where no attachment has a record. */
  #withRecords(action: (store: RecordStore) => boolean): boolean {
    const store = RecordStore.open(false);
    if (store === null) return false;
    try {
      return action(store);
    } finally {
      store.close();
    }
  }
}

function gonePolicies(store: RecordStore): FilterRecord[] {
  /* A bridge that cannot be asked for is not gone. */
  return store.madeBy(POLICY_PLUGIN).filter((record) => network.interfaceIndex(record.owner.ifname) === -ENODEV);
}
