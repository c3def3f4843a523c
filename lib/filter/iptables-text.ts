/**
 * The input of iptables-restore and the output of iptables-save. A restore has no effect if one of its lines fails, also a
 * check (-C) or a new chain (-N): so one input can say "do this if nothing is in the way". Pure.
 */
import { textAt } from "../lists.ts";
import type { IptablesPlan, IptablesRule } from "./iptables-plan.ts";
import { LOCALNET_CHAIN } from "./iptables-rules.ts";

/** A table in the output of iptables-save. */
export interface SavedTable {
  readonly name: string;
  readonly chains: readonly string[];
  /** "-A CHAIN ...", each with a trailing space. */
  readonly rules: readonly string[];
}

const TABLES = ["raw", "nat", "filter"];

/** Reads the output of iptables-save. */
export function parseSaved(text: string): SavedTable[] {
  const tables: SavedTable[] = [];
  let chains: string[] = [];
  let rules: string[] = [];
  let name = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      name = line.slice(1);
      chains = [];
      rules = [];
    } else if (line.startsWith(":")) {
      chains.push(textAt(line.slice(1).split(" "), 0));
    } else if (line.startsWith("-A ")) {
      rules.push(`${line} `);
    } else if (line === "COMMIT") {
      tables.push({ name, chains, rules });
    }
  }
  return tables;
}

/** Input that makes what a plan needs if everything shared exists and its own chain does not; else it fails. */
export function attemptText(plan: IptablesPlan): string {
  return assembled((table) => {
    const lines = plan.sharedRules.filter((rule) => rule.table === table).map((rule) => commandOf("-C", rule));
    if (table === "nat" && plan.chain !== "") {
      lines.push(`-N ${plan.chain}`);
      for (const rule of plan.rules) lines.push(additionOf(rule));
    }
    return lines;
  });
}

/** The rules of a plan that are not saved with the same text. iptables may print a rule in another way. */
export function unseenRules(saved: readonly SavedTable[], plan: IptablesPlan): IptablesRule[] {
  const unseen: IptablesRule[] = [];
  for (const name of TABLES) {
    const lines = new Set<string>();
    for (const line of tableOf(saved, name).rules) lines.add(uncommented(line));
    for (const rule of [...plan.rules, ...plan.sharedRules]) {
      if (rule.table === name && !lines.has(`${commandOf("-A", rule)} `)) unseen.push(rule);
    }
  }
  return unseen;
}

/** A saved rule of a published port without the comment that earlier versions gave it. */
function uncommented(line: string): string {
  const start = line.indexOf(' -m comment --comment "if: ');
  const end = start < 0 ? -1 : line.lastIndexOf('" -j DNAT ');
  return end < 0 ? line : line.slice(0, start) + line.slice(end + 1);
}

/** Input that fails with the number of the first line whose rule is missing; it changes nothing. */
export function checkText(rules: readonly IptablesRule[]): string {
  return assembled((table) => rules.filter((rule) => rule.table === table).map((rule) => commandOf("-C", rule)));
}

/** A rule among some whose chain is missing, if possible one with the target DNAT: "CHAIN ..."; "" if no chain is missing. */
export function missingRule(saved: readonly SavedTable[], rules: readonly IptablesRule[]): string {
  const missing = rules.filter((rule) => !tableOf(saved, rule.table).chains.includes(rule.chain));
  const rule = missing.find(({ text }) => text.includes(" -j DNAT ")) ?? missing[0];
  return rule === undefined ? "" : `${rule.chain} ${rule.text}`;
}

/**
 * Input that makes what is missing of plans of one IP version.
 * @param written plans whose own chains are written even if they look complete
 * @param kept plans whose own chains are written only if they look incomplete
 * @param goneLinks links that do not exist any more, whose shared rules are deleted
 * @returns "" if there is nothing to do
 */
export function repairText(
  saved: readonly SavedTable[],
  written: readonly IptablesPlan[],
  kept: readonly IptablesPlan[],
  goneLinks: readonly string[],
): string {
  return assembled((name) => {
    const plans = [...written, ...kept];
    const table = tableOf(saved, name);
    const index = indexOf(table);
    const lines = missingShared(table, index, plans);
    if (name === "raw") {
      for (const link of goneLinks) lines.push(`-D ${LOCALNET_CHAIN} -i ${link} -j DROP`);
    }
    if (name !== "nat") return lines;
    for (const plan of [...written, ...kept.filter((other) => !isComplete(index, other))]) {
      if (plan.chain === "") continue;
      for (const rule of index.to.get(plan.chain) ?? []) lines.push(deletionOf(rule));
      /* Declaring a chain empties it. */
      lines.push(`:${plan.chain} - [0:0]`);
      for (const rule of plan.rules) lines.push(additionOf(rule));
    }
    return lines;
  });
}

