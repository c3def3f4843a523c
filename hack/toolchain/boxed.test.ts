import { describe, expect, it } from "vitest";
import { boxedScalars } from "./boxed.ts";

const SOURCES = [
  {
    path: "lib/text.ts",
    text: `
      export function clip(text: string, limit: number): string { return text.slice(0, limit); }
      export function find(text: string | null, at?: number): number { return 0; }
      class Index { #at(row: number): number { return row; } }`,
  },
];

describe("boxedScalars", () => {
  it("finds strings and numbers that are passed as unions", () => {
    const code = [
      "static ScrStr * sc_f__x25_m2_clip(ScrUnion *sc_l_text_0, double sc_l_limit_0);",
      "static double sc_f__x25__x25_m2_Index_x23_at(sc_o_Index *sc_l_this_0, ScrUnion *sc_p_row_0);",
    ].join("\n");
    expect(boxedScalars(code, SOURCES)).toEqual(["lib/text.ts at(row: number)", "lib/text.ts clip(text: string)"]);
  });

  it("accepts what is passed as it is, unions, and what may be left out", () => {
    const code = [
      "static ScrStr * sc_f__x25_m2_clip(ScrStr *sc_l_text_0, double sc_l_limit_0);",
      "static double sc_f__x25_m2_find(ScrUnion *sc_l_text_0, ScrUnion *sc_l_at_0);",
      "static double sc_f__x25_m9_elsewhere(ScrUnion *sc_l_text_0);",
    ].join("\n");
    expect(boxedScalars(code, SOURCES)).toEqual([]);
  });
});
