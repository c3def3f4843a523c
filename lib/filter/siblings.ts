/**
 * Ports that several interfaces of one container publish, as podman asks for on each of a container's networks. The first
 * interface gets them, since the container's replies leave by its default route. The others wait for them.
 */
import { type ConflictGroup, isDead } from "./conflicts.ts";
import { conditionElement, ListenerFinder, withoutPorts } from "./hostport-elements.ts";
import { type HostPort, overlap, portNumberName } from "./hostports.ts";
import { ElementList, type FilterElement, type FilterRecord, recordName, without } from "./record.ts";
import type { RecordStore } from "./store.ts";

/** What an attachment waits for. */
export interface Awaited {
  readonly ports: readonly HostPort[];
  /** Conditions and listeners that belong to the ports. */
  readonly elements: readonly FilterElement[];
}

/** The record of the attachment that has the ports, if it is another live interface of the container; else null. */
export function siblingIn(store: RecordStore, group: ConflictGroup, record: FilterRecord): FilterRecord | null {
  const holder = group.hash === "" ? null : store.get(`${group.hash}.${record.owner.plugin}`);
  if (holder === null || holder.owner.containerId !== record.owner.containerId) return null;
  /* When a container is started again, its interfaces may come in another order. */
  return isDead(holder, [record, ...store.all()]) ? null : holder;
}

/** The part of a record that overlaps with ports of siblings. */
export function awaitedPart(record: FilterRecord, taken: readonly HostPort[]): Awaited {
  const byNumber = new Map<string, HostPort[]>();
  for (const port of taken) {
    const name = portNumberName(port);
    const others = byNumber.get(name);
    if (others === undefined) byNumber.set(name, [port]);
    else others.push(port);
  }
  const ports: HostPort[] = [];
  const conditions = new ElementList([]);
  for (const port of record.ports) {
    if (!overlapsAny(port, byNumber.get(portNumberName(port)) ?? [])) continue;
    ports.push(port);
    conditions.add([conditionElement(port, "")]);
  }
  const listeners = new ListenerFinder(ports);
  const elements: FilterElement[] = [];
  for (const element of record.elements) {
    if (conditions.has(element) || listeners.has(element)) elements.push(element);
  }
  return { ports, elements };
}

function overlapsAny(port: HostPort, others: readonly HostPort[]): boolean {
  for (const other of others) if (overlap(port, other)) return true;
  return false;
}

/** A record while the attachment waits for a part of it. */
export function withoutAwaited(record: FilterRecord, awaited: Awaited): FilterRecord {
  return {
    ...record,
    ports: withoutPorts(record.ports, awaited.ports),
    elements: without(record.elements, awaited.elements),
    claims: awaited.ports,
    claimElements: awaited.elements,
  };
}

/** The whole record again: with the ports that the attachment has waited for. */
export function withClaims(record: FilterRecord): FilterRecord {
  return {
    ...record,
    ports: [...record.ports, ...record.claims],
    elements: [...record.elements, ...record.claimElements],
    claims: [],
    claimElements: [],
  };
}

/** Writes into a sibling's record that another interface waits for its ports. */
export function addWaiter(store: RecordStore, sibling: FilterRecord, waiter: FilterRecord): void {
  const name = recordName(waiter.owner);
  if (!sibling.waiters.includes(name)) store.put({ ...sibling, waiters: [...sibling.waiters, name] });
}

/** The records that wait for ports of a removed one, in the order in which they began to wait. */
export function waitersOf(store: RecordStore, removed: FilterRecord): FilterRecord[] {
  const waiters: FilterRecord[] = [];
  for (const name of removed.waiters) {
    const record = store.get(name);
    if (record !== null && record.iptables.length === 0) waiters.push(record);
  }
  return waiters;
}
