import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { matches } from "./pattern.ts";
import { compilePattern } from "./pattern-syntax.ts";

const isMatch = (pattern: string, text: string): boolean => matches(compilePattern(pattern), text);

describe("a pattern", () => {
  test.each<[string, string, boolean]>([
    ["", "", true],
    ["", "anything", true],
    ["net", "a.net.b", true],
    ["^net", "a.net.b", false],
    ["net$", "a.net", true],
    ["net$", "a.net.b", false],
    ["^net.ipv4.conf.IFNAME.accept_redirects$", "net.ipv4.conf.IFNAME.accept_redirects", true],
    ["^net.ipv4.conf.IFNAME.accept_redirects$", "net/ipv4/conf/IFNAME/accept_redirects", true],
    ["^net\\.core\\.", "net/core/somaxconn", false],
    ["^net\\.(core|ipv4)\\.[a-z_]+$", "net.ipv4.tcp_rmem", true],
    ["^net\\.(core|ipv4)\\.[a-z_]+$", "net.ipv6.tcp_rmem", false],
    ["^(a|b)*c?$", "abbac", true],
    ["^(a|b)*c?$", "abcc", false],
    ["^a{2,3}$", "a", false],
    ["^a{2,3}$", "aaa", true],
    ["^a{2,3}$", "aaaa", false],
    ["^a{2}b{0}c{1,}$", "aaccc", true],
    ["^(ab){3}$", "ababab", true],
    ["^[^0-9./-]+$", "abc_", true],
    ["^[^0-9./-]+$", "ab-c", false],
    ["^[]a]+$", "]a]", true],
    ["^[a-]+$", "a-a", true],
    ["^[\\d_.]+$", "1_2.3", true],
    ["^[\\D]$", "5", false],
    ["^\\w+\\s\\S\\W$", "ab c.", true],
    ["^(?:a|b)+?$", "abab", true],
    ["a{,2}", "a{,2}", true],
    ["^{x}$", "{x}", true],
    ["^(a|)b$", "b", true],
    ["(^a|b$)", "cb", true],
    ["^*a", "ba", true],
    ["(a*)*$", "aaab", true],
    ["\\t", "a\tb", true],
    ["a.c", "a\nc", false],
  ])("%s on %s: %s", (pattern, text, expected) => {
    expect(isMatch(pattern, text)).toBe(expected);
  });

  test.each<[string, RegExp]>([
    ["*a", /^missing argument to repetition operator: \*, at character 1$/],
    ["a|+", /missing argument/],
    ["{2}a", /missing argument/],
    ["a**", /invalid nested repetition/],
    ["a{2}{3}", /invalid nested repetition/],
    ["(a", /missing closing \)/],
    ["a)", /unexpected \)/],
    ["[a", /missing closing ]/],
    ["[z-a]", /invalid character class range/],
    ["[a-\\d]", /invalid character class range/],
    ["[[:alpha:]]", /are not known here/],
    ["a\\", /trailing backslash/],
    ["\\pL", /\\p is not known here/],
    ["\\bnet", /\\b is not known here/],
    ["\\1", /\\1 is not known here/],
    ["(?i)a", /flags and names/],
    ["(?P<x>a)", /flags and names/],
    ["a{3,2}", /invalid repeat count/],
    ["a{1001}", /invalid repeat count/],
    ["((a{100}){100}){100}", /too large/],
    ["(".repeat(60), /nested more than 50/],
  ])("%s is refused", (pattern, message) => {
    expect(() => compilePattern(pattern)).toThrow(message);
  });
});

/* What both this and JavaScript know, and mean the same by. */
const letter = fc.constantFrom(
  "a",
  "b",
  "c",
  ".",
  "_",
  "1",
  "\\.",
  "\\d",
  "\\w",
  "\\D",
  "[ab]",
  "[^b]",
  "[a-c1]",
  "[^\\d.]",
);
const { pattern } = fc.letrec<{ pattern: string; piece: string }>((tie) => ({
  pattern: fc
    .array(fc.array(tie("piece"), { maxLength: 4 }), { minLength: 1, maxLength: 3 })
    .map((alternatives) => alternatives.map((pieces) => pieces.join("")).join("|")),
  piece: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    letter,
    fc.constantFrom("^", "$"),
    fc
      .tuple(letter, fc.constantFrom("*", "+", "?", "{2}", "{1,2}", "{0,1}", "{2,}", "*?", "+?"))
      .map((parts) => parts.join("")),
    tie("pattern").map((inner) => `(${inner})`),
    fc
      .tuple(tie("pattern"), fc.constantFrom("*", "+", "?", "{0}", "{2}", "{1,3}", "{0,2}", "{2,}", "??"))
      .map(([inner, count]) => `(?:${inner})${count}`),
  ),
}));
const text = fc.string({ unit: fc.constantFrom("a", "b", "c", ".", "_", "1", "2"), maxLength: 12 });

test("matches what JavaScript's regular expressions match", () => {
  fc.assert(
    fc.property(pattern, fc.array(text, { minLength: 1, maxLength: 5 }), (source, texts) => {
      const ours = compilePattern(source);
      const theirs = new RegExp(source);
      for (const one of texts) expect(matches(ours, one), `${source} on ${one}`).toBe(theirs.test(one));
    }),
    { numRuns: 3000 },
  );
});

test("any text is compiled or refused, and never more", () => {
  const unit = fc.constantFrom(..."ab.*+?()[]{}|^$\\-,:0123dDP<>");
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 20 }), (source) => {
      try {
        matches(compilePattern(source), "net.ipv4.conf.IFNAME.rp_filter");
      } catch (error) {
        expect((error as Error).name).toBe("PatternError");
      }
    }),
    { numRuns: 3000 },
  );
});

test("takes no longer for patterns that make others try everything", () => {
  const begin = performance.now();
  expect(isMatch("^(a+)+$", `${"a".repeat(2000)}b`)).toBe(false);
  expect(isMatch(`^${"a?".repeat(200)}${"a".repeat(200)}$`, "a".repeat(200))).toBe(true);
  expect(isMatch("(.*)(.*)(.*)(.*)(.*)x$", "y".repeat(2000))).toBe(false);
  expect(performance.now() - begin).toBeLessThan(5000);
});
