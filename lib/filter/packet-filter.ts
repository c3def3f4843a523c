/**
 * The packet filter of this network namespace, as plugins use it: put in what an attachment needs, take it out, compare it,
 * and put back what somebody else's flush took away. Each is one transaction of the kernel's. All changes are made under
 * the lock of the records, so what is looked at stays as it is, but for strangers; if one comes in between, it is looked at
 * again.
 */

import { sinceBootMs } from "../host/boot.ts";
import { quietly } from "../host/io.ts";
import { NO_NAMESPACE } from "../host/namespace.ts";
import { textAt } from "../lists.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { type Change, commentsOf, freshElements, outside } from "./change.ts";
import { differencesInTables, isSpoilt } from "./comparison.ts";
import { forgetConnections, forgetTranslated } from "./flows.ts";
import { type HostPort, isShared } from "./hostports.ts";
import { checkIptables } from "./iptables.ts";
import { addRecordedIptables, clearPorts, removeRecordedIptables, repairRecordedIptables } from "./iptables-records.ts";
import { commentedElements, isOrphan, unneededChains, unneededMarks } from "./leftovers.ts";
import type { TableState } from "./managed-table.ts";
import {
  ElementList,
  type FilterChain,
  type FilterElement,
  type FilterOwner,
  type FilterRecord,
  nftablesRecord,
  ownerHash,
  ownerText,
  recordName,
  without,
} from "./record.ts";
import { type ReferencePart, removeReference } from "./reference.ts";
import { keepsChanging } from "./refusals.ts";
import { isAbout, liveRecords, missingTables, rebuild, restoreLocalnet } from "./restore.ts";
import { byHolder, displace, elementsIn, overlapsToAskFor, rivalsOf } from "./rivals.ts";
import { TABLE_NAMES, type TableName } from "./ruleset.ts";
import { heirsOf, overlapping, siblingAmong, standInLine, waiting, withClaims } from "./siblings.ts";
import type { Snapshot } from "./snapshot.ts";
import { RecordStore } from "./store.ts";
import { FilterTables } from "./tables.ts";

/** How often a change is begun again because a stranger has changed our tables in between. */
const TRIES = 5;

export class PacketFilter {
  readonly tables = new FilterTables();
  /** The tables that this call has found in order. */
  readonly #present = new Set<string>();
  /** Whether this call has taken a port from somebody, or perhaps from an earlier ADD of the same attachment. */
  #takenOver = false;

  /** The netfilter socket, without a batch begun. @throws CniError 100 */
  get socket(): NetlinkSocket {
    return this.tables.filter.netlink;
  }

  close(): void {
    this.tables.close();
  }

