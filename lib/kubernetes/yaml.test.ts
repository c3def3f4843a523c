/** The YAML that is read means what the `yaml` package says it means; the rest is refused with its line. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import YAML from "yaml";
import type { Json } from "../cni/json.ts";
import { parseYaml } from "./yaml.ts";
import { YamlError } from "./yaml-scalars.ts";

/** The value; numbers as the package reads them. */
function plain(value: Json): unknown {
  switch (value.kind) {
    case "null":
      return null;
    case "boolean":
      return value.text.toLowerCase() === "true";
    case "number":
      return YAML.parse(value.text);
    case "string":
      return value.text;
    case "array":
      return value.items.map(plain);
    default:
      return Object.fromEntries(value.items.map((item, i) => [value.keys[i] ?? "", plain(item)]));
  }
}

function read(text: string): unknown {
  try {
    return plain(parseYaml(text));
  } catch (error) {
    if (error instanceof YamlError) return `refused: ${error.message}`;
    throw error;
  }
}

describe("what is read", () => {
  test.each([
    "",
    "# nothing",
    "a: 1",
    "---\na: b\n...\n",
    "a:\n  b:\n    c: d\n  e: f\ng: h",
    "a:\n- b\n- c: d\n  e: f\n-\n  g: h\n- - i\n  - j\nk:\n  - l",
    "a: # comment\n  b: c # comment\n# comment\n  d: 'e # f' # g",
    "a: b#c\nd: e:f\n'g h': i\n\"j\": k\nl m: n",
    "a: ''\nb: 'it''s'\nc: \"\\x41\\u00e9\\U0001F600\\n\\t\\\\\\\"\\/\\e\"",
    "a: {}\nb: []\nc: [1, 'x, y', \"z\", true, null]\nd: {e: f, 'g h': \"i\", j: 1}\nk: [ a , ]",
    "a: |\n  b\n   c\n\n  d\n\n\ne: f",
    "a: |-\n  b\n\nc: |+\n  d\n\ne: |2\n   f\n",
    "a: >\n  b\n  c\n\n  d\n    e\n  f\n\n\n  g\nh: >-\n  i\n\n",
    "a: |\n\n  b\n- c".slice(0, 9),
    "- |\n a\n- >-\n b\n c\n",
    "a: |\n# no comment\n",
    "a:\nb: ~\nc: null\nd: Null",
    "a: true\nb: False\nc: yes\nd: 12\ne: -3.5e+7\nf: 0x1F\ng: 0o17\nh: 1_000\ni: 012\nj: .5\nk: 5.\nl: +1\nm: 1e\nn: .\no: -\u002e\np: 0b1",
    "a: .inf\nb: -.INF\nc: .nan\nd: -.nan\ne: 1.2.3\nf: 2026-11-29",
    "a: -1\nb: -x\nc: --x",
    "plain",
    "'quoted'",
    "- a\n-   b: c\n    d: e",
    "\ufeffa: b",
    "a: b\u00a0\nc: \u2028d\ufeff\n",
    "a: b\r\nc: |\r\n  d\r\n  e\r\n",
    '{"a": [1, 2, {"b": null}]}',
  ])("%j", (text) => {
    const expected = YAML.parse(text);
    expect(read(text)).toEqual(expected);
  });

  test("a kubeconfig file as kubectl writes it", () => {
    const config = {
      apiVersion: "v1",
      clusters: [
        { cluster: { "certificate-authority-data": "QUFB".repeat(500), server: "https://[::1]:6443" }, name: "kind" },
      ],
      contexts: [{ context: { cluster: "kind", user: "kind" }, name: "kind@kind" }],
      "current-context": "kind@kind",
      kind: "Config",
      preferences: {},
      users: [{ name: "kind", user: { "client-key-data": "QUFB".repeat(500) } }],
    };
    expect(read(YAML.stringify(config, { lineWidth: 0 }))).toEqual(config);
  });
});

