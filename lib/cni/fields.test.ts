import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { Fields } from "./fields.ts";
import { parseJson } from "./json.ts";

const fields = (value: unknown): Fields => new Fields(parseJson(new TextEncoder().encode(JSON.stringify(value))), "");
const raw = (text: string): Fields => new Fields(parseJson(new TextEncoder().encode(text)), "");

function failure(action: () => unknown): { code: number; message: string } {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: 0, message: "no error" };
}

describe("finding members", () => {
  test("names match in any case, the one written last counts", () => {
    expect(raw('{"SUBNET":"a"}').string("subnet", "")).toBe("a");
    expect(raw('{"isgateway":true}').boolean("isGateway", false)).toBe(true);
    expect(raw('{"mtu":1,"MTU":2}').integer("mtu", 0, 9)).toBe(2);
    expect(raw('{"MTU":2,"mtu":1}').integer("mtu", 0, 9)).toBe(1);
    expect(raw('{"mtu":1,"mtu":2}').integer("mtu", 0, 9)).toBe(2);
  });

  test("null is as good as absent and takes nothing back", () => {
    expect(raw('{"mtu":null}').integer("mtu", 0, 9)).toBeNull();
    expect(raw('{"mtu":1,"mtu":null}').integer("mtu", 0, 9)).toBe(1);
    expect(raw('{"a":null}').has("a")).toBe(false);
    expect(raw('{"a":null}').strings("a")).toEqual([]);
    expect(raw('{"a":null}').object("a")).toBeNull();
  });

  test("what is absent has its fallback", () => {
    const empty = fields({});
    expect(empty.string("a", "x")).toBe("x");
    expect(empty.boolean("a", true)).toBe(true);
    expect(empty.integer("a", 0, 1)).toBeNull();
    expect(empty.objects("a")).toEqual([]);
    expect(empty.array("a")).toEqual([]);
  });
});

describe("errors have code 7 and name the field", () => {
  const value = {
    ipam: { ranges: [[{ subnet: 5 }]], routes: [{ dst: "x" }, 7], dns: { search: ["a", 1] } },
    mtu: "1500",
  };
  const ipam = (): Fields => fields(value).object("ipam") ?? fields({});

  test.each<[string, () => unknown, string]>([
    [
      "a number for a string",
      () => ipam().objects("ranges"),
      'invalid value for "ipam.ranges[0]": expected an object, found an array',
    ],
    [
      "an element",
      () => ipam().objects("routes"),
      'invalid value for "ipam.routes[1]": expected an object, found the number 7',
    ],
    [
      "a string in a list",
      () => ipam().object("dns")?.strings("search"),
      'invalid value for "ipam.dns.search[1]": expected a string, found the number 1',
    ],
    [
      "a string for a number",
      () => fields(value).integer("mtu", 0, 9),
      'invalid value for "mtu": expected a whole number, found the string "1500"',
    ],
    [
      "an object for a boolean",
      () => fields(value).boolean("ipam", false),
      'invalid value for "ipam": expected true or false, found an object',
    ],
    [
      "a string for an object",
      () => fields(value).object("mtu"),
      'invalid value for "mtu": expected an object, found the string "1500"',
    ],
    ["true for an array", () => fields({ a: true }).array("a"), 'invalid value for "a": expected an array, found true'],
    [
      "below the minimum",
      () => fields({ a: -1 }).integer("a", 0, 9),
      'invalid value for "a": -1 is not between 0 and 9',
    ],
    [
      "above the maximum",
      () => fields({ a: 10 }).integer("a", 0, 9),
      'invalid value for "a": 10 is not between 0 and 9',
    ],
    [
      "a fraction",
      () => fields({ a: 1.5 }).integer("a", 0, 9),
      'invalid value for "a": expected a whole number, found 1.5',
    ],
    [
      "an exponent",
      () => raw('{"a":1e3}').integer("a", 0, 9999),
      'invalid value for "a": expected a whole number, found 1e3',
    ],
  ])("%s", (_name, action, message) => {
    expect(failure(action)).toEqual({ code: 7, message });
  });

  test("what they quote is cut to a line", () => {
    const long = failure(() => fields({ a: "x".repeat(100_000) }).integer("a", 0, 9)).message;
    expect(long.length).toBeLessThan(200);
    expect(fields({}).invalid("a", "x".repeat(100_000)).message.length).toBeLessThan(500);
  });
});

describe("whole numbers", () => {
  test("exact up to 2^53 - 1, refused beyond the bounds however long", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }), (number) => {
        const max = Number.MAX_SAFE_INTEGER;
        const read = (): number | null => raw(`{"a":${number}}`).integer("a", -max, max);
        if (number >= -BigInt(max) && number <= BigInt(max)) expect(read()).toBe(Number(number));
        else expect(failure(read).code).toBe(7);
      }),
    );
  });

  test("64-bit rates as CRI runtimes send them", () => {
    const max = Number.MAX_SAFE_INTEGER;
    expect(raw('{"a":4294967295}').integer("a", 0, max)).toBe(4294967295);
    expect(raw('{"a":34359738360}').integer("a", 0, max)).toBe(34359738360);
    expect(raw('{"a":9007199254740991}').integer("a", 0, max)).toBe(max);
    for (const text of [
      "9007199254740992",
      "9007199254740993",
      "9223372036854775807",
      "18446744073709551615",
      "1".repeat(400),
    ]) {
      expect(failure(() => raw(`{"a":${text}}`).integer("a", 0, max)).code, text).toBe(7);
    }
  });

  test("minus zero is zero", () => {
    expect(Object.is(raw('{"a":-0}').integer("a", 0, 9), 0)).toBe(true);
  });
});
