import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { sha512 } from "./sha512.ts";
import { hexOf } from "./text.ts";

const expected = (text: string): string => createHash("sha512").update(text).digest("hex");

test("the digests of the standard's examples", () => {
  expect(hexOf(sha512("abc"), "")).toMatch(/^ddaf35a193617abacc417349ae204131/);
  expect(hexOf(sha512(""), "")).toMatch(/^cf83e1357eefb8bdf1542850d66d8007/);
});

test("texts around the block's length", () => {
  for (let length = 100; length < 270; length += 1) {
    const text = "x".repeat(length);
    expect(hexOf(sha512(text), "")).toBe(expected(text));
  }
});

test("any text has the digest that Node finds", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 400 }), (text) => {
      expect(hexOf(sha512(text), "")).toBe(expected(text));
    }),
    { numRuns: 500 },
  );
});
