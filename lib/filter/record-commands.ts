/** What a record holds as commands, with the tables there: `nft`, or `iptables` for its backend. Pure. */
import { isShared } from "./hostports.ts";
import { type FilterRecord, formatElement, ownerComment } from "./record.ts";
import { TABLE } from "./ruleset.ts";

export function recordCommands(record: FilterRecord): string[] {
  const lines: string[] = [];
  for (const { table, name, rules } of record.chains) {
    const chain = `chain ${table} ${TABLE} ${name}`;
    const added = rules.map((rule) => `; add rule ${table} ${TABLE} ${name} ${rule}`);
    /* Attachments share chains: whoever comes second must not add the rules once more. */
    lines.push(`nft 'add ${chain}; flush ${chain}${added.join("")}'`);
  }
  for (const element of record.elements) {
    const comment = isShared(element.set) ? "" : ` comment "${ownerComment(record.owner)}"`;
    lines.push(`nft 'add element ${formatElement({ ...element, key: `${element.key}${comment}` })}'`);
  }
  for (const { family, sharedChains, sharedRules, chain, rules } of record.iptables) {
    const program = family === 4 ? "iptables" : "ip6tables";
    for (const { table, name } of sharedChains) lines.push(`${program} -t ${table} -N ${name}`);
    lines.push(`${program} -t nat -N ${chain}`);
    for (const rule of [...sharedRules, ...rules]) {
      lines.push(`${program} -t ${rule.table} ${rule.first ? "-I" : "-A"} ${rule.chain} ${rule.text}`);
    }
  }
  return lines;
}

/** The commands that remove it again. Chains that attachments share stay, as they do while another one uses them. */
export function recordRemovalCommands(record: FilterRecord): string[] {
  const lines: string[] = [];
  for (const element of record.elements) {
    if (isShared(element.set)) continue;
    lines.push(`nft 'delete element ${formatElement({ ...element, data: "" })}'`);
  }
  for (const { family, chain, rules } of record.iptables) {
    const program = family === 4 ? "iptables" : "ip6tables";
    for (const rule of rules) {
      if (rule.chain !== chain) lines.push(`${program} -t ${rule.table} -D ${rule.chain} ${rule.text}`);
    }
    lines.push(`${program} -t nat -F ${chain}`, `${program} -t nat -X ${chain}`);
  }
  return lines;
}
