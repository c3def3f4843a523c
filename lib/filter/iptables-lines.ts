/** Plans of the iptables backend as lines of a record. Pure. */
import { textAt } from "../lists.ts";
import type { IptablesChain, IptablesPlan, IptablesRule } from "./iptables-rules.ts";

/** An IptablesPlan that is being read. */
export interface RecordedPlan {
  readonly family: 4 | 6;
  readonly chain: string;
  readonly localnetLink: string;
  readonly sharedChains: IptablesChain[];
  readonly sharedRules: IptablesRule[];
  readonly rules: IptablesRule[];
}

/** What stands for an empty name, and between the parts by which a shared rule is recognised. */
const NONE = "-";
const SEPARATOR = "\t";

/** A plan's lines: "iptables 4 CHAIN LINK", then one for each chain and rule. */
export function formatPlan(plan: IptablesPlan): string[] {
  const link = plan.localnetLink === "" ? NONE : plan.localnetLink;
  const lines = [`iptables ${plan.family} ${plan.chain} ${link}`];
  for (const { table, name } of plan.sharedChains) lines.push(`iptables-chain ${table} ${name}`);
  for (const rule of plan.sharedRules) lines.push(`iptables-shared ${ruleText(rule)}`);
  for (const rule of plan.rules) lines.push(`iptables-rule ${ruleText(rule)}`);
  return lines;
}

/** The plan that a line "iptables 4 CHAIN LINK" begins; the line comes as its words. */
export function emptyPlan(words: readonly string[]): RecordedPlan {
  const link = words[3] ?? NONE;
  return {
    family: words[1] === "6" ? 6 : 4,
    chain: textAt(words, 2),
    localnetLink: link === NONE ? "" : link,
    sharedChains: [],
    sharedRules: [],
    rules: [],
  };
}

/** Adds what one of the lines that follow says. */
export function addToPlan(plan: RecordedPlan, line: string): void {
  const words = line.split(" ");
  if (words[0] === "iptables-chain") {
    plan.sharedChains.push({ table: textAt(words, 1), name: textAt(words, 2) });
    return;
  }
  const parts = words.slice(4).join(" ").split(SEPARATOR);
  const rule: IptablesRule = {
    table: textAt(words, 1),
    chain: textAt(words, 2),
    first: words[3] === "first",
    text: textAt(parts, 0),
    marks: parts.slice(1),
  };
  if (words[0] === "iptables-shared") plan.sharedRules.push(rule);
  else plan.rules.push(rule);
}

function ruleText(rule: IptablesRule): string {
  const place = rule.first ? "first" : "last";
  return `${rule.table} ${rule.chain} ${place} ${[rule.text, ...rule.marks].join(SEPARATOR)}`;
}
