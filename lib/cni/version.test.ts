import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { ALL_VERSIONS, compareVersions, resultGroup } from "./version.ts";

describe("versions", () => {
  test("the list is in order and its groups are those of the result shapes", () => {
    for (let i = 1; i < ALL_VERSIONS.length; i += 1) {
      expect(compareVersions(ALL_VERSIONS[i - 1] ?? "", ALL_VERSIONS[i] ?? "")).toBeLessThan(0);
    }
    expect(ALL_VERSIONS.map(resultGroup)).toEqual(["0.1", "0.1", "0.3", "0.3", "0.3", "1.0", "1.0"]);
  });

  test("compares number by number", () => {
    const part = fc.nat({ max: 999_999 });
    fc.assert(
      fc.property(fc.tuple(part, part, part), fc.tuple(part, part, part), (a, b) => {
        const first = a.findIndex((value, i) => value !== b[i]);
        const expected = first < 0 ? 0 : Math.sign((a[first] ?? 0) - (b[first] ?? 0));
        expect(Math.sign(compareVersions(a.join("."), b.join(".")))).toBe(expected);
      }),
    );
    expect(compareVersions("1", "1.0.0")).toBe(0);
    expect(compareVersions("0.10.0", "0.9.0")).toBeGreaterThan(0);
  });

  test.each(["", "a", "1.a", "1.0.0.0", "1..0", "-1.0.0", "1.0.0-rc1", "v1.0.0", "1.0.9999999", " 1.0.0"])(
    "%j is no version: code 6",
    (text) => {
      expect(() => compareVersions(text, "1.0.0")).toThrow(CniError);
      expect(() => compareVersions("1.0.0", text)).toThrow(/cannot read cniVersion/);
    },
  );
});
