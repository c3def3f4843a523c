/** What a change of one attachment takes out of the tables and puts in. Pure. */
import { isShared } from "./hostports.ts";
import { type ElementList, type FilterElement, type FilterOwner, type FilterRecord, ownerComment } from "./record.ts";
import type { TableName } from "./ruleset.ts";
import type { FoundElement } from "./snapshot.ts";

/** A change of one attachment. */
export interface Change {
  readonly record: FilterRecord;
  /** What is on record of it: less than it wants while it stands in line for ports. */
  readonly kept: FilterRecord;
  readonly leaving: readonly FilterElement[];
  readonly fresh: readonly FilterElement[];
  /** Whether new elements must not be there yet. */
  readonly exclusive: boolean;
}

/** The elements that are to be added; those that are there otherwise leave first. @param same what there is of them */
export function freshElements(
  record: FilterRecord,
  same: readonly (FoundElement | null)[],
  withheld: ElementList,
  leaving: ElementList,
): FilterElement[] {
  const comment = ownerComment(record.owner);
  const fresh: FilterElement[] = [];
  let i = -1;
  for (const element of record.elements) {
    i += 1;
    if (withheld.has(element)) continue;
    const found = same[i] ?? null;
    if (found !== null && isAsWanted(found, element, comment)) continue;
    if (found !== null) leaving.add([element]);
    fresh.push(element);
  }
  return fresh;
}

/** The elements that are in none of the tables. */
export function outside(elements: readonly FilterElement[], tables: readonly TableName[]): FilterElement[] {
  return tables.length === 0 ? [...elements] : elements.filter((element) => !tables.includes(element.table));
}

function isAsWanted(found: FoundElement, wanted: FilterElement, comment: string): boolean {
  return found.element.data === wanted.data && (isShared(wanted.set) || found.comment === comment);
}

export function commentsOf(elements: readonly FilterElement[], owner: FilterOwner): string[] {
  const comment = ownerComment(owner);
  const comments: string[] = [];
  for (const element of elements) comments.push(isShared(element.set) ? "" : comment);
  return comments;
}
