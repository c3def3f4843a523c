/** Ports that other attachments have: conflicts are those that bind(2) would see, and dead attachments lose their ports. */
import { CniError, CONFLICT } from "../errors.ts";
import { bootId } from "../host/boot.ts";
import { LivenessTest } from "../host/liveness.ts";
import { itemAt, textAt } from "../lists.ts";
import {
  conditionElement,
  hostPortOf,
  isPortElement,
  ListenerFinder,
  portElement,
  withoutPorts,
} from "./hostport-elements.ts";
import { type HostPort, hostPortText, onAllAddresses, overlap } from "./hostports.ts";
import {
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
import type { FilterTables, OwnedElements } from "./tables.ts";

/** A published port of another attachment that overlaps with a wanted one. */
interface Conflict {
  /** Where the port leads is not known, and not needed. */
  readonly port: HostPort;
  readonly comment: string;
}

/** The conflicts with one other attachment. */
export interface ConflictGroup {
  /** The attachment's hash; "" if the comment does not tell it. */
  readonly hash: string;
  readonly comment: string;
  readonly ports: HostPort[];
}

/**
 * The conflicts of a record's ports with those of other attachments, by attachment, in the order of the ports.
 * @param same what exists with the key of each port
 * @param overlaps what exists of the `overlappingElement` of each port
 * @param removed elements that are removed in any case
 */
export function findConflicts(
  tables: FilterTables,
  record: FilterRecord,
  same: readonly (FoundElement | null)[],
  overlaps: readonly (FoundElement | null)[],
  removed: ElementList,
): ConflictGroup[] {
  const hash = ownerHash(record.owner);
  const groups: ConflictGroup[] = [];
  const add = (conflict: Conflict): void => {
    if (!conflict.comment.startsWith(hash) && !removed.has(portElement(conflict.port))) addToGroups(groups, conflict);
  };
  let i = -1;
  for (const port of record.ports) {
    i += 1;
    const holder = same[i] ?? null;
    if (holder !== null) add({ port, comment: holder.comment });
    const other = overlaps[i] ?? null;
    if (other === null) continue;
    if (isPortElement(other.element)) add({ port: onAllAddresses(port), comment: other.comment });
    else for (const conflict of conflictsOfAddresses(tables, port)) add(conflict);
  }
  return groups;
}

/** The published ports of single addresses that overlap with a port for all addresses. */
function conflictsOfAddresses(tables: FilterTables, port: HostPort): Conflict[] {
  const conflicts: Conflict[] = [];
  for (const { element, comment } of tables.listElements("inet", `hostip_hostports${port.pod.family}`)) {
    const other = hostPortOf(element);
    if (other !== null && overlap(port, other)) conflicts.push({ port: other, comment });
  }
  return conflicts;
}

function addToGroups(groups: ConflictGroup[], { port, comment }: Conflict): void {
  const hash = hashIn(comment);
  const group = hash === "" ? undefined : groups.find((other) => other.hash === hash);
  if (group === undefined) groups.push({ hash, comment, ports: [port] });
  else group.ports.push(port);
}

/**
 * Takes the ports of a conflict from the other attachment.
 * @param lastWins whether a live attachment loses them, too
 * @returns what is to be removed
 * @throws CniError 102 if it keeps them
 */
export function resolveConflict(
  tables: FilterTables,
  store: RecordStore,
  group: ConflictGroup,
  record: FilterRecord,
  lastWins: boolean,
): OwnedElements {
  const { hash, ports, comment } = group;
  const first = itemAt(ports, 0);
  if (first === null) return { ports: [], elements: [] };
  const holder = hash === "" ? null : store.get(`${hash}.${record.owner.plugin}`);
  if (holder !== null && isDead(holder, [record, ...store.all()])) {
    store.drop(holder.owner);
    return tables.ownedParts(holder.ports, holder.elements, hash);
  }
  if (!lastWins) throw portTaken(first, holder === null ? commentText(comment) : ownerText(holder.owner));
  const companions: FilterElement[] = [];
  for (const port of ports) companions.push(conditionElement(port, ""));
  for (const element of listenersOf(tables, ports)) companions.push(element);
  if (holder !== null) {
    store.put({ ...holder, ports: withoutPorts(holder.ports, ports), elements: without(holder.elements, companions) });
  }
  return tables.ownedParts(ports, companions, hash);
}

/** The elements that keep listeners' ports out of ports for all addresses. */
function listenersOf(tables: FilterTables, ports: readonly HostPort[]): FilterElement[] {
  const finder = new ListenerFinder(ports);
  const found: FilterElement[] = [];
  for (const set of ["listeners4", "listeners6"]) {
    for (const { element } of tables.listElements("inet", set)) {
      if (finder.has(element)) found.push(element);
    }
  }
  return found;
}

/**
 * Whether an attachment's namespace is gone. Young attachments get no grace: the namespace existed before the ports were
 * published, and a container that crashes at once is replaced at once.
 * @param others attachments that may have its namespace's number: the kernel often gives it to the next container
 */
export function isDead(record: FilterRecord, others: readonly FilterRecord[]): boolean {
  const boot = bootId();
  const test = new LivenessTest(boot);
  for (const other of others) test.note(residentOf(other, boot));
  return test.of(residentOf(record, boot)) !== "alive";
}

/** The owner as far as an element's comment tells it. */
function commentText(comment: string): string {
  const words = comment.split(" ");
  return words.length < 4
    ? `"${comment}"`
    : `container ${textAt(words, 2)} (${textAt(words, 3)}) in network ${textAt(words, 1)}`;
}

export function portTaken(port: HostPort, holder: string): CniError {
  return new CniError(
    CONFLICT,
    `host port ${hostPortText(port)} is taken by ${holder}`,
    `remove that container, or publish another port; with "conflicts": "last-wins" the last one gets the port`,
  );
}
