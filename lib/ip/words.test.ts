/** Addresses as words do what addresses as bytes do. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Address, compareAddresses, contains, formatAddress, networkOf, parseAddress } from "./address.ts";
import {
  addressAt,
  clearHostBits,
  compareAt,
  containsAt,
  isIpv4At,
  prefixAt,
  putAddress,
  readAddress,
  WordIndex,
  wideLength,
} from "./words.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const v4 = bytes(4).map((b): Address => ({ family: 4, bytes: b }));
/* Not ::ffff:0:0/96, which stands for IPv4. */
const v6 = bytes(16)
  .filter((b) => b[0] !== 0)
  .map((b): Address => ({ family: 6, bytes: b }));
const sparse = fc
  .array(fc.constantFrom(0, 0, 0, 1, 0xab, 0xff), { minLength: 15, maxLength: 15 })
  .map((rest): Address => ({ family: 6, bytes: new Uint8Array([0x20, ...rest]) }));
const anyAddress = fc.oneof(v4, v6, sparse);

const words = (...addresses: Address[]): Int32Array => {
  const all = new Int32Array(addresses.length * 4);
  addresses.forEach((address, i) => {
    putAddress(all, i * 4, address);
  });
  return all;
};

describe("addresses as words", () => {
  test("come back as they were", () => {
    fc.assert(
      fc.property(anyAddress, (address) => {
        expect(addressAt(words(address), 0)).toEqual(address);
        expect(isIpv4At(words(address), 0)).toBe(address.family === 4);
      }),
    );
  });

  test("are in the order of addresses", () => {
    const pair = fc.oneof(fc.tuple(v4, v4), fc.tuple(v6, v6));
    fc.assert(
      fc.property(pair, ([a, b]) => {
        expect(Math.sign(compareAt(words(a), 0, words(b), 0))).toBe(Math.sign(compareAddresses(a, b)));
      }),
    );
  });

  test("are in networks as addresses are", () => {
    const pair = fc.oneof(
      fc.tuple(v4, v4, fc.integer({ min: 0, max: 32 })),
      fc.tuple(v6, v6, fc.integer({ min: 0, max: 128 })),
    );
    fc.assert(
      fc.property(pair, fc.boolean(), ([address, b, length], same) => {
        const other = same ? networkOf({ address, length }) : b;
        const prefix = { address, length };
        const network = words(address);
        expect(containsAt(network, 0, wideLength(prefix), words(other), 0)).toBe(contains(prefix, other));
        clearHostBits(network, 0, wideLength(prefix));
        expect(prefixAt(network, 0, wideLength(prefix))).toEqual({ address: networkOf(prefix), length });
      }),
    );
  });

  test("are read from text as other code reads it", () => {
    const text = fc.oneof(
      anyAddress.map(formatAddress),
      anyAddress.map((address) => formatAddress(address).toUpperCase()),
      fc.string({ unit: fc.constantFrom("0", "1", "9", "f", ":", "::", ".", "25"), maxLength: 14 }),
      fc.constantFrom(
        "::",
        "::1",
        "1::",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:8",
        ":1",
        "1:",
        "1.2.3.4",
      ),
    );
    fc.assert(
      fc.property(text, fc.constantFrom('"', "/", ""), (address, behind) => {
        const ascii = new TextEncoder().encode(`"${address}${behind}`);
        const found = new Int32Array(4);
        const stop = readAddress(ascii, 1, ascii.length, found, 0);
        const isRead = stop >= 0;
        if (isRead) expect(stop).toBe(1 + address.length);
        const expected = parseAddress(address);
        if (isRead) expect(expected === null ? null : words(expected)).toEqual(found);
        /* A dotted tail is left to the other reader. */ else
          expect(expected === null || address.includes(":")).toBe(true);
        const isMapped = expected?.family === 6 && isIpv4At(words(expected), 0);
        if (expected !== null && !isMapped && !(address.includes(":") && address.includes(".")))
          expect(isRead).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("an index", () => {
  test("finds the first row of a key, and no other", () => {
    const keys = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: -2, max: 40 })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(keys, (rows) => {
        const table = new Int32Array(rows.flatMap(([a, b]) => [7, a, b]));
        const index = new WordIndex(table, 3, 1, 2, rows.length);
        const firstOf = ([a, b]: readonly [number, number]) =>
          rows.findIndex((other) => other[0] === a && other[1] === b);
        rows.forEach((row, i) => {
          expect(index.add(i)).toBe(firstOf(row));
        });
        for (const row of rows) expect(index.find(new Int32Array(row), 0)).toBe(firstOf(row));
        expect(index.find(new Int32Array([9, 9]), 0)).toBe(-1);
      }),
    );
  });
});
