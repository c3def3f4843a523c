/** The state of our tables, and of chains and elements in them, read from the kernel in one send. */
import { itemAt, numberAt } from "../lists.ts";
import { decodeChain, decodeElements } from "../netlink/nftables/decode.ts";
import type { Element } from "../netlink/nftables/objects.ts";
import { writeGetChain, writeGetElement } from "../netlink/nftables/queries.ts";
import { formatData } from "./elements.ts";
import type { FilterSocket } from "./filter-socket.ts";
import { TableReader, type TableState } from "./managed-table.ts";
import type { FilterChain, FilterElement } from "./record.ts";
import { managedTable, type TableName } from "./ruleset.ts";
import { decodeValues, encodeValues } from "./values.ts";

/** An element as the kernel has it. */
export interface FoundElement {
  readonly element: FilterElement;
  readonly comment: string;
}

/** A table and its state. */
export interface FoundTable {
  readonly name: TableName;
  readonly state: TableState;
}

/** The answer to each question, in the order of the questions. */
export interface Snapshot {
  readonly tables: readonly FoundTable[];
  /** How many rules each chain has and how many rules and elements refer to it, added up; null for a missing chain. */
  readonly chains: readonly (number | null)[];
  /** Null for a missing element. */
  readonly elements: readonly (FoundElement | null)[];
}

/** Reads the state of tables, chains and elements in one send. @throws CniError 100, 11 */
export function takeSnapshot(
  filter: FilterSocket,
  tables: readonly TableName[],
  chains: readonly FilterChain[],
  elements: readonly FilterElement[],
): Snapshot {
  const socket = filter.netlink;
  const readers: TableReader[] = [];
  /* The first question of each table. */
  const starts: number[] = [];
  let firstChain = 0;
  for (const table of tables) {
    const reader = new TableReader(managedTable(table), socket);
    readers.push(reader);
    starts.push(firstChain);
    firstChain += reader.questionCount;
  }
  for (const { table, name } of chains) {
    const { family, definition } = managedTable(table);
    writeGetChain(socket, family, definition.name, name);
  }
  for (const { table, set, key } of elements) {
    const kernelSet = managedTable(table).set(set);
    writeGetElement(socket, kernelSet, encodeValues(kernelSet.key, key));
  }
  const firstElement = firstChain + chains.length;
  const uses: (number | null)[] = chains.map(() => null);
  const found: (FoundElement | null)[] = elements.map(() => null);
  const refusals = socket.exchange((message, index) => {
    if (index < firstChain) {
      let at = readers.length - 1;
      while (at > 0 && index < numberAt(starts, at)) at -= 1;
      itemAt(readers, at)?.read(message.body, index - numberAt(starts, at));
    } else if (index < firstElement) {
      uses[index - firstChain] = decodeChain(message.body).uses;
    } else {
      const asked = itemAt(elements, index - firstElement);
      const element = itemAt(decodeElements(message.body), 0);
      if (asked !== null && element !== null) {
        found[index - firstElement] = foundElement(asked.table, asked.set, element);
      }
    }
  });
  const refused = new Set<number>();
  for (const refusal of refusals) {
    filter.checkRefusal(refusal);
    refused.add(refusal.index);
  }
  const states: FoundTable[] = [];
  for (const name of tables) {
    const isMissing = refused.has(numberAt(starts, states.length));
    states.push({ name, state: itemAt(readers, states.length)?.state(isMissing) ?? "missing" });
  }
  return { tables: states, chains: uses, elements: found };
}

/** An element of the kernel's in nft's notation. */
export function foundElement(table: TableName, set: string, element: Element): FoundElement {
  const kernelSet = managedTable(table).set(set);
  const key = decodeValues(kernelSet.key, element.key);
  return { element: { table, set, key, data: formatData(kernelSet, element) }, comment: element.comment };
}
