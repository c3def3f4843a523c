import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { asciiLower, clip, hexNumber, hexOf, isDigits, parseHex, shellWord, withoutControls } from "./text.ts";

describe("text", () => {
  test("clip keeps a line and marks what it cut", () => {
    expect(clip("short")).toBe("short");
    expect(clip("x".repeat(80))).toBe("x".repeat(80));
    expect(clip("x".repeat(81))).toBe(`${"x".repeat(77)}...`);
  });

  test("withoutControls leaves everything but control characters as it is", () => {
    expect(withoutControls("a\u001b[31m\r\n\u0085\u007fé😀")).toBe("a [31m    é😀");
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(withoutControls(text)).toBe(text.replace(/\p{Cc}/gu, " "));
      }),
    );
  });

  test("isDigits: one or more decimal digits, nothing else", () => {
    fc.assert(fc.property(fc.string(), (text) => isDigits(text) === /^[0-9]+$/.test(text)));
    fc.assert(fc.property(fc.nat(), (number) => isDigits(`${number}`)));
  });

  test("asciiLower changes A-Z only", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(asciiLower(text)).toBe(text.replace(/[A-Z]/g, (letter) => letter.toLowerCase()));
      }),
    );
    expect(asciiLower("İSTANBUL Ä")).toBe("İstanbul Ä");
  });

  test("hexOf writes two digits a byte", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(hexOf(bytes, "")).toBe(Buffer.from(bytes).toString("hex"));
      }),
    );
    expect(hexOf(new Uint8Array([0, 0xab, 0x0c]), ":")).toBe("00:ab:0c");
  });

  test("hexNumber agrees with toString(16) over all of 32 bits", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (value) => {
        expect(hexNumber(value)).toBe(value.toString(16));
      }),
    );
  });

  test("parseHex takes one to four hex digits", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff }), (value) => {
        expect(parseHex(value.toString(16))).toBe(value);
        expect(parseHex(value.toString(16).toUpperCase())).toBe(value);
      }),
    );
    for (const wrong of ["", "g", "12345", "-1", "+1", " 1", "0x1", "1.", "٣"]) expect(parseHex(wrong)).toBeNull();
  });

  test("shellWord: one word for a shell, whatever is in it", () => {
    expect(shellWord("/run/netns/pod-1")).toBe("/run/netns/pod-1");
    expect(["", "a b", "$(x)", "it's", "a;b"].map(shellWord)).toEqual(["''", "'a b'", "'$(x)'", "'it'\\''s'", "'a;b'"]);
  });
});
