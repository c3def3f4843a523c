import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalMac, formatMac, isUnicastMac, parseMac } from "./mac.ts";

const bytes = fc.uint8Array({ minLength: 6, maxLength: 6 });
const digits = (list: Iterable<number>): string[] => [...list].map((byte) => byte.toString(16).padStart(2, "0"));

/** The three spellings of IEEE 802 and of routers, as Go's net.ParseMAC takes them. */
function spellings(list: Iterable<number>): string[] {
  const pairs = digits(list);
  const quads = pairs.flatMap((pair, index) => (index % 2 === 0 ? [pair + (pairs[index + 1] ?? "")] : []));
  return [pairs.join(":"), pairs.join("-"), quads.join(".")];
}

describe("parseMac", () => {
  test("takes every spelling in either case", () => {
    fc.assert(
      fc.property(bytes, (mac) => {
        for (const text of spellings(mac)) {
          for (const spelt of [text, text.toUpperCase()]) {
            expect(parseMac(spelt)).toEqual(mac);
            expect(canonicalMac(spelt)).toBe(formatMac(mac));
          }
        }
      }),
    );
  });

  test("refuses the eight and twenty bytes of other links, which Go's takes", () => {
    for (const length of [2, 4, 5, 7, 8, 20]) {
      for (const text of spellings(new Uint8Array(length))) expect(parseMac(text)).toBeNull();
    }
  });

  test.each([
    "",
    "0a58.0000",
    "0a58.0000.044f.0000",
    "0a58:0000:044f",
    "0a58-0000-044f",
    "a58.0.44f",
    "0a58.0000.044g",
    "0a:58:00-00:04:4f",
    "0a:58.0000.044f",
    "0a58.0000.04:4f",
    "0a58.0000.044f.",
    ".0a58.0000.044f",
    "0a5800000.44f.1",
    "0a580000044f",
    "0a:58:00:00:04",
    "0a:58:0:0:4:4f",
    "0a.58.00.00.04.4f",
    " 0a58.0000.044f",
    "+a58.0000.044f",
  ])("refuses %j", (text) => {
    expect(parseMac(text)).toBeNull();
    expect(canonicalMac(text)).toBe(text);
  });
});

test("isUnicastMac", () => {
  expect(isUnicastMac(parseMac("0a58.0000.044f") ?? new Uint8Array())).toBe(true);
  for (const text of ["0100.5e00.0001", "ffff.ffff.ffff", "0000.0000.0000"]) {
    expect(isUnicastMac(parseMac(text) ?? new Uint8Array())).toBe(false);
  }
});
