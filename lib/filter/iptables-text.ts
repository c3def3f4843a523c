/**
 * What iptables-restore is told and what iptables-save says. A restore is done whole or, if one line fails, not at all; that
 * holds for checks (-C) and new chains (-N), too, so that one input can be "do this if nothing is in the way". Pure.
 */
import { textAt } from "../lists.ts";
import type { IptablesPlan, IptablesRule } from "./iptables-plan.ts";
import { LOCALNET_CHAIN } from "./iptables-rules.ts";

/** A table in the output of iptables-save. */
export interface SavedTable {
  readonly name: string;
  readonly chains: readonly string[];
  /** "-A CHAIN ...", each with a space behind it. */
  readonly rules: readonly string[];
}

const TABLES = ["raw", "nat"];

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

/** Makes what a plan needs if all that is shared is there and the own chain is not; fails and changes nothing otherwise. */
export function attemptText(plan: IptablesPlan): string {
  return assembled((table) => {
    const lines = plan.sharedRules.filter((rule) => rule.table === table).map((rule) => commandOf("-C", rule));
    if (table === "nat") {
      lines.push(`-N ${plan.chain}`);
      for (const rule of plan.rules) lines.push(additionOf(rule));
    }
    return lines;
  });
}

/** The rules of a plan that are not there in the very words that it has for them; iptables may have put them otherwise. */
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

/** A saved rule that leads to a pod, without the comment that earlier versions gave it. */
function uncommented(line: string): string {
  const start = line.indexOf(' -m comment --comment "if: ');
  const end = start < 0 ? -1 : line.lastIndexOf('" -j DNAT ');
  return end < 0 ? line : line.slice(0, start) + line.slice(end + 1);
}

/** Fails with the number of the first line whose rule is not there; changes nothing. */
export function checkText(rules: readonly IptablesRule[]): string {
  return assembled((table) => rules.filter((rule) => rule.table === table).map((rule) => commandOf("-C", rule)));
}

/** Of some rules one whose chain is not there, that translates to the pod if there is one: "CHAIN ..."; "" if all are. */
export function missingRule(saved: readonly SavedTable[], rules: readonly IptablesRule[]): string {
  const missing = rules.filter((rule) => !tableOf(saved, rule.table).chains.includes(rule.chain));
  const rule = missing.find(({ text }) => text.includes(" -j DNAT ")) ?? missing[0];
  return rule === undefined ? "" : `${rule.chain} ${rule.text}`;
}

/**
 * Makes what plans of one IP version need, whatever of it is there already.
 * @param written plans whose own chains are written again even if they look complete
 * @param kept plans whose own chains are written only if they do not
 * @param goneLinks links that do not exist any more, whose shared rules are dropped
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
      return lines;
    }
    for (const plan of [...written, ...kept.filter((other) => !isComplete(index, other))]) {
      for (const rule of index.to.get(plan.chain) ?? []) lines.push(deletionOf(rule));
      /* Declaring a chain empties it. */
      lines.push(`:${plan.chain} - [0:0]`);
      for (const rule of plan.rules) lines.push(additionOf(rule));
    }
    return lines;
  });
}

/** Removes chains of the table "nat" and all rules that lead to them; "" if none of them is there. */
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

/** The chains that plans need and rules that lead to them, as far as they are not there. */
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

/** Whether the own chain has as many rules as it should, and as many lead to it. Their text is for CHECK to compare. */
function isComplete(index: RuleIndex, plan: IptablesPlan): boolean {
  const own = plan.rules.filter((rule) => rule.chain === plan.chain).length;
  const found = index.of.get(plan.chain) ?? [];
  const leading = index.to.get(plan.chain) ?? [];
  return found.length === own && leading.length === plan.rules.length - own;
}

/** The rules of a table by the chain they stand in, and by the one that they lead to. */
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
