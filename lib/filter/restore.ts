/** Making our tables anew, with what belongs to the attachments that live. */
import { bootId } from "../host/boot.ts";
import { LivenessTest } from "../host/liveness.ts";
import { ensureSysctl, readSysctl } from "../host/sysctl.ts";
import { isShared } from "./hostports.ts";
import type { TableState } from "./managed-table.ts";
import { type FilterElement, type FilterRecord, ownerComment, recordName, residentOf } from "./record.ts";
import { managedTable, TABLE_NAMES, type TableName } from "./ruleset.ts";
import type { RecordStore } from "./store.ts";
import type { FilterTables } from "./tables.ts";

/**
 * The records of attachments that live. They were there when the record was made: whoever is not seen now has died.
 * @param except the name of one that is left out; "" for none
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

/** Sets again what reloads of sysctl.conf set back, on the links that need it; whether it was. */
export function restoreLocalnet(records: readonly FilterRecord[]): boolean {
  const links: string[] = [];
  for (const record of records) {
    /* Of a link that no pod needs it for any more only the rule matters. */
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

/** Whether a record has anything in a table. */
export function isAbout(record: FilterRecord, table: TableName): boolean {
  for (const element of record.elements) {
    if (element.table === table) return true;
  }
  return false;
}

/** The tables that have to be made: missing ones if they are wanted, outdated and dormant ones in any case. */
export function missingTables(states: readonly TableState[], wanted: (table: TableName) => boolean): TableName[] {
  const missing: TableName[] = [];
  let i = 0;
  for (const table of TABLE_NAMES) {
    const state = states[i] ?? "missing";
    if (state === "outdated" || state === "dormant" || (state === "missing" && wanted(table))) missing.push(table);
    i += 1;
  }
  return missing;
}

/** Writes tables with the chains and elements of records into the batch; of two elements of one key the later one counts. */
export function rebuild(
  tables: FilterTables,
  states: readonly TableState[],
  needed: readonly TableName[],
  records: readonly FilterRecord[],
): void {
  for (const table of needed) {
    managedTable(table).write(tables.filter, states[TABLE_NAMES.indexOf(table)] !== "missing");
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
    for (const element of record.elements) {
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
