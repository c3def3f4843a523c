import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, it } from "vitest";
import { type Address, formatAddress, parseAddress } from "./address.ts";
import {
  formatSpans,
  isAhead,
  nextAddress,
  parseSpans,
  type Span,
  spanIndex,
  spansMeet,
  usableAddresses,
} from "./range.ts";

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

const span = (first: string, last: string): Span => ({ first: address(first), last: address(last) });

/** Spans of 10.<i>.0.0/24, each a few addresses long, and all their addresses in the order of the walk. */
const walks = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 6 })), { minLength: 1, maxLength: 4 })
  .map((parts) => {
    const spans = parts.map(([start, length], i) => span(`10.${i}.0.${start}`, `10.${i}.0.${start + length}`));
    const all = parts.flatMap(([start, length], i) =>
      Array.from({ length: length + 1 }, (_, k) => `10.${i}.0.${start + k}`),
    );
    return { spans, all };
  });

describe("the walk through spans", () => {
  it("meets every address once and ends where it began", () => {
    fc.assert(
      fc.property(walks, fc.nat(), ({ spans, all }, at) => {
        let here = address(all[at % all.length] ?? "");
        const met: string[] = [];
        for (let i = 0; i < all.length; i += 1) {
          met.push(formatAddress(here));
          here = nextAddress(spans, here);
        }
        expect(met[0]).toBe(formatAddress(here));
        expect(met.sort()).toEqual([...all].sort());
      }),
    );
  });

  it("knows what is ahead", () => {
    fc.assert(
      fc.property(walks, fc.nat(), fc.nat(), fc.nat(), ({ spans, all }, start, cursor, other) => {
        const size = all.length;
        const text = (i: number) => address(all[i % size] ?? "");
        const expected = (other - start + size * 4e9) % size >= (cursor - start + size * 4e9) % size;
        expect(isAhead(spans, text(start), text(cursor), text(other))).toBe(expected);
      }),
    );
  });

  it("begins anew from an address outside", () => {
    const spans = [span("10.0.0.5", "10.0.0.6"), span("fd00::1", "fd00::2")];
    expect(formatAddress(nextAddress(spans, address("192.0.2.1")))).toBe("10.0.0.5");
    expect(formatAddress(nextAddress(spans, address("10.0.0.6")))).toBe("fd00::1");
    expect(formatAddress(nextAddress(spans, address("fd00::2")))).toBe("10.0.0.5");
  });
});

it("spans are printed and read", () => {
  fc.assert(
    fc.property(walks, ({ spans }) => {
      expect(parseSpans(formatSpans(spans))).toEqual(spans);
    }),
  );
  for (const text of ["", "10.0.0.1", "10.0.0.1-", "-", "10.0.0.1-fd00::1", "10.0.0.1-10.0.0.2,"]) {
    expect(parseSpans(text)).toBeNull();
  }
});

it("spans meet where they share an address", () => {
  const number = fc.integer({ min: 0, max: 255 });
  fc.assert(
    fc.property(number, number, number, number, (a, b, c, d) => {
      const [p, q] = [Math.min(a, b), Math.max(a, b)];
      const [r, s] = [Math.min(c, d), Math.max(c, d)];
      expect(spansMeet(span(`10.0.0.${p}`, `10.0.0.${q}`), span(`10.0.0.${r}`, `10.0.0.${s}`))).toBe(p <= s && r <= q);
    }),
  );
});

it("an address is held by the span whose bounds surround it, as ipaddr.js orders them", () => {
  const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(bytes, bytes, bytes, (a, b, c) => {
      const [first, last, other] = [a, b, c].map((item) => ({ family: 6 as const, bytes: item }));
      if (first === undefined || last === undefined || other === undefined) return;
      const order = (item: Address) =>
        ipaddr
          .fromByteArray([...item.bytes])
          .toByteArray()
          .map((x) => String(x).padStart(3))
          .join();
      const inside = order(first) <= order(other) && order(other) <= order(last);
      expect(spanIndex([{ first, last }], other)).toBe(inside ? 0 : -1);
    }),
  );
});

it("gateways are not usable, and counted once", () => {
  const subnet = { address: address("10.0.0.0"), length: 24 };
  const range = (first: string, last: string, gateway: string) => ({
    ...span(first, last),
    subnet,
    gateway: address(gateway),
  });
  expect(usableAddresses([range("10.0.0.1", "10.0.0.254", "10.0.0.1")])).toBe(253);
  expect(usableAddresses([range("10.0.0.10", "10.0.0.19", "10.0.0.1")])).toBe(10);
  expect(usableAddresses([range("10.0.0.1", "10.0.0.5", "10.0.0.1"), range("10.0.0.7", "10.0.0.8", "10.0.0.1")])).toBe(
    6,
  );
});
