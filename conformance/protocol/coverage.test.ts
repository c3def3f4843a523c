/** The table of rules, codes and behaviours is true: every rule has its test, and what is written down is what is made. */
import { describe, expect, test } from "vitest";
import { committed, documentOf, problemsWith } from "./coverage.ts";
import { RULES } from "./rules.ts";
import { allTitles, titlesOf } from "./titles.ts";

const titles = allTitles();

test("every rule that binds plugins has a test or a reason for none, and every test named is there", () => {
  expect(problemsWith(titles)).toEqual([]);
});

test("COVERAGE.md is what `make coverage` makes", () => {
  expect(committed() === documentOf(titles), "run make coverage").toBe(true);
});

describe("it would be found", () => {
  test("that a test has gone", () => {
    const without = titles.filter(({ rules }) => !rules.includes("ADD-4"));
    expect(problemsWith(without).join("\n")).toContain("ADD-4 has no test");
    const renamed = titles.map((title) =>
      title.text === "resolv.conf" ? title : { ...title, text: `${title.text}!` },
    );
    expect(problemsWith(renamed).join("\n")).toContain('0 files protocol/requests have a test "%j is unknown"');
  });

  test("that a test names what is no rule, or shows what is said to have no test", () => {
    const title = { file: "x.test.ts", group: "", text: "x", rules: ["ADD-99", "CODE-2"] };
    expect(problemsWith([...titles, title])).toEqual([
      'x.test.ts: "x" names ADD-99, which is no rule',
      "CODE-2 has a test and a reason for none",
    ]);
  });

  test("that the document has another test", () => {
    expect(documentOf(titles.slice(1))).toBe(documentOf(titles.slice(1)));
    expect(documentOf(titles.filter(({ rules }) => rules.length === 0))).not.toBe(documentOf(titles));
  });
});

test("titles are read from all ways to write a test", () => {
  const source = `
    test("plain [ADD-1]", () => {});
    describe("a group", () => {
      test.each([1])("each %s [ADD-1 DEL-2]", () => {});
      if (x) it(\`filled \${in} here\`, () => {});
      describe.each([1])("%s", () => { test.each\`a\`("tagged", () => {}); });
    });
    other("not a test [ADD-3]");
  `;
  expect(titlesOf("f.test.ts", source)).toEqual([
    { file: "f.test.ts", group: "", text: "plain", rules: ["ADD-1"] },
    { file: "f.test.ts", group: "a group", text: "each %s", rules: ["ADD-1", "DEL-2"] },
    { file: "f.test.ts", group: "a group", text: "filled … here", rules: [] },
    { file: "f.test.ts", group: "a group", text: "tagged", rules: [] },
  ]);
});

test("rules have numbers that run on from 1 in each group of letters", () => {
  const numbers = new Map<string, number[]>();
  for (const { id } of RULES) {
    const [letters = "", number = ""] = id.split("-");
    if (letters !== "CODE") numbers.set(letters, [...(numbers.get(letters) ?? []), Number(number)]);
  }
  for (const [letters, found] of numbers) expect(found, letters).toEqual(found.map((_number, i) => i + 1));
});
