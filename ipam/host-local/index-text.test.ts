import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Address, formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { parseSpans, type Span } from "../../lib/ip/range.ts";
import { formatIndex, INDEX_BYTES, MAX_RINGS, parseIndex } from "./index-text.ts";
import { useRing } from "./order.ts";
import { beginRing, type Ring } from "./ring.ts";

function spans(text: string): Span[] {
  const parsed = parseSpans(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

describe("the index", () => {
  it("remembers a number of sets, the one used last first, each with its own queue", () => {
    const rings: Ring[] = [];
    for (let i = 0; i < MAX_RINGS + 3; i += 1) useRing(rings, spans(`10.${i}.0.1-10.${i}.0.9`), null);
    useRing(rings, spans("10.5.0.1-10.5.0.9"), null);
    expect(rings).toHaveLength(MAX_RINGS);
    expect(formatAddress(rings[0]?.start ?? address("0.0.0.0"))).toBe("10.5.0.1");
    expect(new Set(rings.map((ring) => ring.queue)).size).toBe(MAX_RINGS);
  });

  it("fits into its page, and leaves out a set for which there is no room", () => {
    const many = Array.from({ length: 300 }, (_, i) => `10.${i % 256}.${i >> 8}.1-10.${i % 256}.${i >> 8}.9`).join();
    const rings = [beginRing(spans("10.0.0.1-10.0.0.9"), 3, null), beginRing(spans(many), 1, null)];
    const text = formatIndex({ boot: "b", leasesModified: "5", rings });
    expect(text.length).toBeLessThan(INDEX_BYTES);
    expect(parseIndex(`${text}left from before\nend\n`)?.rings.map((ring) => ring.queue)).toEqual([3]);
  });

  it("is not parsed when incomplete, and never throws", () => {
    const text = formatIndex({
      boot: "b",
      leasesModified: "5",
      rings: [beginRing(spans("10.0.0.1-10.0.0.9"), 0, null)],
    });
    for (let end = 0; end < text.length - 1; end += 1) expect(parseIndex(text.slice(0, end))).toBeNull();
    fc.assert(fc.property(fc.string(), (noise) => parseIndex(noise) === null || noise.startsWith("podwire")));
    const line = "set 10.0.0.1-10.0.0.9";
    for (const rest of [
      "0 10.9.9.9 - 0 0 0 -",
      "99 10.0.0.1 - 0 0 0 -",
      "0 10.0.0.1 - 0 99999999 0 -",
      "0 10.0.0.1 -",
      "",
    ]) {
      expect(parseIndex(`podwire host-local index 1\nboot b\nmark 5\n${line} ${rest}\nend\n`)?.rings).toEqual([]);
    }
  });
});
