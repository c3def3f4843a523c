/** What a change of one attachment removes from the tables and adds to them. Pure. */
import { isShared } from "./hostport-elements.ts";
import { type ElementList, type FilterElement, type FilterOwner, type FilterRecord, ownerComment } from "./record.ts";
import type { TableName } from "./ruleset.ts";
import type { FoundElement } from "./snapshot.ts";

/** A change of one attachment. */
export interface Change {
  readonly record: FilterRecord;
  /** The record as it is kept: without the ports that the attachment waits for. */
  readonly kept: FilterRecord;
  readonly removed: readonly FilterElement[];
  readonly added: readonly FilterElement[];
  /** Whether the added elements must be new. */
  readonly exclusive: boolean;
}

/**
 * The elements that have to be added; those that exist with other data or of another owner are put on the list of removed
 * ones, too.
 * @param found what exists with the key of each wanted element
 * @param awaited what the attachment waits for: it is not added
 */
export function addedElements(
  wanted: readonly FilterElement[],
  owner: FilterOwner,
  found: readonly (FoundElement | null)[],
  awaited: ElementList,
  removed: ElementList,
): FilterElement[] {
  const comment = ownerComment(owner);
  const added: FilterElement[] = [];
  let i = -1;
  for (const element of wanted) {
    i += 1;
    if (awaited.has(element)) continue;
    const other = found[i] ?? null;
    if (other !== null && isAsWanted(other, element, comment)) continue;
    if (other !== null) removed.add([element]);
    added.push(element);
  }
  return added;
}

/** The elements that are in none of the tables. */
export function notIn(elements: readonly FilterElement[], tables: readonly TableName[]): FilterElement[] {
  return tables.length === 0 ? [...elements] : elements.filter((element) => !tables.includes(element.table));
}

function isAsWanted(found: FoundElement, wanted: FilterElement, comment: string): boolean {
  return found.element.data === wanted.data && (isShared(wanted.set) || found.comment === comment);
}

/** The comment of each of an owner's elements: "" for those that attachments share. */
export function commentsOf(elements: readonly FilterElement[], owner: FilterOwner): string[] {
  const comment = ownerComment(owner);
  const comments: string[] = [];
  for (const element of elements) comments.push(isShared(element.set) ? "" : comment);
  return comments;
}
