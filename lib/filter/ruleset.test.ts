import { expect, test } from "vitest";
import captured from "./captured.json" with { type: "json" };
import { managedTable, TABLE_NAMES, type TableName } from "./ruleset.ts";
import { digestOf, type TableContent } from "./table-definition.ts";

const contentOf = (name: TableName): TableContent => managedTable(name).content;

/** language.test.ts compares what the compiler makes of these with what nft made of them. */
test("every rule was tried with nft", () => {
  /* nft 1.0.6 takes a raw field for one of a set only if the set is declared with the same raw field. */
  const tried = (rule: string) =>
    rule.includes(". @th,") ? rule.replace("@addresses6", "@targets6").replace("@macs", "@options") : rule;
  for (const table of TABLE_NAMES) {
    const rules = contentOf(table).chains.flatMap((chain) =>
      chain.rules.map((rule) => `${managedTable(table).definition.family} ${rule}`),
    );
    for (const rule of rules) expect(captured.made).toHaveProperty([tried(rule)]);
  }
});

/** If this fails, a definition was changed: write the expected digest into DIGESTS. */
test("a table's comment tells the digest of its definition", () => {
  const digests = TABLE_NAMES.map((table) => `podwire ruleset ${digestOf(contentOf(table))}`);
  expect(TABLE_NAMES.map((table) => managedTable(table).definition.comment)).toEqual(digests);
});

test("the digest changes with every part of a definition", () => {
  for (const table of TABLE_NAMES) {
    const digests = changedContents(contentOf(table)).map(digestOf);
    expect(new Set([...digests, digestOf(contentOf(table))]).size).toBe(digests.length + 1);
  }
});

/** The definition with one thing changed, for each thing there is. */
function changedContents(content: TableContent): TableContent[] {
  const { sets, chains } = content;
  const changed: TableContent[] = [];
  sets.forEach((set, i) => {
    for (const other of [{ name: `${set.name}x` }, { key: "mark" }, { data: "mark" }]) {
      changed.push({ chains, sets: sets.with(i, { ...set, ...other }) });
    }
    changed.push({ chains, sets: sets.toSpliced(i, 1) });
  });
  chains.forEach((chain, i) => {
    changed.push({ sets, chains: chains.toSpliced(i, 1) });
    changed.push({ sets, chains: chains.with(i, { ...chain, name: `${chain.name}x` }) });
    changed.push({
      sets,
      chains: chains.with(i, { ...chain, hook: { type: "route", hook: 9, priority: 9 } }),
    });
    chain.rules.forEach((rule, k) => {
      changed.push({ sets, chains: chains.with(i, { ...chain, rules: chain.rules.toSpliced(k, 1) }) });
      changed.push({ sets, chains: chains.with(i, { ...chain, rules: chain.rules.with(k, `${rule} x`) }) });
    });
  });
  return changed;
}
