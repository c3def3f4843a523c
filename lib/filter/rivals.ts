/** Who else has the port: overlaps are those that bind(2) would see, and the dead make way. */

import { CniError, CONFLICT } from "../errors.ts";
import { bootId } from "../host/boot.ts";
import { LivenessTest } from "../host/liveness.ts";
import { textAt } from "../lists.ts";
import { describeHostPort, isHostPort, portName, portOf } from "./hostports.ts";
import {
  conditionOf,
  type ElementList,
  type FilterElement,
  type FilterRecord,
  hashIn,
  ownerHash,
  ownerText,
  residentOf,
  without,
} from "./record.ts";
import type { FoundElement } from "./snapshot.ts";
import type { RecordStore } from "./store.ts";
import type { FilterTables } from "./tables.ts";

/**
 * The element that would overlap with a published port without having its key: for one address the one for all, for all
 * the mark that there is one for an address.
 */
function opposite(element: FilterElement): FilterElement {
  const n = element.set.endsWith("6") ? "6" : "4";
  const set = element.set.startsWith("hostip_") ? `hostports${n}` : `hostip_ports${n}`;
  return { table: element.table, set, key: portOf(element), data: "" };
}

/** What to ask for besides a record's own elements: what would overlap with its published ports. */
export function overlapsToAskFor(record: FilterRecord): FilterElement[] {
  const overlaps: FilterElement[] = [];
  for (const element of record.elements) {
    if (isHostPort(element)) overlaps.push(opposite(element));
  }
  return overlaps;
}

/**
 * Published ports of others that are in the way of a record's.
 * @param same what there is of the record's elements
 * @param overlaps what there is of `overlapsToAskFor`
 * @param leaving what goes in any case
 */
export function rivalsOf(
  tables: FilterTables,
  record: FilterRecord,
  same: readonly (FoundElement | null)[],
  overlaps: readonly (FoundElement | null)[],
  leaving: ElementList,
): FoundElement[] {
  const rivals: FoundElement[] = [];
  const hash = ownerHash(record.owner);
  let port = 0;
  let i = -1;
  for (const element of record.elements) {
    i += 1;
    if (!isHostPort(element)) continue;
    const holder = same[i] ?? null;
    if (holder !== null) rivals.push(holder);
    const other = overlaps[port] ?? null;
    port += 1;
    if (other === null) continue;
    if (isHostPort(other.element)) rivals.push(other);
    else rivals.push(...specific(tables, element));
  }
  return rivals.filter((rival) => !rival.comment.startsWith(hash) && !leaving.has(rival.element));
}

/** The mappings for one address that have the port of a mapping for all of them. */
function specific(tables: FilterTables, element: FilterElement): FoundElement[] {
  const port = portOf(element);
  const found: FoundElement[] = [];
  for (const other of tables.listElements("inet", `hostip_${element.set}`)) {
    if (portOf(other.element) === port) found.push(other);
  }
  return found;
}

/** Ports of one other attachment that are in the way. */
export interface Rivals {
  /** The attachment's hash; "" for one that cannot be told. */
  readonly hash: string;
  readonly ports: readonly FoundElement[];
}

export function elementsIn(rivals: Rivals): FilterElement[] {
  return rivals.ports.map((port) => port.element);
}

/** Rivals by whose they are, the first one's first. */
export function byHolder(rivals: readonly FoundElement[]): Rivals[] {
  const groups: { hash: string; ports: FoundElement[] }[] = [];
  for (const rival of rivals) {
    const hash = hashIn(rival.comment);
    const group = hash === "" ? undefined : groups.find((other) => other.hash === hash);
    if (group === undefined) groups.push({ hash, ports: [rival] });
    else group.ports.push(rival);
  }
  return groups;
}

/**
 * Decides about ports of somebody else's that are in the way.
 * @returns the elements that make way
 * @throws CniError 102 if they stay
 */
export function displace(
  tables: FilterTables,
  store: RecordStore,
  rivals: Rivals,
  record: FilterRecord,
  lastWins: boolean,
): FilterElement[] {
  const { hash, ports } = rivals;
  const [first] = ports;
  if (first === undefined) return [];
  const holder = hash === "" ? null : store.get(`${hash}.${record.owner.plugin}`);
  if (holder !== null && isDead(holder, [record, ...store.all()])) {
    store.drop(holder.owner);
    return tables.ownedBy(holder.elements, hash);
  }
  if (!lastWins) throw portTaken(first.element, holder === null ? ownerWords(first.comment) : ownerText(holder.owner));
  const lost: FilterElement[] = [];
  for (const { element } of ports) lost.push(element, conditionOf(element));
  lost.push(...listenersOf(tables, ports));
  if (holder !== null) store.put({ ...holder, elements: without(holder.elements, lost) });
  return tables.ownedBy(lost, hash);
}

/** What was left out of ports for all addresses. */
function listenersOf(tables: FilterTables, ports: readonly FoundElement[]): FilterElement[] {
  const names = new Set(ports.map((port) => portName(port.element)));
  const found: FilterElement[] = [];
  for (const set of ["listeners4", "listeners6"]) {
    for (const { element } of tables.listElements("inet", set)) {
      if (names.has(portName(element))) found.push(element);
    }
  }
  return found;
}

/**
 * Whether an attachment's namespace is gone. There is no grace for young ones: its interface was made before its ports were
 * published, so the namespace was there, and a container that crashes at once is replaced at once.
 * @param others who may have its namespace's number by now: the kernel likes to give it to the container that replaces it
 */
export function isDead(record: FilterRecord, others: readonly FilterRecord[]): boolean {
  const boot = bootId();
  const test = new LivenessTest(boot);
  for (const other of others) test.note(residentOf(other, boot));
  return test.of(residentOf(record, boot)) !== "alive";
}

/** The holder as far as an element's comment tells. */
function ownerWords(comment: string): string {
  const words = comment.split(" ");
  return words.length < 4
    ? `"${comment}"`
    : `container ${textAt(words, 2)} (${textAt(words, 3)}) in network ${textAt(words, 1)}`;
}

export function portTaken(element: FilterElement, holder: string): CniError {
  return new CniError(
    CONFLICT,
    `host port ${describeHostPort(element)} is taken by ${holder}`,
    `remove that container, or publish another port; with "conflicts": "last-wins" the last one gets the port`,
  );
}
