/** The decoders against what nft(8) and our encoders send, and against what the kernel answers. */
import { describe, expect, test } from "vitest";
import { NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE } from "./attributes.ts";
import { answered, bodyOf, CHAINS, ELEMENTS, RULES, rule, sent, table, written } from "./captured.ts";
import { decodeChain, decodeElements, decodeRule, decodeTable } from "./decode.ts";
import { writeNewChain, writeNewElements, writeNewRule, writeNewTable } from "./messages.ts";
import { type Chain, type Element, NFPROTO_BRIDGE, NFPROTO_INET } from "./objects.ts";

describe("reading", () => {
  const ofType = (type: number): Uint8Array[] => answered("list table inet podwire", type).map(bodyOf);

  test.each(Object.entries(RULES))("%s, as sent", (command, value) => {
    expect(decodeRule(bodyOf(sent(command)))).toEqual(value);
    expect(decodeRule(bodyOf(written((batch) => writeNewRule(batch, value))))).toEqual(value);
  });

  test("the kernel's rules are those that were made, in their order, each with a handle", () => {
    const rules = ofType(NFT_MSG_NEWRULE).map(decodeRule);
    for (const chainName of ["raw", "m", "n", "prerouting"]) {
      const found = rules.filter((found) => found.chain === chainName);
      const made = Object.values(RULES).filter((value) => value.chain === chainName);
      expect(found.map((value) => ({ ...value, handle: 0n }))).toEqual(made);
    }
    expect(rules).toHaveLength(Object.keys(RULES).length);
    const handles = rules.map((value) => value.handle);
    expect(new Set(handles).size).toBe(rules.length);
    expect(handles).not.toContain(0n);
  });

  test("chains as sent and as the kernel has them, with their uses", () => {
    for (const [command, value] of Object.entries(CHAINS)) {
      expect(decodeChain(bodyOf(sent(command)))).toEqual(value);
      expect(decodeChain(bodyOf(written((batch) => writeNewChain(batch, value))))).toEqual(value);
    }
    const found = ofType(NFT_MSG_NEWCHAIN).map(decodeChain);
    const made = Object.values(CHAINS);
    expect(found.map((value) => ({ ...value, uses: 0 })).toSorted(byName)).toEqual(made.toSorted(byName));
    const uses = Object.fromEntries(found.map((value) => [`${value.family} ${value.name}`, value.uses]));
    /* One rule, and two rules and two elements that go there; and only rules. */
    expect(uses).toEqual({ "1 m": 5, "1 n": 2, "1 prerouting": 3, "1 raw": 10, "7 prerouting": 0 });
  });

  const byName = (a: Chain, b: Chain) => a.family - b.family || (a.name < b.name ? -1 : 1);

  test("tables", () => {
    const found = ofType(NFT_MSG_NEWTABLE).map(decodeTable);
    expect(found).toEqual([{ family: NFPROTO_INET, name: table, comment: "v1", flags: 0 }]);
    const other = { family: NFPROTO_BRIDGE, name: "x", comment: "" };
    expect(decodeTable(bodyOf(written((batch) => writeNewTable(batch, other))))).toEqual({ ...other, flags: 0 });
  });

  test.each(Object.entries(ELEMENTS))("%s", (command, [of, elements]) => {
    expect(decodeElements(bodyOf(sent(command)))).toEqual(elements);
    expect(decodeElements(bodyOf(written((batch) => writeNewElements(batch, of, elements))))).toEqual(elements);
  });

  test("the kernel's elements are those that were made", () => {
    const found = ofType(NFT_MSG_NEWSETELEM).flatMap(decodeElements);
    const made = Object.values(ELEMENTS).flatMap(([, elements]) => elements);
    const sorted = (list: readonly Element[]) => list.map((value) => JSON.stringify(value)).toSorted();
    /* One was deleted again. */
    expect(sorted(found)).toEqual(
      sorted(made.filter((value) => Buffer.from(value.key).toString() !== "eth0".padEnd(16, "\0"))),
    );
  });

  test("expressions that are not ours", () => {
    const found = answered("list table inet other", NFT_MSG_NEWRULE).map((message) => decodeRule(bodyOf(message)));
    const kinds = found.map((value) =>
      value.expressions.map((expression) => (expression.kind === "unknown" ? `?${expression.name}` : expression.kind)),
    );
    expect(kinds).toEqual([
      ["?limit", "counter", "verdict"],
      ["immediate", "meta-set"],
      ["immediate", "?ct"],
      ["meta", "cmp", "payload", "bitwise", "?payload"],
      ["meta", "?bitwise", "meta-set"],
      ["?log", "?reject"],
      ["meta", "cmp", "payload", "cmp", "immediate", "immediate", "?nat"],
      ["meta", "cmp", "immediate", "immediate", "?masq"],
    ]);
    expect(() => written((batch) => writeNewRule(batch, rule("c", [{ kind: "unknown", name: "limit" }])))).toThrow(
      TypeError,
    );
  });
});
