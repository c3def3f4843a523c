/**
 * The backend nf_tables: a record's elements in our tables. Each change is one transaction: tables that are missing with all
 * that belongs in them, deletions, additions. The lock of the records keeps other calls out; when another program changes
 * the tables between reading and changing, the change is tried again.
 */
import { Backend, type RecordChange } from "./backend.ts";
import { addedElements, type Change, commentsOf, notIn } from "./change.ts";
import { differencesInTables, lacksParts } from "./comparison.ts";
import { findConflicts, resolveConflict } from "./conflicts.ts";
import {
  elementsOf,
  hasElements,
  hostPortsIn,
  isShared,
  overlappingElement,
  withoutPorts,
} from "./hostport-elements.ts";
import type { HostPort } from "./hostports.ts";
import {
  ElementList,
  type FilterChain,
  type FilterElement,
  type FilterOwner,
  type FilterRecord,
  ownerHash,
  recordName,
  without,
} from "./record.ts";
import { keepsChanging } from "./refusals.ts";
import { liveRecords, tablesToWrite, usesTable, writeTables } from "./restore.ts";
import { COMMON_TABLES, TABLE_NAMES, type TableName } from "./ruleset.ts";
import { addWaiter, awaitedPart, siblingIn, withoutAwaited } from "./siblings.ts";
import type { FoundTable, Snapshot } from "./snapshot.ts";
import type { RecordStore } from "./store.ts";
import type { FilterTables, OwnedElements } from "./tables.ts";
import { commentedElements, unusedChains, unusedMarks } from "./unused.ts";

/** How often a change is tried if another program changes our tables at the same time. */
const TRIES = 5;

/** A change, and the state that it is for. */
interface Plan {
  readonly snapshot: Snapshot;
  readonly change: Change;
  /** Whether other attachments lose ports, or an earlier ADD of the attachment its elements. */
  readonly takesPorts: boolean;
}

const NOTHING: OwnedElements = { ports: [], elements: [] };

export class NftablesBackend extends Backend {
  readonly #tables: FilterTables;
  /** The tables that this call has found to be present. */
  readonly #present = new Set<string>();

  constructor(tables: FilterTables) {
    super();
    this.#tables = tables;
  }

  /** Writes the record before its elements: should the call be killed, the record says what to remove. */
  override put(store: RecordStore, request: RecordChange): boolean {
    if (!hasElements(request.record)) return false;
    let portsTaken = false;
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const { snapshot, change, takesPorts } = this.#plan(store, request, attempt);
      if (takesPorts) portsTaken = true;
      const { before } = request;
      store.put(before === null ? change.kept : { ...change.kept, waiters: before.waiters });
      if (this.#commit(store, snapshot, change)) return portsTaken;
    }
    throw keepsChanging();
  }

