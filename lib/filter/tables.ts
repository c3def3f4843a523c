/** The elements and shared chains in our tables: reading them, and adding their changes to a transaction. */
import { itemAt, textAt } from "../lists.ts";
import { NLM_F_EXCL } from "../netlink/netlink.ts";
import { writeDeleteChain, writeDeleteElements, writeNewElements } from "../netlink/nftables/messages.ts";
import type { Element } from "../netlink/nftables/objects.ts";
import { listElements } from "../netlink/nftables/queries.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { EINVAL, ENOENT } from "../sys/errno.ts";
import { elementOf } from "./elements.ts";
import { FilterSocket } from "./filter-socket.ts";
import { isShared, portElement } from "./hostport-elements.ts";
import type { HostPort } from "./hostports.ts";
import { compileRules } from "./language.ts";
import { type FilterChain, type FilterElement, formatElement } from "./record.ts";
import { refused } from "./refusals.ts";
import { managedTable, type TableName } from "./ruleset.ts";
import { type FoundElement, foundElement, type Snapshot, takeSnapshot } from "./snapshot.ts";
import { encodeValues } from "./values.ts";

/** Elements of one owner. */
export interface OwnedElements {
  /** The published ports among them. */
  readonly ports: readonly HostPort[];
  readonly elements: readonly FilterElement[];
}

export class FilterTables {
  readonly filter = new FilterSocket("");

  close(): void {
    this.filter.close();
  }

  /** See `takeSnapshot`. @throws CniError 100, 11 */
  snapshot(tables: readonly TableName[], chains: readonly FilterChain[], elements: readonly FilterElement[]): Snapshot {
    return takeSnapshot(this.filter, tables, chains, elements);
  }

  /** All elements of one of our sets; none if the set is missing. `nft list set`. @throws CniError 100, 11 */
  listElements(table: TableName, set: string): FoundElement[] {
    const found: FoundElement[] = [];
    try {
      for (const element of listElements(this.filter.netlink, managedTable(table).set(set))) {
        found.push(foundElement(table, set, element));
      }
    } catch (error) {
      /* EINVAL: a kernel without nf_tables. */
      if (error instanceof NetlinkError && (error.errno === ENOENT || error.errno === EINVAL)) return [];
      if (error instanceof NetlinkError) throw refused(error, `list ${managedTable(table).label} ${set}`);
      throw error;
    }
    return found;
  }

  /** The ports and elements that exist and whose comment begins with an owner's hash. @throws CniError 100, 11 */
  ownedParts(ports: readonly HostPort[], elements: readonly FilterElement[], hash: string): OwnedElements {
    const asked: FilterElement[] = [];
    for (const port of ports) asked.push(portElement(port));
    for (const element of elements) asked.push(element);
    const found = this.snapshot([], [], asked).elements;
    const isOwned = (at: number): boolean => found[at]?.comment.startsWith(hash) ?? false;
    return {
      ports: ports.filter((_port, i) => isOwned(i)),
      elements: asked.filter((_element, i) => isOwned(i)),
    };
  }

  /** Begins a transaction, which takes effect with `commit`. */
  begin(): void {
    this.filter.begin();
  }

  /** See `FilterSocket.commit`. @throws CniError 100, 11 */
  commit(): boolean {
    return this.filter.commit();
  }

  /** `nft add chain`, `nft add rule`. */
  addChain({ table, name, rules }: FilterChain): void {
    const managed = managedTable(table);
    managed.writeChain(this.filter, name, null, "add");
    managed.writeRules(this.filter, name, rules);
  }

  /** `nft delete chain`. */
  deleteChain(chain: FilterChain): void {
    const { family, definition, label } = managedTable(chain.table);
    writeDeleteChain(this.filter.batch, family, definition.name, chain.name);
    this.filter.label(`delete chain ${label} ${chain.name}`);
  }

  /**
   * `nft add element`.
   * @param comments the comment of each
   * @param exclusive whether `commit` fails if one of them exists, unless attachments share it
   */
  addElements(elements: readonly FilterElement[], comments: readonly string[], exclusive: boolean): void {
    for (const group of bySet(elements, comments)) {
      const kernelSet = managedTable(group.table).set(group.set);
      const list: Element[] = [];
      for (const element of group.elements) {
        list.push(elementOf(kernelSet, element.key, element.data, textAt(group.comments, list.length)));
      }
      writeNewElements(this.filter.batch, kernelSet, list, exclusive && !isShared(group.set) ? NLM_F_EXCL : 0);
      this.filter.label(`add to ${describeGroup(group)}`);
    }
  }

  /** `nft delete element`. */
  deleteElements(elements: readonly FilterElement[]): void {
    for (const group of bySet(elements, [])) {
      const kernelSet = managedTable(group.table).set(group.set);
      const list: Element[] = [];
      for (const element of group.elements) {
        list.push({ key: encodeValues(kernelSet.key, element.key), data: null, verdict: null, comment: "" });
      }
      writeDeleteElements(this.filter.batch, kernelSet, list);
      this.filter.label(`delete from ${describeGroup(group)}`);
    }
  }
}

/** The elements of one set, with the comment of each. */
interface Group {
  readonly table: TableName;
  readonly set: string;
  readonly elements: FilterElement[];
  readonly comments: string[];
}

function bySet(elements: readonly FilterElement[], comments: readonly string[]): Group[] {
  const groups: Group[] = [];
  const places = new Map<string, number>();
  let i = 0;
  for (const element of elements) {
    const name = `${element.table} ${element.set}`;
    const group = itemAt(groups, places.get(name) ?? groups.length);
    if (group === null) {
      places.set(name, groups.length);
      groups.push({ table: element.table, set: element.set, elements: [element], comments: [textAt(comments, i)] });
    } else {
      group.elements.push(element);
      group.comments.push(textAt(comments, i));
    }
    i += 1;
  }
  return groups;
}

/** A single element as it is, several as their set. */
function describeGroup(group: Group): string {
  const only = group.elements.length === 1 ? itemAt(group.elements, 0) : null;
  return only === null ? `${managedTable(group.table).label} ${group.set}` : formatElement(only);
}

/** How many rules of the kernel's a shared chain is made of. */
export function ruleCount(chain: FilterChain): number {
  let count = 0;
  for (const rule of chain.rules) count += compileRules(managedTable(chain.table).family, rule).length;
  return count;
}
