/**
 * A table of nf_tables that Podwire owns: created from its definition, compared with it, and replaced where it differs. It
 * is written into the caller's transaction, together with whatever else the call changes.
 */
import { itemAt } from "../lists.ts";
import { MessageWriter } from "../netlink/message-writer.ts";
import { decodeChain, decodeTable } from "../netlink/nftables/decode.ts";
import { writeExpressions } from "../netlink/nftables/expressions.ts";
import {
  writeDeleteTable,
  writeNewChain,
  writeNewRule,
  writeNewSet,
  writeNewTable,
} from "../netlink/nftables/messages.ts";
import {
  type Expression,
  type Field,
  NF_ACCEPT,
  NFPROTO_BRIDGE,
  NFPROTO_INET,
  type NftHook,
  type NftSet,
  type Rule,
} from "../netlink/nftables/objects.ts";
import { listRules, writeGetChain, writeGetTable } from "../netlink/nftables/queries.ts";
import { NetlinkError, type NetlinkSocket } from "../netlink/socket.ts";
import type { FilterSocket } from "./filter-socket.ts";
import { compileRule, compileRules } from "./language.ts";
import { refused } from "./refusals.ts";
import type { TableContent, TableDefinition } from "./table-definition.ts";
import { fieldsNamed } from "./values.ts";

/**
 * "outdated": another version or configuration has made it, or rules are missing; it must be replaced. "dormant": somebody
 * has switched it off (`nft add table inet podwire '{ flags dormant; }'`): its rules are there, and no packet sees them.
 */
export type TableState = "present" | "missing" | "outdated" | "dormant";

/** A base chain, and how many rules it should have: a number, or SOME. */
interface CheckedChain {
  readonly name: string;
  readonly rules: number;
}

const SOME = -1;

export class ManagedTable {
  readonly definition: TableDefinition;
  /** NFPROTO_*. */
  readonly family: number;
  /** The table in messages: "inet podwire". */
  readonly label: string;
  /** The chains whose state is asked for together with the table's. */
  readonly checkedChains: readonly CheckedChain[];
  #content: TableContent | null = null;
  /** The sets that were asked for so far. */
  readonly #sets: NftSet[] = [];

  constructor(definition: TableDefinition) {
    this.definition = definition;
    this.family = definition.family === "inet" ? NFPROTO_INET : NFPROTO_BRIDGE;
    this.label = `${definition.family} ${definition.name}`;
    const checked: CheckedChain[] = [];
    if (definition.stateCheck === "prerouting") checked.push({ name: "prerouting", rules: SOME });
    else
      for (const { name, hook, rules } of this.content.chains) {
        if (hook !== null) checked.push({ name, rules: rules.length });
      }
    this.checkedChains = checked;
  }

  get content(): TableContent {
    const content = this.#content ?? this.definition.content();
    this.#content = content;
    return content;
  }

  /** One of the table's sets as the kernel knows it. @throws Error if the definition has no such set */
  set(name: string): NftSet {
    const set = this.findSet(name);
    if (set === null) throw new Error(`table ${this.label} has no set ${name}`);
    return set;
  }

  /** As `set`; null if the definition has no such set. */
  findSet(name: string): NftSet | null {
    for (const set of this.#sets) if (set.name === name) return set;
    for (const definition of this.content.sets) {
      if (definition.name !== name) continue;
      const { family } = this;
      const key = fieldsOf(definition.key);
      const set: NftSet = { family, table: this.definition.name, name, key, data: fieldsOf(definition.data) };
      this.#sets.push(set);
      return set;
    }
    return null;
  }

  /** Whether the definition has a chain. */
  hasChain(name: string): boolean {
    for (const chain of this.content.chains) if (chain.name === name) return true;
    return false;
  }

  /** The state of the table, read in one send. @throws CniError 100, 11 */
  state(filter: FilterSocket): TableState {
    const reader = new TableReader(this, filter.netlink);
    const refusals = filter.netlink.exchange((message, index) => reader.read(message.body, index));
    for (const refusal of refusals) filter.checkRefusal(refusal);
    return reader.state(itemAt(refusals, 0)?.index === 0);
  }

  /**
   * What is different about the chains and rules of the table, which must be there: a line for each chain.
   * @param thorough whether rules are compared; otherwise they are counted, which finds rules that were added or removed
   * @throws CniError 100, 11
   */
  differences(socket: NetlinkSocket, thorough: boolean): string[] {
    if (!thorough && this.#hasAllRules(socket)) return [];
    const lines = this.#policyDifferences(socket);
    const found = this.#listRules(socket, "", thorough);
    for (const { name, rules } of this.content.chains) {
      const own = found.filter((rule) => rule.chain === name);
      if (own.length !== rules.length) {
        lines.push(`chain ${this.label} ${name} has ${own.length} rules, expected ${rules.length}`);
      } else if (thorough && !rules.every((rule, i) => isRule(own[i]?.expressions, this.family, rule))) {
        lines.push(`chain ${this.label} ${name} has other rules than it was made with`);
      }
    }
    return lines;
  }

  /**
   * Whether each chain has as many rules as it should, and each base chain its policy. The kernel counts what a chain holds and
   * what leads to it; to ask for that takes a fifth of the time of listing all rules. Only of targets the rules are listed.
   */
  #hasAllRules(socket: NetlinkSocket): boolean {
    const { targets, name: table } = this.definition;
    const { chains } = this.content;
    const counts = this.#uses();
    let intact = 0;
    for (const { name } of chains) writeGetChain(socket, this.family, table, name);
    socket.exchange((message) => {
      const { name, policy, uses } = decodeChain(message.body);
      const expected = counts.get(name) ?? 0;
      if (policy === NF_ACCEPT && (targets.includes(name) ? uses >= expected : uses === expected)) intact += 1;
    });
    if (intact !== chains.length) return false;
    for (const chain of chains) {
      if (!targets.includes(chain.name)) continue;
      if (this.#listRules(socket, chain.name, false).length !== chain.rules.length) return false;
    }
    return true;
  }

  /** What the kernel counts for each chain that only rules of this table lead to: its rules, and theirs. */
  #uses(): Map<string, number> {
    const uses = new Map<string, number>();
    const add = (name: string, count: number): void => {
      uses.set(name, (uses.get(name) ?? 0) + count);
    };
    for (const { name, rules } of this.content.chains) {
      add(name, rules.length);
      for (const rule of rules) {
        const end = rule.lastIndexOf(" ");
        const verb = rule.slice(Math.max(0, end - 4), Math.max(0, end));
        if (verb === "jump" || verb === "goto") add(rule.slice(end + 1), 1);
      }
    }
    return uses;
  }

  /** Base chains whose policy somebody has changed: they drop what their rules let pass. */
  #policyDifferences(socket: NetlinkSocket): string[] {
    for (const { name, hook } of this.content.chains) {
      if (hook !== null) writeGetChain(socket, this.family, this.definition.name, name);
    }
    const lines: string[] = [];
    socket.exchange((message) => {
      const { name, policy } = decodeChain(message.body);
      if (policy !== NF_ACCEPT) lines.push(`chain ${this.label} ${name} has the policy drop, expected accept`);
    });
    return lines;
  }

