/** Compares our tables with records. */
import { elementsOf, isShared } from "./hostport-elements.ts";
import { type FilterElement, type FilterRecord, formatElement, isOfContainer, ownerHash } from "./record.ts";
import { usesTable } from "./restore.ts";
import { managedTable, TABLE_NAMES, type TableName } from "./ruleset.ts";
import type { FoundElement } from "./snapshot.ts";
import type { FilterTables } from "./tables.ts";

/**
 * What is missing or different of a record's elements and chains and of the tables they are in: a line for each, ports
 * first.
 * @throws CniError 100, 11
 */
export function differencesInTables(tables: FilterTables, record: FilterRecord): string[] {
  const elements = elementsOf(record);
  const used = TABLE_NAMES.filter((table) => usesTable(record, table));
  const snapshot = tables.snapshot(used, record.chains, elements);
  const lines: string[] = [];
  const hash = ownerHash(record.owner);
  let i = 0;
  for (const element of elements) {
    const line = elementDifference(element, snapshot.elements[i] ?? null, hash, record.owner.containerId);
    if (line !== "") lines.push(line);
    i += 1;
  }
  i = 0;
  for (const chain of record.chains) {
    if ((snapshot.chains[i] ?? null) === null)
      lines.push(`chain ${managedTable(chain.table).label} ${chain.name} is missing`);
    i += 1;
  }
  for (const { name, state } of snapshot.tables) {
    const table = managedTable(name);
    if (state === "dormant") lines.push(`table ${table.label} is dormant: none of its rules is in force`);
    if (state === "missing") lines.push(`table ${table.label} is missing`);
    else for (const line of table.differences(tables.filter.netlink, false)) lines.push(line);
  }
  return lines;
}

/**
 * Whether a table that is present has other rules than it should, or lacks an element or chain of one of the records.
 * @throws CniError 100, 11
 */
export function lacksParts(tables: FilterTables, table: TableName, records: readonly FilterRecord[]): boolean {
  const users: FilterRecord[] = [];
  for (const record of records) if (usesTable(record, table)) users.push(record);
  if (users.length === 0) return false;
  if (managedTable(table).differences(tables.filter.netlink, true).length > 0) return true;
  for (const record of users) {
    const elements = elementsOf(record).filter((element) => element.table === table);
    const chains = record.chains.filter((chain) => chain.table === table);
    const snapshot = tables.snapshot([], chains, elements);
    if (snapshot.elements.includes(null) || snapshot.chains.includes(null)) return true;
  }
  return false;
}

/** A line, or "" for an element that is as it should be. */
function elementDifference(
  element: FilterElement,
  found: FoundElement | null,
  hash: string,
  containerId: string,
): string {
  if (found === null) return `${formatElement(element)} is missing`;
  /* A port that another interface of the container publishes is published. */
  if (!found.comment.startsWith(hash) && isOfContainer(found.comment, containerId)) return "";
  if (found.element.data !== element.data) {
    return `${formatElement(element)} expected, found ${formatElement(found.element)}`;
  }
  if (isShared(element.set) || found.comment.startsWith(hash)) return "";
  return `${formatElement(element)} is another's: ${found.comment}`;
}
