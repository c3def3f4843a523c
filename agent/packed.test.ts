import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pack, unpack } from "./packed.ts";

describe("pack", () => {
  it("puts the length before each text", () => {
    expect(pack(["ab", ""])).toBe("2:ab0:");
    expect(pack([])).toBe("");
  });

  it("can be undone, whatever the texts are", () => {
    const text = fc.oneof(fc.string(), fc.constantFrom("", "0:", "12:", ":", "\n", "\u{1f600}"));
    fc.assert(
      fc.property(fc.array(text), (texts) => {
        expect(unpack(pack(texts))).toEqual(texts);
      }),
    );
  });
});