  /**
   * Makes the packet filter hold what a record says, and keeps the record.
   * @param lastWins whether ports that live attachments hold are taken over instead of being refused
   * @throws CniError 102 naming the holder of a port; 100, 11 if the kernel refuses. Then nothing has changed
   */
  put(record: FilterRecord, lastWins: boolean): void {
    this.#locked((store) => {
      const before = store.get(recordName(record.owner));
      if (clearPorts(store, record, lastWins) || before !== null) this.#takenOver = true;
      /* What an earlier ADD made, and the record does not tell of any more. */
      if (store.isUnfit(recordName(record.owner))) this.#removeOwned(record.owner);
      try {
        if (record.elements.length > 0) this.#putElements(store, record, before, lastWins);
        else store.put(record);
        addRecordedIptables(store, record);
      } catch (error) {
        this.#undo(store, record, before);
        throw error;
      }
    });
  }

  #putElements(store: RecordStore, record: FilterRecord, before: FilterRecord | null, lastWins: boolean): void {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      /* Of a new attachment nothing is there: only if the kernel says otherwise each element is asked for. */
      const optimistic = before === null && attempt === 0;
      const asked = optimistic ? [] : record.elements;
      const snapshot = this.#look(attempt === 0, record.chains, [...asked, ...overlapsToAskFor(record)]);
      const same = snapshot.elements.slice(0, asked.length);
      const leaving = new ElementList(before === null ? [] : this.#leaving(before, record.elements));
      const overlaps = snapshot.elements.slice(asked.length);
      const withheld = new ElementList([]);
      for (const rivals of byHolder(rivalsOf(this.tables, record, same, overlaps, leaving))) {
        const sibling = siblingAmong(store, rivals, record);
        if (sibling === null) leaving.add(displace(this.tables, store, rivals, record, lastWins));
        else {
          withheld.add(overlapping(record, elementsIn(rivals)));
          standInLine(store, sibling, record);
        }
      }
      if (leaving.items.length > 0) this.#takenOver = true;
      const fresh = freshElements(record, same, withheld, leaving);
      leaving.add(unneededMarks(this.tables, leaving.items, record.elements));
      const kept = withheld.items.length === 0 ? record : waiting(record, withheld.items);
      store.put(before === null ? kept : { ...kept, heirs: before.heirs });
      const change = { record, kept, leaving: leaving.items, fresh, exclusive: optimistic };
      if (this.#change(store, snapshot, change)) return;
    }
    throw keepsChanging();
  }

  /** Looks before a change. Tables that this call has just seen are not asked for again: without them the change fails. */
  #look(first: boolean, chains: readonly FilterChain[], elements: readonly FilterElement[]): Snapshot {
    if (!first || !TABLE_NAMES.every((table) => this.#present.has(table))) {
      return this.tables.snapshot(TABLE_NAMES, chains, elements);
    }
    const seen = this.tables.snapshot([], chains, elements);
    const tables = TABLE_NAMES.map((): TableState => "present");
    return { tables, chains: seen.chains, elements: seen.elements };
  }

  /**
   * Remembers that packets for 127.0.0.0/8 may be routed out of a link, so that those coming in there are dropped from now
   * on, and again after somebody's flush, whether or not a pod has a port then.
   * @throws CniError 100, 11
   */
  keepLocalnet(link: string): void {
    const owner = { network: "-", containerId: "-", ifname: link, plugin: "localnet" };
    const element: FilterElement = { table: "inet", set: "localnet_links", key: link, data: "" };
    /* Without a namespace of its own it lives as long as this boot. */
    this.put(nftablesRecord(owner, NO_NAMESPACE, sinceBootMs(), [], [element]), false);
  }

  /** After a failure: what was made is removed, and what was recorded before is recorded again. */
  #undo(store: RecordStore, record: FilterRecord, before: FilterRecord | null): void {
    quietly(`take back what ${ownerText(record.owner)} has in the packet filter`, () => {
      if (before === null) this.#removeRecord(store, record);
      else store.put(before);
    });
  }

  /**
   * One transaction: what is missing of the tables with all that belongs in it, out with the old, in with the new.
   * @returns false if the kernel refused since something is not as it was seen, or was not looked at
   */
  #change(store: RecordStore, snapshot: Snapshot, change: Change): boolean {
    const { record, leaving, fresh, exclusive } = change;
    const rebuilt = missingTables(snapshot.tables, (table) => isAbout(record, table));
    /* Before the batch: what was begun and is not committed is in the way of taking back. */
    const records = rebuilt.length > 0 ? [...liveRecords(store, recordName(record.owner)), change.kept] : [];
    this.tables.begin();
    if (rebuilt.length > 0) rebuild(this.tables, snapshot.tables, rebuilt, records);
    this.tables.deleteElements(outside(leaving, rebuilt));
    let i = 0;
    for (const chain of record.chains) {
      if (!rebuilt.includes(chain.table) && snapshot.chains[i] === null) this.tables.addChain(chain);
      i += 1;
    }
    const own = outside(fresh, rebuilt);
    this.tables.addElements(own, commentsOf(own, record.owner), exclusive);
    return this.tables.commit();
  }

  /** The elements of an owner's earlier record that are still there, still its own, and not wanted any more. */
  #leaving(before: FilterRecord, wanted: readonly FilterElement[]): FilterElement[] {
    const old = without(before.elements, wanted).filter((element) => !isShared(element.set));
    return this.tables.ownedBy(old, ownerHash(before.owner));
  }

  /**
   * Removes what an owner has, whatever is left of it.
   * @param search whether to look for it in all our sets if its record is gone: elements are marked with their owner
   * @returns the record of what it had; null if there was none
   * @throws CniError 100, 11
   */
  remove(owner: FilterOwner, search: boolean): FilterRecord | null {
    const store = RecordStore.open(false);
    try {
      store?.tidy();
      const record = store === null ? null : store.get(recordName(owner));
      const unfit = store?.isUnfit(recordName(owner)) ?? false;
      if (store !== null && record !== null) this.#removeAll(store, record, false);
      else if (search || unfit) this.#removeOwned(owner);
      if (unfit) store?.drop(owner);
      return record;
    } finally {
      store?.close();
    }
  }

  #removeRecord(store: RecordStore, record: FilterRecord): void {
    if (record.iptables.length > 0) removeRecordedIptables(record);
    if (record.elements.length > 0) this.#removeElements(record);
    store.drop(record.owner);
  }

  /** Gives the ports of one that has gone to the container's interfaces that stood in line for them. */
  #passOn(store: RecordStore, gone: FilterRecord): void {
    for (const heir of heirsOf(store, gone)) {
      this.#putElements(store, withClaims(heir), heir, false);
    }
  }

  #removeElements(record: FilterRecord): void {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const leaving = this.tables.ownedBy(
        record.elements.filter((element) => !isShared(element.set)),
        ownerHash(record.owner),
      );
      const marks = unneededMarks(this.tables, leaving, []);
      const chains = unneededChains(this.tables, record.chains, leaving);
      this.tables.begin();
      this.tables.deleteElements([...leaving, ...marks]);
      for (const chain of chains) this.tables.deleteChain(chain);
      if (this.tables.commit()) return;
    }
    throw keepsChanging();
  }

  /**
   * GC: removes what a plugin has for a network's attachments other than those to keep; also what no record knows of.
   * @param keep the hashes of the attachments that live on
   * @returns the records of what was removed
   */
  sweep(network: string, plugin: string, keep: ReadonlySet<string>): FilterRecord[] {
    const removed: FilterRecord[] = [];
    const known = new Set<string>();
    const store = RecordStore.open(false);
    try {
      store?.tidy();
      const damaged: FilterRecord[] = [];
      for (const { name, record } of store === null ? [] : store.doubtful()) {
        if (recordName(record.owner) === name) damaged.push(record);
      }
      for (const record of store === null ? [] : [...store.all(), ...damaged]) {
        const { owner } = record;
        if (owner.plugin !== plugin) continue;
        if (owner.network !== network || keep.has(ownerHash(owner))) known.add(ownerHash(owner));
        else if (store !== null) {
          this.#removeAll(store, record, damaged.includes(record));
          removed.push(record);
        }
      }
      this.#removeFound(plugin, (comment) => isOrphan(comment, network, known, keep));
    } finally {
      store?.close();
    }
    return removed;
  }

  /** @param damaged whether nothing of the record is to be relied on but its owner */
  #removeAll(store: RecordStore, record: FilterRecord, damaged: boolean): void {
    const { owner } = record;
    if (store.isUnfit(recordName(owner))) this.#removeOwned(owner);
    if (damaged) {
      /* Our chains in iptables have names that follow from the owner, the reference's. */
      this.removeReference(owner, owner.plugin === "portmap" ? ["hostports"] : ["masquerade"]);
      store.drop(owner);
      return;
    }
    this.#removeRecord(store, record);
    this.#passOn(store, record);
  }

  /** Removes the elements that say they are an owner's, whatever a record says. */
  #removeOwned(owner: FilterOwner): void {
    const hash = ownerHash(owner);
    this.#removeFound(owner.plugin, (comment) => comment.startsWith(hash));
  }

  /** Removes the elements whose comment is chosen, out of the sets that a plugin uses. */
  #removeFound(plugin: string, chosen: (comment: string) => boolean): void {
    const leaving = commentedElements(this.tables, plugin, chosen);
    if (leaving.length === 0) return;
    const marks = unneededMarks(this.tables, leaving, []);
    this.tables.begin();
    this.tables.deleteElements([...leaving, ...marks]);
    this.tables.commit();
  }

  /** What is missing or different of a record: each a line in nft's notation; empty if nothing is. */
  differences(record: FilterRecord): string[] {
    const lines = record.elements.length === 0 ? [] : differencesInTables(this.tables, record);
    for (const plan of record.iptables) {
      const line = checkIptables(plan);
      if (line !== null) lines.push(line);
    }
    return lines;
  }

  /**
   * Makes sure of tables. Those that are missing are made, with what belongs to all live attachments; with nothing missing
   * it costs one question. Where nothing can be recorded nobody has anything, and the tables are made all the same.
   * @returns whether anything was missing
   * @throws CniError 100 if this kernel cannot have them, 11
   */
  ensure(tables: readonly TableName[]): boolean {
    if (this.#has(tables)) return false;
    const store = RecordStore.openWhereAllowed();
    try {
      return this.#repair(store === null ? [] : liveRecords(store, ""), tables, false);
    } finally {
      store?.close();
    }
  }

  /**
   * Puts back tables that somebody has removed, with what belongs to all live attachments. With nothing missing it costs one
   * question; where nobody has anything nothing is made.
   * @returns whether anything was missing
   * @throws CniError 100, 11
   */
  restore(tables: readonly TableName[]): boolean {
    if (this.#has(tables)) return false;
    return this.#withRecords((store) => this.#repair(liveRecords(store, ""), tables, false));
  }

  /**
   * Puts back whatever is missing for live attachments, down to a single rule or element, of both backends.
   * @returns whether anything was missing
   * @throws CniError 100, 11
   */
  restoreAll(): boolean {
    return this.#withRecords((store) => {
      const records = liveRecords(store, "");
      /* iptables last: it is another program, and its refusal keeps nothing else out. */
      return [this.#repair(records, [], true), restoreLocalnet(records), repairRecordedIptables(records)].includes(
        true,
      );
    });
  }

  /** Asks the kernel for nf_tables. @throws CniError 100 if it has none */
  requireNftables(): void {
    this.#has(["inet"]);
    this.tables.filter.requireNftables();
  }

  /** Asks for both tables once, since a call that needs one mostly asks for the other next. */
  #has(tables: readonly TableName[]): boolean {
    if (!tables.every((table) => this.#present.has(table))) {
      const states = this.tables.snapshot(TABLE_NAMES, [], []).tables;
      for (let i = 0; i < TABLE_NAMES.length; i += 1) {
        if (states[i] === "present") this.#present.add(textAt(TABLE_NAMES, i));
      }
    }
    return tables.every((table) => this.#present.has(table));
  }

  #repair(records: readonly FilterRecord[], wanted: readonly TableName[], thorough: boolean): boolean {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const snapshot = this.tables.snapshot(TABLE_NAMES, [], []);
      const needed = missingTables(
        snapshot.tables,
        (table) => wanted.includes(table) || records.some((record) => isAbout(record, table)),
      );
      for (const table of TABLE_NAMES) {
        if (thorough && !needed.includes(table) && isSpoilt(this.tables, table, records)) needed.push(table);
      }
      if (needed.length === 0) return false;
      this.tables.begin();
      rebuild(this.tables, snapshot.tables, needed, records);
      if (this.tables.commit()) return true;
    }
    throw keepsChanging();
  }

  /** See `forgetConnections` in flows.ts. @throws CniError 100, 11 */
  forgetConnections(ports: readonly HostPort[]): void {
    forgetConnections(this.tables.filter.netlink, ports, this.#takenOver);
  }

  /** See `forgetTranslated` in flows.ts. @throws CniError 100, 11 */
  forgetTranslated(ports: readonly HostPort[]): void {
    forgetTranslated(this.tables.filter.netlink, ports);
  }

  /**
   * Removes what the reference suite left for an attachment: a node can be moved over while pods run.
   * @throws CniError 100, 11
   */
  removeReference(owner: FilterOwner, parts: readonly ReferencePart[]): void {
    removeReference(this.tables.filter.netlink, owner, parts);
  }

  #locked<T>(action: (store: RecordStore) => T): T {
    const store = RecordStore.open(true);
    if (store === null) throw new Error("a directory that was made is not there");
    try {
      return action(store);
    } finally {
      store.close();
    }
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
