/**
 * Ports that several interfaces of one container publish, as podman asks for on each of a container's networks. The first
 * interface keeps them, since the container's replies leave by its default route; the others stand in line.
 */
import { isHostPort, isListener, portName } from "./hostports.ts";
import { conditionOf, ElementList, type FilterElement, type FilterRecord, recordName, without } from "./record.ts";
import { isDead, type Rivals } from "./rivals.ts";
import type { RecordStore } from "./store.ts";

/** The record of the one who has ports, if that is another live interface of a record's container; else null. */
export function siblingAmong(store: RecordStore, rivals: Rivals, record: FilterRecord): FilterRecord | null {
  const holder = rivals.hash === "" ? null : store.get(`${rivals.hash}.${record.owner.plugin}`);
  if (holder === null || holder.owner.containerId !== record.owner.containerId) return null;
  /* A container that was started again may have its interfaces in another order. */
  return isDead(holder, [record, ...store.all()]) ? null : holder;
}

/** What a record does without as long as a sibling has ports: the elements of its own that overlap with these. */
export function overlapping(record: FilterRecord, rivals: readonly FilterElement[]): FilterElement[] {
  const byPort = new Map<string, FilterElement[]>();
  for (const rival of rivals) {
    const name = portName(rival);
    const others = byPort.get(name);
    if (others === undefined) byPort.set(name, [rival]);
    else others.push(rival);
  }
  const ports: FilterElement[] = [];
  const conditions: FilterElement[] = [];
  for (const element of record.elements) {
    if (!isHostPort(element)) continue;
    const others: readonly FilterElement[] = byPort.get(portName(element)) ?? [];
    if (!others.some((rival) => overlap(element, rival))) continue;
    ports.push(element);
    conditions.push(conditionOf(element));
  }
  const list = new ElementList(conditions);
  const general = new Set(ports.filter((element) => !element.set.startsWith("hostip_")).map(portName));
  const rest = record.elements.filter(
    (element) => list.has(element) || (isListener(element) && general.has(portName(element))),
  );
  return [...ports, ...rest];
}

/** Whether two published ports of one protocol, port and IP version could not both be had: one is for all addresses, or both for one. */
function overlap(a: FilterElement, b: FilterElement): boolean {
  return a.key === b.key || a.set !== b.set;
}

/** A record as it is while elements of it stand in line. */
export function waiting(record: FilterRecord, withheld: readonly FilterElement[]): FilterRecord {
  return { ...record, elements: without(record.elements, withheld), claims: [...withheld] };
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
