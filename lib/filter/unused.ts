/** What can be removed: shared elements and chains whose last user is removed, and elements that no record has. */
import { itemAt } from "../lists.ts";
import { POLICY_PLUGIN } from "./forwarding.ts";
import { hostPortOf, isPortSet, isShared, markElement, portName } from "./hostport-elements.ts";
import type { HostPort } from "./hostports.ts";
import { type FilterChain, type FilterElement, hashIn, isOfNetwork } from "./record.ts";
import { COMMON_TABLES, managedTable, type TableName } from "./ruleset.ts";
import { type FilterTables, ruleCount } from "./tables.ts";

/**
 * The marks that belong to no port any more when some ports are removed.
 * @param removed the ports that are removed; those for all addresses have no marks
 * @param kept elements that exist afterwards
 */
export function unusedMarks(
  tables: FilterTables,
  removed: readonly HostPort[],
  kept: readonly FilterElement[],
): FilterElement[] {
  if (removed.length === 0) return [];
  const marks: FilterElement[] = [];
  for (const family of [4, 6]) {
    const ports = removed.filter((port) => port.hostIp !== null && port.pod.family === family);
    const first = itemAt(ports, 0);
    if (first === null) continue;
    const removedNames = new Set<string>();
    for (const port of ports) removedNames.add(portName(port));
    const { set } = markElement(first);
    /* The keys of marks that stay or are in the list. */
    const done = new Set(kept.filter((element) => element.set === set).map((element) => element.key));
    for (const { element } of tables.listElements("inet", `hostip_hostports${family}`)) {
      const port = hostPortOf(element);
      if (port !== null && !removedNames.has(portName(port))) done.add(markElement(port).key);
    }
    for (const port of ports) {
      const mark = markElement(port);
      if (!done.has(mark.key)) marks.push(mark);
      done.add(mark.key);
    }
  }
  const found = marks.length === 0 ? [] : tables.snapshot([], [], marks).elements;
  return marks.filter((_mark, i) => (found[i] ?? null) !== null);
}

/** The shared chains that nothing refers to when some elements are removed. */
export function unusedChains(
  tables: FilterTables,
  chains: readonly FilterChain[],
  removed: readonly FilterElement[],
): FilterChain[] {
  if (chains.length === 0) return [];
  const uses = tables.snapshot([], chains, []).chains;
  return chains.filter((chain, i) => {
    const own = removed.filter((element) => element.data.endsWith(` ${chain.name}`)).length;
    const count = uses[i] ?? null;
    return count !== null && count <= ruleCount(chain) + own;
  });
}

/**
 * The elements whose comment is chosen.
 * @param plugin only its sets are listed: the others hold elements of other plugins for the same attachments
 */
export function commentedElements(
  tables: FilterTables,
  plugin: string,
  chosen: (comment: string) => boolean,
): FilterElement[] {
  const elements: FilterElement[] = [];
  for (const { name: table, state } of tables.snapshot(tablesUsedBy(plugin), [], []).tables) {
    if (state === "missing") continue;
    for (const { name: set } of managedTable(table).content.sets) {
      if (isShared(set) || isPortSet(table, set) !== (plugin === "portmap")) continue;
      for (const found of tables.listElements(table, set)) {
        if (found.comment !== "" && chosen(found.comment)) elements.push(found.element);
      }
    }
  }
  return elements;
}

/**
 * Whether an element's comment is of an attachment of the network that has no record and is not to be kept. Attachments are
 * compared by their hash. An element whose comment does not tell the network is kept.
 * @param known the hashes of attachments that have a record
 * @param keep the hashes of those to keep
 */
export function isOrphan(
  comment: string,
  network: string,
  known: ReadonlySet<string>,
  keep: ReadonlySet<string>,
): boolean {
  const hash = hashIn(comment);
  return hash !== "" && isOfNetwork(comment, network) && !known.has(hash) && !keep.has(hash);
}

function tablesUsedBy(plugin: string): readonly TableName[] {
  return plugin === "firewall" || plugin === POLICY_PLUGIN ? ["firewall", "isolation"] : COMMON_TABLES;
}
