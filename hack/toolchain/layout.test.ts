import { describe, expect, it } from "vitest";
import { listOf, namesOf, START, withLayout } from "./layout.ts";

/** A function of a module, with what it calls. */
const named = (module: number, name: string, ...calls: string[]): string =>
  [
    `define internal void @${symbol(module, name)}(ptr %p) nounwind { ; %m${module}.${name}`,
    ...calls.map((other) => `  call void @${other}(ptr %p)`),
    "}",
  ].join("\n");

const symbol = (module: number, name: string): string => `sc_f__x25_m${module}_${name}`;

/** A function that the compiler has made. */
const made = (name: string, ...calls: string[]): string =>
  [`define internal void @${name}() nounwind {`, ...calls.map((other) => `  call void @${other}()`), "}"].join("\n");

/** The group of each function, by its symbol. */
function groups(code: string, list: string): Record<string, number> {
  const placed = withLayout(code, list).matchAll(/^define .*@(\w+)\(.* nounwind section "group\.(\d+)" \{/gm);
  return Object.fromEntries([...placed].map(([, name, group]) => [name, Number(group)]));
}

const LIST = "# a comment\n[start]\none\n\n[bridge]\ntwo\n";

describe("the layout", () => {
  it("puts listed functions and initialisers into sections, whose order is told first, and all others behind them", () => {
    const code = [named(1, "two"), named(2, "other"), named(1, "one"), made("sc_f__x25_init_7"), made("main")].join(
      "\n",
    );
    expect(groups(code, LIST)).toEqual({
      [symbol(1, "one")]: 0,
      sc_f__x25_init_7: 0,
      main: 0,
      [symbol(1, "two")]: 1,
      [symbol(2, "other")]: 2,
    });
    expect(withLayout(code, LIST).split("\n").slice(0, 4)).toEqual([
      'module asm ".section group.0,\\22ax\\22,@progbits"',
      'module asm ".section group.1,\\22ax\\22,@progbits"',
      'module asm ".section group.2,\\22ax\\22,@progbits"',
      `define internal void @${symbol(1, "two")}(ptr %p) nounwind section "group.1" { ; %m1.two`,
    ]);
  });

  it("puts what the compiler has made into the first group that needs it, through tables too", () => {
    const code = [
      `@sc_vtable__x25_m3_Kind = internal constant %sc_vtt { ptr @sc_reld__x25_m3_Kind, ptr @${symbol(4, "other")} }`,
      named(1, "two", "sc_new__x25_m3_Kind", "sc_f__x25_fn1"),
      named(1, "one", "sc_f__x25_fn1"),
      named(4, "other", "sc_f__x25_fn3"),
      made("sc_f__x25_fn1", "sc_rretain_r1"),
      made("sc_f__x25_fn3"),
      made("sc_rretain_r1"),
      made("sc_new__x25_m3_Kind", "sc_vtable__x25_m3_Kind"),
      made("sc_reld__x25_m3_Kind"),
    ].join("\n");
    expect(groups(code, LIST)).toEqual({
      ...{ [symbol(1, "one")]: 0, [symbol(1, "two")]: 1, [symbol(4, "other")]: 2 },
      ...{ sc_f__x25_fn1: 0, sc_rretain_r1: 0, sc_f__x25_fn3: 2, sc_new__x25_m3_Kind: 1, sc_reld__x25_m3_Kind: 1 },
    });
  });
});

describe("names", () => {
  it("are without modules' numbers; one that several modules have is told apart by a neighbour", () => {
    const method = "define internal void @sc_f__x25__x25_m5_Store__x23_drop(ptr %p) nounwind { ; %%m5.Store.#drop\n}";
    const code = [named(1, "check"), named(1, "plan"), named(2, "readTuning"), named(2, "check"), method].join("\n");
    expect([...namesOf(code).values()]).toEqual([
      "plan/check",
      "plan",
      "readTuning",
      "readTuning/check",
      "Store.#drop",
    ]);
  });
});

describe("the list", () => {
  const many = (prefix: string): string[] => Array.from({ length: 10 }, (_, i) => `${prefix}${i}`);

  it("has a group for each set of plugins, the larger set first, and none for a few functions", () => {
    const ran = new Map([
      ["ptp", new Set([...many("both"), "first", "few"])],
      ["bridge", new Set([...many("both"), ...many("bridge"), "first"])],
      [START, new Set(["first"])],
    ]);
    const lines = listOf(ran)
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
    const expected = ["[start]", "first", "[bridge ptp]", ...many("both"), "[bridge]", ...many("bridge"), "few"];
    expect(lines).toEqual(expected);
  });
});
