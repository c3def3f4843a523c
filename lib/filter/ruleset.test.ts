import { expect, test } from "vitest";
import captured from "./captured.json" with { type: "json" };
import { TABLE_NAMES, tableDefinition } from "./ruleset.ts";

/** language.test.ts compares what the compiler makes of these with what nft made of them. */
test("every rule was tried with nft", () => {
  /* nft 1.0.6 has no name for the address that an advertisement claims, and does not take a raw field for one. */
  const untried = "bridge icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @addresses6 drop";
  for (const table of TABLE_NAMES) {
    const rules = tableDefinition(table).chains.flatMap((chain) => chain.rules.map((rule) => `${table} ${rule}`));
    for (const rule of rules) if (rule !== untried) expect(captured.made).toHaveProperty([rule]);
  }
  expect(captured.made).toHaveProperty([untried.replace("@addresses6", "@targets6")]);
});