  /** @param chain "" for all */
  #listRules(socket: NetlinkSocket, chain: string, thorough: boolean): Rule[] {
    try {
      return listRules(socket, this.family, this.definition.name, chain, thorough);
    } catch (error) {
      if (error instanceof NetlinkError) throw refused(error, `list the rules of table ${this.label}`);
      throw error;
    }
  }

  /**
   * Adds the table with its sets, chains and rules to the transaction: `nft add table`, `nft add set`, ...
   * @param replace whether a table is there, which is deleted first
   */
  write(filter: FilterSocket, replace: boolean): void {
    const { name: table, comment } = this.definition;
    const { family } = this;
    const { sets, chains } = this.content;
    if (replace) {
      writeDeleteTable(filter.batch, family, table);
      filter.label(`replace table ${this.label}`);
    }
    writeNewTable(filter.batch, { family, name: table, comment }, 0);
    filter.label(`make table ${this.label}`);
    for (const { name } of sets) {
      writeNewSet(filter.batch, this.set(name), 0);
      filter.label(`make set ${this.label} ${name}`);
    }
    for (const { name, hook } of chains) this.writeChain(filter, name, hook, "make");
    for (const { name, rules } of chains) this.writeRules(filter, name, rules);
  }

  /**
   * Adds a chain to the transaction. ENOENT means that the kernel lacks a module for a chain of the definition ("make"), but
   * that the table was removed if it is another chain ("add").
   */
  writeChain(filter: FilterSocket, name: string, hook: NftHook | null, verb: "make" | "add"): void {
    const { family } = this;
    const chain = { family, table: this.definition.name, name, hook, policy: NF_ACCEPT, uses: 0 };
    writeNewChain(filter.batch, chain, 0);
    filter.label(`${verb} chain ${this.label} ${name}`);
  }

  /** Adds rules to the transaction. A rule's text with lists of values stands for several rules. */
  writeRules(filter: FilterSocket, chain: string, rules: readonly string[]): void {
    const { family } = this;
    for (const rule of rules) {
      for (const expressions of compileRules(family, rule)) {
        const { name: table } = this.definition;
        writeNewRule(filter.batch, { family, table, chain, expressions, comment: "", handle: 0n });
      }
      filter.label(`add rule ${this.label} ${chain} ${rule}`);
    }
  }
}

/** Asks for the state of a table, with several questions that are sent together with others. */
export class TableReader {
  readonly #table: ManagedTable;
  #isCurrent = false;
  #isDormant = false;
  #intactChains = 0;

  /** Writes the questions: `questionCount` of the table. */
  constructor(table: ManagedTable, socket: NetlinkSocket) {
    this.#table = table;
    const { name } = table.definition;
    writeGetTable(socket, table.family, name);
    for (const chain of table.checkedChains) writeGetChain(socket, table.family, name, chain.name);
  }

  /** How many questions it has written. */
  get questionCount(): number {
    return 1 + this.#table.checkedChains.length;
  }

  /** Reads the answer to a question. @param index of the question, from 0 */
  read(body: Uint8Array, index: number): void {
    if (index === 0) {
      const { comment, flags } = decodeTable(body);
      this.#isCurrent = comment === this.#table.definition.comment;
      this.#isDormant = flags !== 0;
      return;
    }
    const chain = itemAt(this.#table.checkedChains, index - 1);
    const { uses, policy } = decodeChain(body);
    if (chain === null || policy !== NF_ACCEPT) return;
    if (chain.rules === SOME ? uses !== 0 : uses === chain.rules) this.#intactChains += 1;
  }

  /** The state after all answers were read. @param isMissing whether the first question was refused */
  state(isMissing: boolean): TableState {
    if (isMissing) return "missing";
    if (this.#isDormant) return "dormant";
    const intact = this.#isCurrent && this.#intactChains === this.#table.checkedChains.length;
    return intact ? "present" : "outdated";
  }
}

function fieldsOf(text: string): Field[] {
  return text === "" ? [] : fieldsNamed(text);
}

/** Whether the kernel's rule is the one of a text: both are compared as they are sent. */
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