/** Input that removes chains of the table "nat" and all rules that lead to them; "" if none of them exists. */
export function removalText(saved: readonly SavedTable[], chains: readonly string[]): string {
  const table = tableOf(saved, "nat");
  const found = chains.filter((chain) => table.chains.includes(chain));
  return assembled((name) => {
    const lines: string[] = [];
    if (name !== "nat") return lines;
    for (const chain of found) {
      for (const rule of rulesTo(table, chain)) lines.push(deletionOf(rule));
      lines.push(`-F ${chain}`, `-X ${chain}`);
    }
    return lines;
  });
}

/** The rules of one chain of the table "nat". */
export function savedRules(saved: readonly SavedTable[], chain: string): string[] {
  return rulesIn(tableOf(saved, "nat"), chain);
}

/** The links for which shared rules of the table "raw" drop packets for 127.0.0.0/8. */
export function localnetLinks(saved: readonly SavedTable[]): string[] {
  const start = `-A ${LOCALNET_CHAIN} -i `;
  const rules = tableOf(saved, "raw").rules.filter((rule) => rule.startsWith(start));
  return rules.map((rule) => textAt(rule.slice(start.length).split(" "), 0));
}

/** The lines for shared chains and rules of plans that are missing. */
function missingShared(table: SavedTable, index: RuleIndex, plans: readonly IptablesPlan[]): string[] {
  const chains: string[] = [];
  const additions: string[] = [];
  const seen = new Set<string>();
  for (const plan of plans) {
    for (const chain of plan.sharedChains) {
      const line = `:${chain.name} - [0:0]`;
      if (chain.table !== table.name || seen.has(line)) continue;
      seen.add(line);
      if (!table.chains.includes(chain.name)) chains.push(line);
    }
    for (const rule of plan.sharedRules) {
      const line = additionOf(rule);
      if (rule.table !== table.name || seen.has(line)) continue;
      seen.add(line);
      const others: readonly string[] = index.of.get(rule.chain) ?? [];
      const there = others.some((saved) => rule.marks.every((mark) => saved.includes(`${mark} `)));
      if (!there) additions.push(line);
    }
  }
  return [...chains, ...additions];
}

/** Whether the own chain has as many rules as it should, and as many lead to it. Only CHECK compares their text. */
function isComplete(index: RuleIndex, plan: IptablesPlan): boolean {
  const own = plan.rules.filter((rule) => rule.chain === plan.chain).length;
  const found = index.of.get(plan.chain) ?? [];
  const leading = index.to.get(plan.chain) ?? [];
  return found.length === own && leading.length === plan.rules.length - own;
}

/** The rules of a table by the chain they are in, and by the chain that they lead to. */
interface RuleIndex {
  readonly of: Map<string, string[]>;
  readonly to: Map<string, string[]>;
}

function indexOf(table: SavedTable): RuleIndex {
  const index: RuleIndex = { of: new Map<string, string[]>(), to: new Map<string, string[]>() };
  for (const rule of table.rules) {
    put(index.of, textAt(rule.split(" "), 1), rule);
    const target = rule.lastIndexOf(" -j ");
    if (target >= 0) put(index.to, textAt(rule.slice(target + 4).split(" "), 0), rule);
  }
  return index;
}

function put(lists: Map<string, string[]>, key: string, rule: string): void {
  const list = lists.get(key) ?? null;
  if (list === null) lists.set(key, [rule]);
  else list.push(rule);
}

function tableOf(saved: readonly SavedTable[], name: string): SavedTable {
  return saved.find((table) => table.name === name) ?? { name, chains: [], rules: [] };
}

function rulesIn(table: SavedTable, chain: string): string[] {
  return table.rules.filter((rule) => rule.startsWith(`-A ${chain} `));
}

function rulesTo(table: SavedTable, chain: string): string[] {
  return table.rules.filter((rule) => rule.includes(` -j ${chain} `));
}

function commandOf(command: string, rule: IptablesRule): string {
  return `${command} ${rule.chain} ${rule.text}`;
}

function additionOf(rule: IptablesRule): string {
  return commandOf(rule.first ? "-I" : "-A", rule);
}

function deletionOf(saved: string): string {
  return `-D${saved.slice(2).trimEnd()}`;
}

/** The input with the lines of each table; tables without lines are left out. */
function assembled(linesOf: (table: string) => string[]): string {
  let text = "";
  for (const table of TABLES) {
    const lines = linesOf(table);
    if (lines.length > 0) text += `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
  }
  return text;
}
