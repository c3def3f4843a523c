import { describe, expect, test } from "vitest";
import { itemAt, numberAt, textAt } from "./lists.ts";

describe("elements by index", () => {
  test("inside of the list they are the list's", () => {
    expect([0, 1].map((i) => textAt(["a", "b"], i))).toEqual(["a", "b"]);
    expect([0, 1].map((i) => numberAt([7, 8], i))).toEqual([7, 8]);
    expect(itemAt([{ n: 1 }], 0)).toEqual({ n: 1 });
  });

  test.each([-1, 2, Number.NaN])("outside, at %s, there is nothing", (index) => {
    expect(textAt(["a", "b"], index)).toBe("");
    expect(numberAt([7, 8], index)).toBe(0);
    expect(itemAt([{}, {}], index)).toBeNull();
  });
});
