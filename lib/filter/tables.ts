/**
 * Our tables as the kernel holds them: reading elements and chains, and writing changes into a batch. What is written is
 * noted, so that a refusal by the kernel names the object it is about.
 */

import { CniError } from "../errors.ts";
import { itemAt, textAt } from "../lists.ts";
import { MessageWriter, NLM_F_EXCL } from "../netlink/codec.ts";
import { decodeChain, decodeElements, decodeTable } from "../netlink/nftables/decode.ts";
import { writeExpressions } from "../netlink/nftables/expressions.ts";
import {
  writeDeleteChain,
  writeDeleteElements,
  writeDeleteTable,
  writeNewChain,
  writeNewElements,
  writeNewRule,
  writeNewSet,
  writeNewTable,
} from "../netlink/nftables/messages.ts";
import {
  type Element,
  type Expression,
  type Field,
  NF_ACCEPT,
  type NftSet,
  type Rule,
} from "../netlink/nftables/objects.ts";
import { listElements, listRules, writeGetChain, writeGetElement, writeGetTable } from "../netlink/nftables/queries.ts";
import { NETLINK_NETFILTER, NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { EEXIST, EINVAL, ENOENT, EPERM, isShortage, SystemError } from "../sys/errno.ts";
import { elementOf, formatData } from "./elements.ts";
import { isShared } from "./hostports.ts";
import { compileRule, compileRules } from "./language.ts";
import { type FilterChain, type FilterElement, formatElement } from "./record.ts";
import { noNftables, refused } from "./refusals.ts";
import { familyOf, TABLE, type TableName, tableComment, tableDefinition } from "./ruleset.ts";
import { decodeValues, encodeValues, fieldsNamed } from "./values.ts";

/**
 * "unusable": of another version of Podwire, with other rules, or with its rules flushed. "dormant": somebody has switched it
 * off (`nft add table inet podwire '{ flags dormant; }'`): it is there with all its rules, and no packet comes to them.
 */
export type TableState = "present" | "missing" | "unusable" | "dormant";

/** An element as the kernel has it. */
export interface FoundElement {
  readonly element: FilterElement;
  readonly comment: string;
}

/** What a look at the kernel has found, for each question in its place. */
export interface Sight {
  readonly tables: readonly TableState[];
  /** How often each chain is used, its own rules included; null for one that is missing. */
  readonly chains: readonly (number | null)[];
  readonly elements: readonly (FoundElement | null)[];
}

/** The chain of both tables that a packet comes to first. */
const ENTRANCE = "prerouting";

/** The netfilter socket and the batch being written on it. */
export class FilterTables {
  #socket: NetlinkSocket | null = null;
  #labels: string[] = [];
  /** Whether the kernel has shown that it has no nf_tables. */
  absent = false;

  /** Opened when it is first needed. @throws CniError 100 if the kernel has no netfilter */
  get socket(): NetlinkSocket {
    const socket = this.#socket ?? this.#open();
    this.#socket = socket;
    return socket;
  }

  #open(): NetlinkSocket {
    try {
      return new NetlinkSocket(NETLINK_NETFILTER);
    } catch (error) {
      /* Only a kernel that says so has none: nobody is to be sent to iptables for want of memory. */
      if (!(error instanceof SystemError) || error.errno === EPERM || isShortage(error.errno)) throw error;
      this.absent = true;
      throw noNftables(error.message);
    }
  }

  close(): void {
    this.#socket?.abandon();
  }

  /** Asks for the state of tables, chains and elements in one send. @throws CniError 100, 11 */
  look(tables: readonly TableName[], chains: readonly FilterChain[], elements: readonly FilterElement[]): Sight {
    for (const table of tables) {
      writeGetTable(this.socket, familyOf(table), TABLE);
      writeGetChain(this.socket, familyOf(table), TABLE, ENTRANCE);
    }
    for (const chain of chains) writeGetChain(this.socket, familyOf(chain.table), TABLE, chain.name);
    for (const { table, set, key } of elements) {
      const kernel = kernelSet(table, set);
      writeGetElement(this.socket, kernel, encodeValues(kernel.key, key));
    }
    const firstChain = 2 * tables.length;
    const firstElement = firstChain + chains.length;
    const ours: boolean[] = tables.map(() => false);
    const asleep: boolean[] = tables.map(() => false);
    /* Whether the table's first chain has rules, which it has not after `nft flush table`, and lets pass what they do. */
    const open: boolean[] = tables.map(() => false);
    const uses: (number | null)[] = chains.map(() => null);
    const found: (FoundElement | null)[] = elements.map(() => null);
    const errors = this.socket.executeAll((message, index) => {
      if (index < firstChain && index % 2 === 0) {
        const table = itemAt(tables, index >> 1);
        const { comment, flags } = decodeTable(message.body);
        ours[index >> 1] = table !== null && comment === tableComment(table);
        asleep[index >> 1] = flags !== 0;
      } else if (index < firstChain) {
        const { uses, policy } = decodeChain(message.body);
        open[index >> 1] = uses !== 0 && policy === NF_ACCEPT;
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
    for (const errno of errors) {
      /* Without nf_tables nothing is there, which is fine for whoever gives something back. */
      if (errno === EINVAL) this.absent = true;
      else if (errno !== 0 && errno !== ENOENT) throw refused(new NetlinkError(errno, "", 0), "read the packet filter");
    }
    const states = tables.map((_table, i): TableState => {
      if (errors[2 * i] !== 0) return "missing";
      if (asleep[i] === true) return "dormant";
      return ours[i] === true && open[i] === true ? "present" : "unusable";
    });
    return { tables: states, chains: uses, elements: found };
  }

  /** All elements of one of our sets; none if there is no such set. */
  elementsOf(table: TableName, set: string): FoundElement[] {
    const found: FoundElement[] = [];
    try {
      for (const element of listElements(this.socket, kernelSet(table, set))) {
        found.push(foundElement(table, set, element));
      }
    } catch (error) {
      /* EINVAL is a kernel without nf_tables. */
      if (error instanceof NetlinkError && (error.errno === ENOENT || error.errno === EINVAL)) return [];
      if (error instanceof NetlinkError) throw refused(error, `list ${table} ${TABLE} ${set}`);
      throw error;
    }
    return found;
  }

  /** Those of the elements that are there and carry an owner's comment, which begins with its hash. */
  ownedBy(elements: readonly FilterElement[], hash: string): FilterElement[] {
    const found = this.look([], [], elements).elements;
    return elements.filter((_element, i) => found[i]?.comment.startsWith(hash) ?? false);
  }

  /** The names of a table's sets. */
  setsOf(table: TableName): string[] {
    return tableDefinition(table).sets.map((set) => set.name);
  }

  /**
   * What is different about the chains of a table that is there and their rules, a line for each.
   * @param thorough whether rules are compared; otherwise they are counted, which finds what was taken out or put in
   */
  differences(table: TableName, thorough: boolean): string[] {
    const lines = this.#closed(table);
    const found = this.#rulesOf(table, thorough);
    for (const { name, rules } of tableDefinition(table).chains) {
      const own = found.filter((rule) => rule.chain === name);
      if (own.length !== rules.length) {
        lines.push(`chain ${table} ${TABLE} ${name} has ${own.length} rules, expected ${rules.length}`);
      } else if (thorough && !rules.every((rule, i) => isRule(own[i]?.expressions, familyOf(table), rule))) {
        lines.push(`chain ${table} ${TABLE} ${name} has other rules than it was made with`);
      }
    }
    return lines;
  }

  /** Chains that drop what their rules let pass: somebody has changed their policy. */
  #closed(table: TableName): string[] {
    const hooked = tableDefinition(table).chains.filter((chain) => chain.hook !== null);
    for (const { name } of hooked) writeGetChain(this.socket, familyOf(table), TABLE, name);
    const lines: string[] = [];
    this.socket.executeAll((message) => {
      const { name, policy } = decodeChain(message.body);
      if (policy !== NF_ACCEPT) lines.push(`chain ${table} ${TABLE} ${name} has the policy drop, expected accept`);
    });
    return lines;
  }

  #rulesOf(table: TableName, thorough: boolean): Rule[] {
    try {
      return listRules(this.socket, familyOf(table), TABLE, "", thorough);
    } catch (error) {
      if (error instanceof NetlinkError) throw refused(error, `list the rules of table ${table} ${TABLE}`);
      throw error;
    }
  }

  /** Begins a change; nothing of it is so before `commit`. */
  begin(): void {
    this.#labels = [];
    this.socket.beginBatch();
  }

  /** Makes a table of ours with its sets, chains and rules. With `replace`, one that is there goes first. */
  addTable(table: TableName, replace: boolean): void {
    const family = familyOf(table);
    const label = `table ${table} ${TABLE}`;
    if (replace) {
      writeDeleteTable(this.socket, family, TABLE);
      this.#note(`replace ${label}`);
    }
    writeNewTable(this.socket, { family, name: TABLE, comment: tableComment(table) }, 0);
    this.#note(`make ${label}`);
    const definition = tableDefinition(table);
    for (const { name } of definition.sets) {
      writeNewSet(this.socket, kernelSet(table, name), 0);
      this.#note(`make set ${table} ${TABLE} ${name}`);
    }
    for (const { name, hook } of definition.chains) {
      writeNewChain(this.socket, { family, table: TABLE, name, hook, policy: NF_ACCEPT, uses: 0 }, 0);
      this.#note(`make chain ${table} ${TABLE} ${name}`);
    }
    for (const { name, rules } of definition.chains) this.#addRules(table, name, rules);
  }

  addChain(chain: FilterChain): void {
    writeNewChain(
      this.socket,
      { family: familyOf(chain.table), table: TABLE, name: chain.name, hook: null, policy: NF_ACCEPT, uses: 0 },
      0,
    );
    /* Not "make": where it is refused the table has gone, and not something that the kernel lacks. */
    this.#note(`add chain ${chain.table} ${TABLE} ${chain.name}`);
    this.#addRules(chain.table, chain.name, chain.rules);
  }

  #addRules(table: TableName, chain: string, rules: readonly string[]): void {
    const family = familyOf(table);
    for (const rule of rules) {
      for (const expressions of compileRules(family, rule)) {
        writeNewRule(this.socket, { family, table: TABLE, chain, expressions, comment: "", handle: 0n });
      }
      this.#note(`add rule ${table} ${TABLE} ${chain} ${rule}`);
    }
  }

  deleteChain(chain: FilterChain): void {
    writeDeleteChain(this.socket, familyOf(chain.table), TABLE, chain.name);
    this.#note(`delete chain ${chain.table} ${TABLE} ${chain.name}`);
  }

  /**
   * Adds elements.
   * @param comments the comment of each
   * @param exclusive whether one that is there already makes `commit` fail, unless attachments share it
   */
  addElements(elements: readonly FilterElement[], comments: readonly string[], exclusive: boolean): void {
    for (const group of bySet(elements, comments)) {
      const kernel = kernelSet(group.table, group.set);
      const list: Element[] = [];
      for (const element of group.elements) {
        list.push(elementOf(kernel, element.key, element.data, textAt(group.comments, list.length)));
      }
      writeNewElements(this.socket, kernel, list, exclusive && !isShared(group.set) ? NLM_F_EXCL : 0);
      this.#note(`add to ${describeGroup(group)}`);
    }
  }

  deleteElements(elements: readonly FilterElement[]): void {
    for (const group of bySet(elements, [])) {
      const kernel = kernelSet(group.table, group.set);
      const list: Element[] = [];
      for (const element of group.elements) {
        list.push({ key: encodeValues(kernel.key, element.key), data: null, verdict: null, comment: "" });
      }
      writeDeleteElements(this.socket, kernel, list);
      this.#note(`delete from ${describeGroup(group)}`);
    }
  }

  /** Says what the requests written since the last note are about. */
  #note(label: string): void {
    while (this.#labels.length < this.socket.batchLength) this.#labels.push(label);
  }

  /**
   * Makes the change.
   * @returns false if the kernel refused since what was looked at is gone or has changed by now, or what must not be there is
   * @throws CniError 100 that names the object it refused, 11 if trying again may help
   */
  commit(): boolean {
    try {
      this.socket.commitBatch();
      return true;
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      if (this.absent && this.#labels.length === 0) return true;
      if (this.absent) throw noNftables("netlink does not know it");
      const label = this.#labels[error.index] ?? "change the packet filter";
      if (error.errno === EEXIST && label.startsWith("add to")) return false;
      if (error.errno === ENOENT && !label.startsWith("make") && !label.startsWith("add rule")) return false;
      const cause = refused(error, label);
      throw error.errno === ENOENT ? new CniError(cause.code, cause.message, MODULES) : cause;
    }
  }
}

/** For a kernel that does not know what a chain or a rule is made of, and says no more than that. */
const MODULES =
  "the kernel lacks what this takes: load the modules nft_chain_nat, nft_ct, nft_fib_inet, nft_masq and nft_nat, or use a kernel that has them";

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

/** One element as it is, several as their set. */
function describeGroup(group: Group): string {
  const only = group.elements.length === 1 ? itemAt(group.elements, 0) : null;
  return only === null ? `${group.table} ${TABLE} ${group.set}` : formatElement(only);
}

/** How many rules of the kernel's a shared chain is made of. */
export function ruleCount(chain: FilterChain): number {
  let count = 0;
  for (const rule of chain.rules) count += compileRules(familyOf(chain.table), rule).length;
  return count;
}

/** The sets that were asked for so far. */
const kernelSets: NftSet[] = [];

/** One of the ruleset's sets as the kernel knows it. @throws Error if the ruleset has none of that name */
function kernelSet(table: TableName, name: string): NftSet {
  const set = kernelSetIfAny(table, name);
  if (set === null) throw new Error(`the ruleset has no set ${table} ${name}`);
  return set;
}

/** The same; null if the ruleset has none of that name. */
export function kernelSetIfAny(table: TableName, name: string): NftSet | null {
  const family = familyOf(table);
  for (const set of kernelSets) {
    if (set.name === name && set.family === family) return set;
  }
  for (const definition of tableDefinition(table).sets) {
    if (definition.name !== name) continue;
    const { key, data } = definition;
    const set: NftSet = { family, table: TABLE, name, key: fieldsOf(key), data: fieldsOf(data) };
    kernelSets.push(set);
    return set;
  }
  return null;
}

function fieldsOf(text: string): Field[] {
  return text === "" ? [] : fieldsNamed(text);
}

function foundElement(table: TableName, set: string, element: Element): FoundElement {
  const kernel = kernelSet(table, set);
  const key = decodeValues(kernel.key, element.key);
  return { element: { table, set, key, data: formatData(kernel, element) }, comment: element.comment };
}

/** Whether the kernel's rule is the one of a text: both as they are sent. */
export function isRule(found: readonly Expression[] | undefined, family: number, rule: string): boolean {
  if (found === undefined || found.some(isForeign)) return false;
  const theirs = sentBytes(found);
  const ours = sentBytes(compileRule(family, rule));
  if (theirs.length !== ours.length) return false;
  for (let i = 0; i < ours.length; i += 1) {
    if (theirs[i] !== ours[i]) return false;
  }
  return true;
}

/** Whether an expression is one that no rule of ours has. */
function isForeign(expression: Expression): boolean {
  return expression.kind === "unknown" || expression.kind === "match";
}

function sentBytes(expressions: readonly Expression[]): Uint8Array {
  const writer = new MessageWriter();
  writeExpressions(writer, 0, expressions);
  return writer.bytes;
}
