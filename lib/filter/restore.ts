/** Puts back tables with what belongs to live attachments. */
import { bootId } from "../host/boot.ts";
import { LivenessTest } from "../host/liveness.ts";
import { ensureSysctl, readSysctl } from "../host/sysctl.ts";
import { elementsOf, isShared } from "./hostport-elements.ts";
import { type FilterElement, type FilterRecord, ownerComment, recordName, residentOf } from "./record.ts";
import { managedTable, type TableName } from "./ruleset.ts";
import type { FoundTable } from "./snapshot.ts";
import type { RecordStore } from "./store.ts";
import type { FilterTables } from "./tables.ts";

/**
 * The records of live attachments. Each was alive when its record was made: one that cannot be seen now is dead.
 * @param except the name of a record that is left out; "" for none
 */
export function liveRecords(store: RecordStore, except: string): FilterRecord[] {
  const boot = bootId();
  const test = new LivenessTest(boot);
  const records = store.all();
  for (const record of records) test.note(residentOf(record, boot));
  return records.filter(
    (record) => recordName(record.owner) !== except && test.of(residentOf(record, boot)) === "alive",
  );
}

/** The setting that lets packets for 127.0.0.0/8 be routed out of a link. */
export function localnetSetting(link: string): string[] {
  return ["net", "ipv4", "conf", link, "route_localnet"];
}

/** Sets again what a reload of sysctl.conf has reset, on the links that need it. @returns whether anything was reset */
export function restoreLocalnet(records: readonly FilterRecord[]): boolean {
  const links: string[] = [];
  for (const record of records) {
    /* This record is about the rule alone: no pod may need the setting any more. */
    if (record.owner.plugin === "localnet") continue;
    for (const element of record.elements) if (element.set === "localnet_links") links.push(element.key);
    for (const plan of record.iptables) links.push(plan.localnetLink);
  }
  let restored = false;
  for (const link of links) {
    const setting = localnetSetting(link);
    if (link === "" || readSysctl(setting) !== "0") continue;
    ensureSysctl(setting, "1");
    restored = true;
  }
  return restored;
}

/** Whether a record has elements in a table. */
export function usesTable(record: FilterRecord, table: TableName): boolean {
  if (table === "inet" && record.ports.length > 0) return true;
  for (const element of record.elements) {
    if (element.table === table) return true;
  }
  return false;
}

/** The tables that have to be written: missing ones if they are wanted, outdated and dormant ones in any case. */
export function tablesToWrite(found: readonly FoundTable[], wanted: (table: TableName) => boolean): TableName[] {
  const needed: TableName[] = [];
  for (const { name, state } of found) {
    if (state === "outdated" || state === "dormant" || (state === "missing" && wanted(name))) needed.push(name);
  }
  return needed;
}

/**
 * Adds tables with the chains and elements of records to the transaction. Of two elements with one key, the later record's
 * counts.
 * @param found the state of these tables: those that are not missing are replaced
 */
export function writeTables(
  tables: FilterTables,
  found: readonly FoundTable[],
  needed: readonly TableName[],
  records: readonly FilterRecord[],
): void {
  for (const { name, state } of found) {
    if (needed.includes(name)) managedTable(name).write(tables.filter, state !== "missing");
  }
  const chains: string[] = [];
  const byKey = new Map<string, FilterElement>();
  const comments = new Map<string, string>();
  for (const record of records) {
    for (const chain of record.chains) {
      if (!needed.includes(chain.table) || chains.includes(chain.name)) continue;
      chains.push(chain.name);
      tables.addChain(chain);
    }
    for (const element of elementsOf(record)) {
      if (!needed.includes(element.table)) continue;
      const key = `${element.set} ${element.key}`;
      byKey.set(key, element);
      comments.set(key, isShared(element.set) ? "" : ownerComment(record.owner));
    }
  }
  const elements: FilterElement[] = [];
  const texts: string[] = [];
  for (const [key, element] of byKey) {
    elements.push(element);
    texts.push(comments.get(key) ?? "");
  }
  tables.addElements(elements, texts, false);
}