  /** Reads the state and decides about conflicts. The records of other attachments are changed here. */
  #plan(store: RecordStore, { record, before, lastWins }: RecordChange, attempt: number): Plan {
    const wanted = elementsOf(record);
    /* A new attachment has no elements: they are asked for only if the kernel has refused to add them. */
    const exclusive = before === null && attempt === 0;
    const asked = exclusive ? [] : wanted;
    const overlapping: FilterElement[] = [];
    for (const port of record.ports) overlapping.push(overlappingElement(port));
    const snapshot = this.#snapshot(attempt === 0, tablesOf(record), record.chains, [...asked, ...overlapping]);
    const same = snapshot.elements.slice(0, asked.length);
    const overlaps = snapshot.elements.slice(asked.length);
    const outdated = before === null ? NOTHING : this.#outdated(before, record);
    const removed = new ElementList(outdated.elements);
    const removedPorts = [...outdated.ports];
    const siblingPorts: HostPort[] = [];
    for (const group of findConflicts(this.#tables, record, same, overlaps, removed)) {
      const sibling = siblingIn(store, group, record);
      if (sibling === null) {
        const lost = resolveConflict(this.#tables, store, group, record, lastWins);
        removed.add(lost.elements);
        for (const port of lost.ports) removedPorts.push(port);
      } else {
        for (const port of group.ports) siblingPorts.push(port);
        addWaiter(store, sibling, record);
      }
    }
    const takesPorts = removed.items.length > 0;
    const waits = siblingPorts.length > 0;
    const kept = waits ? withoutAwaited(record, awaitedPart(record, siblingPorts)) : record;
    const awaited = new ElementList(waits ? without(wanted, elementsOf(kept)) : []);
    const added = addedElements(wanted, record.owner, same, awaited, removed);
    removed.add(unusedMarks(this.#tables, removedPorts, record.elements));
    return { snapshot, change: { record, kept, removed: removed.items, added, exclusive }, takesPorts };
  }

  /**
   * Reads the state before a change. Tables that this call has seen are not asked for in the first attempt: if they are
   * missing by now, the change fails.
   */
  #snapshot(
    first: boolean,
    names: readonly TableName[],
    chains: readonly FilterChain[],
    elements: readonly FilterElement[],
  ): Snapshot {
    if (!first || !names.every((table) => this.#present.has(table))) {
      return this.#tables.snapshot(names, chains, elements);
    }
    const found = this.#tables.snapshot([], chains, elements);
    const tables: FoundTable[] = [];
    for (const name of names) tables.push({ name, state: "present" });
    return { tables, chains: found.chains, elements: found.elements };
  }

  /** Sends a change. @returns false if something is not as the snapshot says */
  #commit(store: RecordStore, snapshot: Snapshot, change: Change): boolean {
    const { record, removed, added, exclusive } = change;
    const written = tablesToWrite(snapshot.tables, (table) => usesTable(record, table));
    /* Read before the transaction begins: an error after that would leave it begun, in the way of undoing. */
    const records = written.length > 0 ? [...liveRecords(store, recordName(record.owner)), change.kept] : [];
    this.#tables.begin();
    if (written.length > 0) writeTables(this.#tables, snapshot.tables, written, records);
    this.#tables.deleteElements(notIn(removed, written));
    let i = 0;
    for (const chain of record.chains) {
      if (!written.includes(chain.table) && snapshot.chains[i] === null) this.#tables.addChain(chain);
      i += 1;
    }
    const additions = notIn(added, written);
    this.#tables.addElements(additions, commentsOf(additions, record.owner), exclusive);
    return this.#tables.commit();
  }

  /** What an owner's earlier record has, is still the owner's in the kernel, and is not wanted any more. */
  #outdated(before: FilterRecord, record: FilterRecord): OwnedElements {
    const ports = withoutPorts(before.ports, record.ports);
    const elements = without(before.elements, record.elements).filter((element) => !isShared(element.set));
    return this.#tables.ownedParts(ports, elements, ownerHash(before.owner));
  }

  override remove(record: FilterRecord): void {
    if (!hasElements(record)) return;
    const own = record.elements.filter((element) => !isShared(element.set));
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const { ports, elements } = this.#tables.ownedParts(record.ports, own, ownerHash(record.owner));
      const marks = unusedMarks(this.#tables, ports, []);
      const chains = unusedChains(this.#tables, record.chains, elements);
      this.#tables.begin();
      this.#tables.deleteElements([...elements, ...marks]);
      for (const chain of chains) this.#tables.deleteChain(chain);
      if (this.#tables.commit()) return;
    }
    throw keepsChanging();
  }

  /** Removes all elements whose comment names an owner, whether or not a record has them. @throws CniError 100, 11 */
  removeOwned(owner: FilterOwner): void {
    const hash = ownerHash(owner);
    this.removeCommented(owner.plugin, (comment) => comment.startsWith(hash));
  }

  /** Removes the elements of the sets that a plugin uses whose comment is chosen. @throws CniError 100, 11 */
  removeCommented(plugin: string, isChosen: (comment: string) => boolean): void {
    const elements = commentedElements(this.#tables, plugin, isChosen);
    if (elements.length === 0) return;
    const marks = unusedMarks(this.#tables, hostPortsIn(elements), []);
    this.#tables.begin();
    this.#tables.deleteElements([...elements, ...marks]);
    this.#tables.commit();
  }

  override differences(record: FilterRecord): string[] {
    return hasElements(record) ? differencesInTables(this.#tables, record) : [];
  }

  override restore(records: readonly FilterRecord[]): boolean {
    return this.restoreTables(records, [], true);
  }

  /**
   * Writes the tables that are missing or differ, with what belongs to the records.
   * @param wanted tables that are written although no record uses them
   * @param thorough whether rules, chains and elements are compared, too
   * @returns whether anything was missing
   * @throws CniError 100, 11
   */
  restoreTables(records: readonly FilterRecord[], wanted: readonly TableName[], thorough: boolean): boolean {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const { tables: found } = this.#tables.snapshot(TABLE_NAMES, [], []);
      const needed = tablesToWrite(
        found,
        (table) => wanted.includes(table) || records.some((record) => usesTable(record, table)),
      );
      for (const table of TABLE_NAMES) {
        if (thorough && !needed.includes(table) && lacksParts(this.#tables, table, records)) needed.push(table);
      }
      if (needed.length === 0) return false;
      this.#tables.begin();
      writeTables(this.#tables, found, needed, records);
      if (this.#tables.commit()) return true;
    }
    throw keepsChanging();
  }

  /**
   * Whether tables are present. Asks for the common ones at once: a call that needs one mostly needs the others later.
   * @throws CniError 100, 11
   */
  hasTables(tables: readonly TableName[]): boolean {
    if (!tables.every((table) => this.#present.has(table))) {
      const names = [...COMMON_TABLES, ...tables.filter((table) => !COMMON_TABLES.includes(table))];
      for (const { name, state } of this.#tables.snapshot(names, [], []).tables) {
        if (state === "present") this.#present.add(name);
      }
    }
    return tables.every((table) => this.#present.has(table));
  }
}

/** The tables whose state a change of a record depends on: the common ones, which are replaced where they are outdated, and its own. */
function tablesOf(record: FilterRecord): TableName[] {
  return TABLE_NAMES.filter((table) => COMMON_TABLES.includes(table) || usesTable(record, table));
}
