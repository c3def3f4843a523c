import { expect, test } from "vitest";
import captured from "./captured.json" with { type: "json" };
import { commentOf, TABLE_NAMES, type TableDefinition, tableComment, tableDefinition } from "./ruleset.ts";

/** language.test.ts compares what the compiler makes of these with what nft made of them. */
test("every rule was tried with nft", () => {
  /* nft 1.0.6 takes a raw field for one of a set only if the set is declared with the same raw field. */
  const tried = (rule: string) =>
    rule.includes(". @th,") ? rule.replace("@addresses6", "@targets6").replace("@macs", "@options") : rule;
  for (const table of TABLE_NAMES) {
    const rules = tableDefinition(table).chains.flatMap((chain) => chain.rules.map((rule) => `${table} ${rule}`));
    for (const rule of rules) expect(captured.made).toHaveProperty([tried(rule)]);
  }
});

test("a table's comment changes with every part of its definition", () => {
  for (const table of TABLE_NAMES) {
    const definition = tableDefinition(table);
    const comments = changedDefinitions(definition).map(commentOf);
    expect(new Set([...comments, tableComment(table)]).size).toBe(comments.length + 1);
    expect(commentOf(structuredClone(definition))).toBe(tableComment(table));
  }
});

/** The definition with one thing changed, for each thing there is. */
function changedDefinitions(definition: TableDefinition): TableDefinition[] {
  const { sets, chains } = definition;
  const changed: TableDefinition[] = [];
  sets.forEach((set, i) => {
    for (const other of [{ name: `${set.name}x` }, { key: "mark" }, { data: "mark" }]) {
      changed.push({ chains, sets: sets.with(i, { ...set, ...other }) });
    }
    changed.push({ chains, sets: sets.toSpliced(i, 1) });
  });
  chains.forEach((chain, i) => {
    changed.push({ sets, chains: chains.toSpliced(i, 1) });
    changed.push({ sets, chains: chains.with(i, { ...chain, name: `${chain.name}x` }) });
    changed.push({ sets, chains: chains.with(i, { ...chain, hook: { type: "route", hook: 9, priority: 9 } }) });
    chain.rules.forEach((rule, k) => {
      changed.push({ sets, chains: chains.with(i, { ...chain, rules: chain.rules.toSpliced(k, 1) }) });
      changed.push({ sets, chains: chains.with(i, { ...chain, rules: chain.rules.with(k, `${rule} x`) }) });
    });
  });
  return changed;
}
