import { expect, test } from "vitest";
import captured from "./captured.json" with { type: "json" };
import { managedTable, TABLE_NAMES, type TableName } from "./ruleset.ts";
import { digestOf, type TableDefinition } from "./table-definition.ts";

const tableDefinition = (name: TableName): TableDefinition => managedTable(name).definition;

const digestOfDefinition = ({ sets, chains }: TableDefinition): string => digestOf(sets, chains);

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

/** If this fails, a definition was changed: write the expected digest into DIGESTS. */
test("a table's comment tells the digest of its definition", () => {
  const digests = TABLE_NAMES.map((table) => `podwire ruleset ${digestOfDefinition(tableDefinition(table))}`);
  expect(TABLE_NAMES.map((table) => tableDefinition(table).comment)).toEqual(digests);
});

test("the digest changes with every part of a definition", () => {
  for (const table of TABLE_NAMES) {
    const digests = changedDefinitions(tableDefinition(table)).map(digestOfDefinition);
    expect(new Set([...digests, digestOfDefinition(tableDefinition(table))]).size).toBe(digests.length + 1);
  }
});

/** The definition with one thing changed, for each thing there is. */
function changedDefinitions(definition: TableDefinition): TableDefinition[] {
  const { sets, chains, ...rest } = definition;
  const changed: TableDefinition[] = [];
  sets.forEach((set, i) => {
    for (const other of [{ name: `${set.name}x` }, { key: "mark" }, { data: "mark" }]) {
      changed.push({ ...rest, chains, sets: sets.with(i, { ...set, ...other }) });
    }
    changed.push({ ...rest, chains, sets: sets.toSpliced(i, 1) });
  });
  chains.forEach((chain, i) => {
    changed.push({ ...rest, sets, chains: chains.toSpliced(i, 1) });
    changed.push({ ...rest, sets, chains: chains.with(i, { ...chain, name: `${chain.name}x` }) });
    changed.push({
      ...rest,
      sets,
      chains: chains.with(i, { ...chain, hook: { type: "route", hook: 9, priority: 9 } }),
    });
    chain.rules.forEach((rule, k) => {
      changed.push({ ...rest, sets, chains: chains.with(i, { ...chain, rules: chain.rules.toSpliced(k, 1) }) });
      changed.push({ ...rest, sets, chains: chains.with(i, { ...chain, rules: chain.rules.with(k, `${rule} x`) }) });
    });
  });
  return changed;
}
