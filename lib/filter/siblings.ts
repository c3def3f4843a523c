/**
 * Ports that several interfaces of one container publish, as podman asks for on each of a container's networks. The first
 * interface keeps them, since the container's replies leave by its default route; the others stand in line.
 */
import { isHostPort } from "./hostports.ts";
import { conditionOf, type FilterElement, type FilterRecord, holdsElement, recordName } from "./record.ts";
import { isDead } from "./rivals.ts";
import type { RecordStore } from "./store.ts";
import type { FoundElement } from "./tables.ts";

/** The record of the one who holds an element, if that is another live interface of a record's container; else null. */
export function siblingWith(store: RecordStore, rival: FoundElement, record: FilterRecord): FilterRecord | null {
  const words = rival.comment.split(" ");
  if (words[2] !== record.owner.containerId) return null;
  const holder = store.get(`${words[0]}.${record.owner.plugin}`);
  /* A container that was started again may have its interfaces in another order. */
  return holder === null || isDead(holder, [record, ...store.all()]) ? null : holder;
}

/** What a record does without as long as a sibling has a port: the elements of its own that overlap with that. */
export function overlapping(record: FilterRecord, rival: FilterElement): FilterElement[] {
  const found: FilterElement[] = [];
  for (const element of record.elements) {
    if (!isHostPort(element) || !overlap(element, rival)) continue;
    found.push(element);
    const condition = conditionOf(element);
    for (const other of record.elements) {
      if (other.set === condition.set && other.key === condition.key) found.push(other);
    }
  }
  return found;
}

/** Whether two published ports could not both be had: "protocol . port", in one of them with an address before it. */
function overlap(a: FilterElement, b: FilterElement): boolean {
  if (a.set.slice(-1) !== b.set.slice(-1)) return false;
  return a.key === b.key || a.key.endsWith(` . ${b.key}`) || b.key.endsWith(` . ${a.key}`);
}

/** A record as it is while elements of it stand in line. */
export function waiting(record: FilterRecord, withheld: readonly FilterElement[]): FilterRecord {
  const elements: FilterElement[] = [];
  for (const element of record.elements) {
    if (!holdsElement(withheld, element)) elements.push(element);
  }
  return { ...record, elements, claims: [...withheld] };
}

/** Notes in a sibling's record who gets its ports when it goes. */
export function standInLine(store: RecordStore, sibling: FilterRecord, heir: FilterRecord): void {
  const name = recordName(heir.owner);
  if (!sibling.heirs.includes(name)) store.put({ ...sibling, heirs: [...sibling.heirs, name] });
}

/** What those who stood in line want now that the one before them has gone, the first in line first. */
export function heirsOf(store: RecordStore, gone: FilterRecord): FilterRecord[] {
  const heirs: FilterRecord[] = [];
  for (const name of gone.heirs) {
    const record = store.get(name);
    if (record !== null && record.iptables.length === 0) heirs.push(record);
  }
  return heirs;
}

/** A record that stood in line, as it is if it gets all it wants. */
export function withClaims(record: FilterRecord): FilterRecord {
  return { ...record, elements: [...record.elements, ...record.claims], claims: [] };
}
