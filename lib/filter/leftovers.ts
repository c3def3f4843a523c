/** What nobody needs any more: shared elements and chains whose last user leaves, and elements that no record knows of. */
import { isPortSet, isShared, portOf } from "./hostports.ts";
import { type FilterChain, type FilterElement, hashIn, isOfNetwork } from "./record.ts";
import { managedTable, TABLE_NAMES } from "./ruleset.ts";
import { type FilterTables, ruleCount } from "./tables.ts";

/**
 * The marks of ports of which no mapping for one address is left when these elements have gone.
 * @param staying elements that are there afterwards, whatever is there now
 */
export function unneededMarks(
  tables: FilterTables,
  leaving: readonly FilterElement[],
  staying: readonly FilterElement[],
): FilterElement[] {
  const marks: FilterElement[] = [];
  for (const n of [4, 6]) {
    const specific = leaving.filter((element) => element.set === `hostip_hostports${n}`);
    if (specific.length === 0) continue;
    const going = new Set(specific.map((element) => element.key));
    const set = `hostip_ports${n}`;
    /* The ports that are marked still, or whose mark is in the list already. */
    const done = new Set(staying.filter((element) => element.set === set).map((element) => element.key));
    for (const { element } of tables.listElements("inet", `hostip_hostports${n}`)) {
      if (!going.has(element.key)) done.add(portOf(element));
    }
    for (const element of specific) {
      const key = portOf(element);
      if (!done.has(key)) marks.push({ table: "inet", set, key, data: "" });
      done.add(key);
    }
  }
  const found = marks.length === 0 ? [] : tables.snapshot([], [], marks).elements;
  return marks.filter((_mark, i) => (found[i] ?? null) !== null);
}

/** Of shared chains those that nothing refers to when these elements have gone. */
export function unneededChains(
  tables: FilterTables,
  chains: readonly FilterChain[],
  leaving: readonly FilterElement[],
): FilterChain[] {
  if (chains.length === 0) return [];
  const uses = tables.snapshot([], chains, []).chains;
  return chains.filter((chain, i) => {
    const own = leaving.filter((element) => element.data.endsWith(` ${chain.name}`)).length;
    const count = uses[i] ?? null;
    return count !== null && count <= ruleCount(chain) + own;
  });
}

/**
 * The elements of the sets that a plugin uses whose comment is chosen.
 * @param plugin only its sets are looked at: others are another plugin's, of the same attachments
 */
export function commentedElements(
  tables: FilterTables,
  plugin: string,
  chosen: (comment: string) => boolean,
): FilterElement[] {
  const elements: FilterElement[] = [];
  const states = tables.snapshot(TABLE_NAMES, [], []).tables;
  for (let i = 0; i < TABLE_NAMES.length; i += 1) {
    const table = TABLE_NAMES[i] ?? "inet";
    if (states[i] === "missing") continue;
    for (const { name: set } of managedTable(table).definition.sets) {
      if (isShared(set) || isPortSet(table, set) !== (plugin === "portmap")) continue;
      for (const found of tables.listElements(table, set)) {
        if (found.comment !== "" && chosen(found.comment)) elements.push(found.element);
      }
    }
  }
  return elements;
}

/**
 * Whether an element's comment is of an attachment of the network that is neither known nor to be kept. Attachments are
 * compared by their hash; a comment that does not tell its network for sure is nobody's orphan.
 * @param known the hashes of attachments that have a record
 * @param keep the hashes of those that live on
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
