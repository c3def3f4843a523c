/** A record as commands for tables that exist: `nft`, and `iptables` for its backend. Pure. */
import { elementsOf, isShared } from "./hostport-elements.ts";
import { type FilterRecord, formatElement, ownerComment } from "./record.ts";
import { TABLE } from "./ruleset.ts";

export function recordCommands(record: FilterRecord): string[] {
  const lines: string[] = [];
  for (const { table, name, rules } of record.chains) {
    lines.push(`nft add chain ${table} ${TABLE} ${name}`);
    for (const rule of rules) lines.push(`nft 'add rule ${table} ${TABLE} ${name} ${rule}'`);
  }
  for (const element of elementsOf(record)) {
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
