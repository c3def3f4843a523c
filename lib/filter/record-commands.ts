/** A record as commands for tables that exist: `nft`, and `iptables` for its backend. Pure. */
import { shellWord } from "../text.ts";
import { elementsOf, isShared } from "./hostport-elements.ts";
import type { IptablesRule } from "./iptables-plan.ts";
import { type FilterRecord, formatElement, ownerComment } from "./record.ts";
import { managedTable } from "./ruleset.ts";

export function recordCommands(record: FilterRecord): string[] {
  const lines: string[] = [];
  for (const { table, name, rules } of record.chains) {
    const chain = `chain ${managedTable(table).label} ${name}`;
    const added = rules.map((rule) => `; add rule ${managedTable(table).label} ${name} ${rule}`);
    /* Attachments share chains: whoever comes second must not add the rules once more. */
    lines.push(`nft ${shellWord(`add ${chain}; flush ${chain}${added.join("")}`)}`);
  }
  for (const { table, set, key, data } of elementsOf(record)) {
    const comment = isShared(set) ? "" : ` comment "${ownerComment(record.owner)}"`;
    lines.push(`nft ${shellWord(`add element ${formatElement({ table, set, key: `${key}${comment}`, data })}`)}`);
  }
  for (const { family, sharedChains, sharedRules, chain, rules } of record.iptables) {
    const program = family === 4 ? "iptables" : "ip6tables";
    /* Another attachment may have made what all share. */
    for (const { table, name } of sharedChains) lines.push(`${program} -t ${table} -N ${name} 2>/dev/null || true`);
    for (const rule of sharedRules) {
      lines.push(`${ruleCommand(program, "-C", rule)} 2>/dev/null || ${ruleCommand(program, adding(rule), rule)}`);
    }
    if (chain !== "") lines.push(`${program} -t nat -N ${chain}`);
    for (const rule of rules) lines.push(ruleCommand(program, adding(rule), rule));
  }
  return lines;
}

function adding(rule: IptablesRule): string {
  return rule.first ? "-I" : "-A";
}

function ruleCommand(program: string, action: string, { table, chain, text }: IptablesRule): string {
  let line = `${program} -t ${table} ${action} ${chain}`;
  for (const word of wordsOf(text)) line += ` ${shellWord(word)}`;
  return line;
}

/** The words of a rule for iptables-restore: in quotation marks, with backslashes, if they have spaces. */
function wordsOf(text: string): string[] {
  const words: string[] = [];
  let word = "";
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const letter = text.charAt(i);
    if (letter === '"') quoted = !quoted;
    else if (letter === " " && !quoted) {
      if (word !== "") words.push(word);
      word = "";
    } else if (letter === "\\" && quoted) {
      i += 1;
      word += text.charAt(i);
    } else word += letter;
  }
  if (word !== "") words.push(word);
  return words;
}

/** The commands that remove it again. Chains that attachments share stay, as they do while another one uses them. */
export function recordRemovalCommands(record: FilterRecord): string[] {
  const lines: string[] = [];
  for (const { table, set, key } of elementsOf(record)) {
    if (!isShared(set))
      lines.push(`nft ${shellWord(`delete element ${formatElement({ table, set, key, data: "" })}`)}`);
  }
  for (const { family, chain, rules } of record.iptables) {
    const program = family === 4 ? "iptables" : "ip6tables";
    for (const rule of rules) {
      if (rule.chain !== chain) lines.push(ruleCommand(program, "-D", rule));
    }
    if (chain !== "") lines.push(`${program} -t nat -F ${chain}`, `${program} -t nat -X ${chain}`);
  }
  return lines;
}
