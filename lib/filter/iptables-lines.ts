/** Plans of the iptables backend as lines of a record. Pure. */
import { textAt } from "../lists.ts";
import type { IptablesChain, IptablesPlan, IptablesRule } from "./iptables-plan.ts";

/** An IptablesPlan that is being read. */
export interface RecordedPlan {
  readonly family: 4 | 6;
  readonly chain: string;
  readonly localnetLink: string;
  readonly sharedChains: IptablesChain[];
  readonly sharedRules: IptablesRule[];
  readonly rules: IptablesRule[];
}

/** Stands for an empty name. */
const NONE = "-";
/** Separates a rule from the parts by which a saved rule is recognised as it. */
const SEPARATOR = "\t";
/** The kernel's chains that our rules are in. */
const HOOKS: readonly string[] = ["PREROUTING", "FORWARD", "OUTPUT", "POSTROUTING"];
const TABLES: readonly string[] = ["raw", "nat", "filter"];
/* XT_EXTENSION_MAXNAMELEN (linux/netfilter/x_tables.h) and IFNAMSIZ, each with a NUL. */
const MAX_CHAIN_NAME = 28;
const MAX_LINK_NAME = 15;

/** A plan's lines: "iptables 4 CHAIN LINK", then one for each chain and rule. */
export function formatPlan(plan: IptablesPlan): string[] {
  const lines = [`iptables ${plan.family} ${orNone(plan.chain)} ${orNone(plan.localnetLink)}`];
  for (const { table, name } of plan.sharedChains) lines.push(`iptables-chain ${table} ${name}`);
  for (const rule of plan.sharedRules) lines.push(`iptables-shared ${ruleText(rule)}`);
  for (const rule of plan.rules) lines.push(`iptables-rule ${ruleText(rule)}`);
  return lines;
}

/** The plan that a line "iptables 4 CHAIN LINK" begins. @param words of the line @returns null for another line */
export function emptyPlan(words: readonly string[]): RecordedPlan | null {
  const [, family = "", chain = "", link = ""] = words;
  if (words.length !== 4 || (family !== "4" && family !== "6")) return null;
  if (chain !== NONE && !isOwnChain(chain)) return null;
  if (link === "" || link.length > MAX_LINK_NAME) return null;
  return {
    family: family === "6" ? 6 : 4,
    chain: chain === NONE ? "" : chain,
    localnetLink: link === NONE ? "" : link,
    sharedChains: [],
    sharedRules: [],
    rules: [],
  };
}

/** Adds what one of the lines that follow says; false for a line that is not known. */
export function addToPlan(plan: RecordedPlan, line: string): boolean {
  const words = line.split(" ");
  const [kind = "", table = "", chain = "", place = ""] = words;
  if (!TABLES.includes(table)) return false;
  if (kind === "iptables-chain") {
    if (words.length !== 3 || !(table === "filter" ? isChainName(chain) : isOwnChain(chain))) return false;
    plan.sharedChains.push({ table, name: chain });
    return true;
  }
  const parts = words.slice(4).join(" ").split(SEPARATOR);
  const text = textAt(parts, 0);
  if (text === "" || (place !== "first" && place !== "last")) return false;
  if (!isOwnChain(chain) && !HOOKS.includes(chain)) return false;
  const rule: IptablesRule = { table, chain, first: place === "first", text, marks: parts.slice(1) };
  if (kind === "iptables-shared") plan.sharedRules.push(rule);
  else if (kind === "iptables-rule") plan.rules.push(rule);
  else return false;
  return true;
}

function orNone(name: string): string {
  return name === "" ? NONE : name;
}

/** Whether iptables takes a name for a chain, and its restore format reads it as nothing else. */
export function isChainName(name: string): boolean {
  if (name === "" || name.length > MAX_CHAIN_NAME || name.startsWith("-")) return false;
  for (let i = 0; i < name.length; i += 1) {
    const unit = name.charCodeAt(i);
    if (unit <= 0x20 || unit >= 0x7f || '"\\!,'.includes(name.charAt(i))) return false;
  }
  return true;
}

/** Whether a chain's name is one of ours or of the reference's. */
function isOwnChain(name: string): boolean {
  return name.startsWith("CNI-") && name.length <= MAX_CHAIN_NAME;
}

function ruleText(rule: IptablesRule): string {
  const place = rule.first ? "first" : "last";
  return `${rule.table} ${rule.chain} ${place} ${[rule.text, ...rule.marks].join(SEPARATOR)}`;
}
