/** What nobody needs any more: shared elements and chains whose last user leaves, and elements that no record knows of. */
import { textAt } from "../lists.ts";
import { isShared, portOf } from "./hostports.ts";
import { type FilterChain, type FilterElement, sameElement } from "./record.ts";
import { TABLE_NAMES } from "./ruleset.ts";
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
    const used = new Set<string>();
    for (const { element } of tables.elementsOf("inet", `hostip_hostports${n}`)) {
      if (!specific.some((own) => sameElement(own, element))) used.add(portOf(element));
    }
    for (const element of specific) {
      const mark: FilterElement = { table: "inet", set: `hostip_ports${n}`, key: portOf(element), data: "" };
      if (used.has(mark.key) || [...marks, ...staying].some((other) => sameElement(other, mark))) continue;
      marks.push(mark);
    }
  }
  const found = marks.length === 0 ? [] : tables.look([], [], marks).elements;
  return marks.filter((_mark, i) => (found[i] ?? null) !== null);
}

/** Of shared chains those that nothing refers to when these elements have gone. */
export function unneededChains(
  tables: FilterTables,
  chains: readonly FilterChain[],
  leaving: readonly FilterElement[],
): FilterChain[] {
  if (chains.length === 0) return [];
  const uses = tables.look([], chains, []).chains;
  return chains.filter((chain, i) => {
    const own = leaving.filter((element) => element.data.endsWith(` ${chain.name}`)).length;
    const count = uses[i] ?? null;
    return count !== null && count <= ruleCount(chain) + own;
  });
}

/** All elements of our sets whose comment is chosen. */
export function commentedElements(tables: FilterTables, chosen: (comment: string) => boolean): FilterElement[] {
  const elements: FilterElement[] = [];
  const states = tables.look(TABLE_NAMES, [], []).tables;
  for (let i = 0; i < TABLE_NAMES.length; i += 1) {
    const table = TABLE_NAMES[i] ?? "inet";
    if (states[i] === "missing") continue;
    for (const set of tables.setsOf(table)) {
      for (const found of isShared(set) ? [] : tables.elementsOf(table, set)) {
        if (found.comment !== "" && chosen(found.comment)) elements.push(found.element);
      }
    }
  }
  return elements;
}

/** Whether an element's comment is of an attachment of the network that is neither known nor to be kept. */
export function isOrphan(
  comment: string,
  network: string,
  known: ReadonlySet<string>,
  keep: ReadonlySet<string>,
): boolean {
  const words = comment.split(" ");
  if (words.length !== 4 || words[1] !== network || known.has(textAt(words, 0))) return false;
  return !keep.has(`${textAt(words, 2)} ${textAt(words, 3)}`);
}
