/** A managed table as a script for `nft -f`, for `explain`. Pure. */
import type { ChainDefinition, SetDefinition, TableDefinition } from "./table-definition.ts";

/** The hooks by their numbers (enum nf_inet_hooks in linux/netfilter.h; those of bridges have the same). */
const HOOKS = ["prerouting", "input", "forward", "output", "postrouting"];

/**
 * The lines of a shell command that makes a table.
 * @param elements the elements of a set, by its name
 */
export function tableCommand(definition: TableDefinition, elements: (set: string) => readonly string[]): string[] {
  const { family, name, comment } = definition;
  const { sets, chains } = definition.content();
  const lines = ["nft -f - <<'END'", `table ${family} ${name} {`, `  comment "${comment}"`];
  for (const set of sets) lines.push(...setLines(set, elements(set.name)));
  for (const chain of chains) lines.push(...chainLines(chain));
  lines.push("}", "END");
  return lines;
}

function setLines({ name, key, data }: SetDefinition, elements: readonly string[]): string[] {
  const [word, type] = data === "" ? ["set", key] : ["map", `${key} : ${data}`];
  const lines = [`  ${word} ${name} {`, `    type ${type}`];
  if (elements.length > 0) lines.push(`    elements = { ${elements.join(", ")} }`);
  lines.push("  }");
  return lines;
}

function chainLines({ name, hook, rules }: ChainDefinition): string[] {
  const lines = [`  chain ${name} {`];
  if (hook !== null) {
    const where = HOOKS[hook.hook] ?? "";
    lines.push(`    type ${hook.type} hook ${where} priority ${hook.priority}; policy accept;`);
  }
  for (const rule of rules) lines.push(`    ${rule}`);
  lines.push("  }");
  return lines;
}
