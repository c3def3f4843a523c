/** Our tables compared with what is recorded. */
import { isHostPort, isShared } from "./hostports.ts";
import { type FilterElement, type FilterRecord, formatElement, isOfContainer, ownerHash } from "./record.ts";
import { isAbout } from "./restore.ts";
import { managedTable, TABLE_NAMES, type TableName } from "./ruleset.ts";
import type { FoundElement } from "./snapshot.ts";
import type { FilterTables } from "./tables.ts";

/** What is missing or different of a record's elements and chains and the tables they are in: lines, ports first. */
export function differencesInTables(tables: FilterTables, record: FilterRecord): string[] {
  const snapshot = tables.snapshot(TABLE_NAMES, record.chains, record.elements);
  const ports: string[] = [];
  const others: string[] = [];
  const hash = ownerHash(record.owner);
  let i = 0;
  for (const element of record.elements) {
    const line = differenceIn(element, snapshot.elements[i] ?? null, hash, record.owner.containerId);
    if (line !== "") (isHostPort(element) ? ports : others).push(line);
    i += 1;
  }
  i = 0;
  for (const chain of record.chains) {
    if ((snapshot.chains[i] ?? null) === null) others.push(`chain ${chain.table} podwire ${chain.name} is missing`);
    i += 1;
  }
  i = 0;
  for (const table of TABLE_NAMES) {
    const state = snapshot.tables[i] ?? "missing";
    i += 1;
    if (!isAbout(record, table)) continue;
    if (state === "dormant") others.push(`table ${table} podwire is dormant: none of its rules is in force`);
    if (state === "missing") others.push(`table ${table} podwire is missing`);
    else others.push(...managedTable(table).differences(tables.filter.netlink, false));
  }
  return [...ports, ...others];
}

/** Whether a table that is there lacks a rule, or an element or chain of one of the records. */
export function isSpoilt(tables: FilterTables, table: TableName, records: readonly FilterRecord[]): boolean {
  const about = records.filter((record) => isAbout(record, table));
  if (about.length === 0) return false;
  if (managedTable(table).differences(tables.filter.netlink, true).length > 0) return true;
  return about.some((record) => {
    const elements = record.elements.filter((element) => element.table === table);
    const chains = record.chains.filter((chain) => chain.table === table);
    const snapshot = tables.snapshot([], chains, elements);
    return snapshot.elements.includes(null) || snapshot.chains.includes(null);
  });
}

/** A line, or "" for an element that is as it should be. */
function differenceIn(element: FilterElement, found: FoundElement | null, hash: string, containerId: string): string {
  if (found === null) return `${formatElement(element)} is missing`;
  /* What another interface of the container has published is published. */
  if (!found.comment.startsWith(hash) && isOfContainer(found.comment, containerId)) return "";
  if (found.element.data !== element.data) {
    return `${formatElement(element)} expected, found ${formatElement(found.element)}`;
  }
  if (isShared(element.set) || found.comment.startsWith(hash)) return "";
  return `${formatElement(element)} is another's: ${found.comment}`;
}