describe("what is refused", () => {
  test.each([
    ["a: &x b", "line 1: anchors and aliases are not read"],
    ["a: b\nc: *x", "line 2: anchors and aliases are not read"],
    ["a: !!str 1", "line 1: tags are not read"],
    ["a:\n  <<: {}", "line 2: merge keys are not read"],
    ["%YAML 1.2\n---\na: b", "line 1: directives are not read"],
    ["? a\n: b", "line 1: a text that begins with ? must be in quotes"],
    ["a: b\n---\nc: d", "line 2: a second document begins"],
    ["--- a", "line 1: something follows ---"],
    ["a: b\n  c", "line 2: a text without quotes must end in the line that it begins in"],
    ['a: "b\n  c"', "line 1: a quoted text must end in the line that it begins in"],
    ["a: 'b", "line 1: a quoted text must end in the line that it begins in"],
    ["a: [1,\n  2]", "line 1: in brackets only plain words and quoted texts in one line are read"],
    ["a: [[1]]", "line 1: in brackets only plain words and quoted texts in one line are read"],
    ["a: [b c]", 'line 1: expected "," or "]" in the same line'],
    ["a: {b}", "line 1: a key must be followed by a colon and a space"],
    ["a: b: c", "line 1: a text with a colon and a space, or a tab, must be in quotes"],
    ["a: b\na: c", 'line 2: the key "a" comes twice'],
    ["a: {b: 1, b: 2}", 'line 1: the key "b" comes twice'],
    ["1: a", "line 1: the key 1 must be in quotes"],
    ["\ta: b", "line 1: a tab indents the line"],
    ["a:\n\tb: c", "line 2: a tab indents the line"],
    ["a: b\n c: d", "line 2: a text without quotes must end in the line that it begins in"],
    ["a:\n  b: c\n d: e", "line 3: the indentation does not match what is before"],
    ["a:\n    b: c\n  d: e", "line 3: the indentation does not match what is before"],
    ["- a\nb: c", "line 2: the indentation does not match what is before"],
    ["a: b\n- c", "line 2: the indentation does not match what is before"],
    ["a: @b", "line 1: a text that begins with @ must be in quotes"],
    ["a: `b`", "line 1: a text that begins with ` must be in quotes"],
    ['a: "b" c', "line 1: something follows the end of a value"],
    ['a: "b"#c', "line 1: something follows the end of a value"],
    ['a: "\\q"', 'line 1: "\\q" is no escape'],
    ['a: "\\ud8"', 'line 1: "d8"" is no character\'s number'],
    ["a: |x\n  b", 'line 1: "|x" begins no block of text'],
    ["a: |\n  b\n    \n  c", "line 3: there are spaces in a blank line of a text"],
    ["a\u0000b", "line 1: there is a control character"],
    ["a: b\rc: d", "line 1: there is a control character"],
    ["a: b\nc", "line 2: a line is neither a key with its value nor indented like one"],
    ['{"a": 1', "line 1: begins like JSON, but unexpected end of JSON input"],
    [`${"- ".repeat(40)}a`, "line 1: nested more than 32 levels deep"],
  ])("%j", (text, problem) => {
    expect(read(text)).toBe(`refused: ${problem}`);
  });
});

const unit = fc.constantFrom(..."ab 01-._~:#%/?&*!|>[]{},@`\"'\\\t\n\u007f\u0085é\u2028\ufeff\u{1f600}");
const key = fc.oneof(fc.constantFrom("a", "b c", "d-e", "client-key-data", "x/y.z"), fc.string({ maxLength: 8 }));
const scalar = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.string({ unit, maxLength: 20 }),
  fc
    .array(fc.constantFrom("one", " two", "", "# three", "- four", "five: 5"), { maxLength: 6 })
    .map((lines) => lines.join("\n")),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
);
const document = fc.letrec<{ value: unknown; object: unknown }>((tie) => ({
  value: fc.oneof({ depthSize: "small" }, scalar, fc.array(tie("value"), { maxLength: 4 }), tie("object")),
  object: fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true }),
})).object;
const styles = fc.record({
  defaultStringType: fc.constantFrom(
    "PLAIN" as const,
    "QUOTE_DOUBLE" as const,
    "QUOTE_SINGLE" as const,
    "BLOCK_LITERAL" as const,
  ),
  indentSeq: fc.boolean(),
  indent: fc.constantFrom(1, 2, 4),
  doubleQuotedMinMultiLineLength: fc.constant(1_000_000),
});

test("what the package writes is read as what it was, or refused", () => {
  let refused = 0;
  let all = 0;
  fc.assert(
    fc.property(document, styles, (value, options) => {
      const text = YAML.stringify(value, { ...options, lineWidth: 0 });
      const found = read(text);
      all += 1;
      if (typeof found === "string" && found.startsWith("refused: ")) refused += 1;
      else expect(found).toEqual(YAML.parse(text));
    }),
    { numRuns: 500 },
  );
  expect(refused / all).toBeLessThan(0.5);
});

test("what is read means the same to the package", () => {
  const pieces = fc.constantFrom(
    ..."-:#|>'\"{}[],&*!%@`?~ab1".split(""),
    "\n",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "a: ",
    "b:",
    " #",
    " ",
    "  ",
    "\t",
    "---",
    "...",
    "|\n  x",
    ">-\n  y",
    "'q'",
    '"r\\n"',
    "<<: ",
    "null",
    "[]",
    "{}",
    "[1, a]",
    "{a: 1}",
    "\r\n",
    "é",
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 14 }), (list) => {
      const text = list.join("");
      const found = read(text);
      if (typeof found === "string" && found.startsWith("refused: ")) return;
      const parsed = YAML.parseDocument(text, { logLevel: "silent" });
      expect(
        parsed.errors.map((error) => error.message),
        JSON.stringify(text),
      ).toEqual([]);
      expect(found, JSON.stringify(text)).toEqual(parsed.toJS());
    }),
    { numRuns: 5000 },
  );
});
