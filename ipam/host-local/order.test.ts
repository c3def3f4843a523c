import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Address, formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { parseSpans, type Span } from "../../lib/ip/range.ts";
import {
  beginLap,
  formatIndex,
  Ground,
  INDEX_BYTES,
  type Lap,
  lapOf,
  MAX_LAPS,
  nextFree,
  parseIndex,
  refill,
} from "./order.ts";

class Memory extends Ground {
  readonly entries = new Map<string, Address>();
  readonly used = new Set<string>();
  get(slot: number, position: number): Address {
    return this.entries.get(`${slot}/${position}`) ?? { family: 4, bytes: new Uint8Array(4) };
  }
  put(slot: number, position: number, address: Address): void {
    this.entries.set(`${slot}/${position}`, address);
  }
  inUse(address: Address): boolean {
    return this.used.has(formatAddress(address));
  }
}

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

/** Gives the next free address. */
function give(lap: Lap, memory: Memory): string | null {
  const free = nextFree(lap, memory, []);
  if (free === null) return null;
  memory.used.add(formatAddress(free));
  return formatAddress(free);
}

function release(lap: Lap, memory: Memory, text: string): void {
  memory.used.delete(text);
  lap.push(address(text), memory);
}

describe("the order of allocation", () => {
  it("goes once through all addresses, gateways aside, from the one after the last", () => {
    const lap = beginLap(spans("10.0.0.1-10.0.0.3,10.1.0.1-10.1.0.2"), 0, address("10.0.0.2"));
    const memory = new Memory();
    const given: (string | null)[] = [];
    for (let i = 0; i < 5; i += 1) {
      const free = nextFree(lap, memory, [address("10.1.0.1")]);
      given.push(free === null ? null : formatAddress(free));
    }
    expect(given).toEqual(["10.0.0.3", "10.1.0.2", "10.0.0.1", "10.0.0.2", null]);
  });

  it("never gives an address in use, loses none, and gives each as late as it can", () => {
    /* 0: give one; 1-3: release one of those held; 4: take a certain one by request. */
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 4 }), fc.nat()), { maxLength: 200 });
    fc.assert(
      fc.property(steps, (list) => {
        const all = Array.from({ length: 12 }, (_, i) => `10.0.0.${i + 1}`);
        let lap = beginLap(spans("10.0.0.1-10.0.0.12"), 0, null);
        const memory = new Memory();
        const held: string[] = [];
        const released: string[] = [];
        for (const [kind, number] of list) {
          const index = parseIndex(formatIndex({ boot: "b", mark: "1", laps: [lap] }));
          lap = index?.laps[0] ?? lap;
          if (kind === 4) {
            const wanted = all[number % all.length] ?? "";
            if (held.includes(wanted)) continue;
            held.push(wanted);
            memory.used.add(wanted);
          } else if (kind > 0 && held.length > 0) {
            const [gone] = held.splice(number % held.length, 1);
            release(lap, memory, gone ?? "");
            released.push(gone ?? "");
          } else {
            const before = all.filter((text) => !held.includes(text));
            const text = give(lap, memory);
            if (text === null) {
              expect(before).toEqual([]);
              continue;
            }
            expect(held).not.toContain(text);
            held.push(text);
            /* No address that nobody has had is left while one comes back. */
            const unused = before.filter((other) => !released.includes(other));
            if (released.includes(text) && lap.skipped.length === 0 && lap.cursor !== null) expect(unused).toEqual([]);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("gives released addresses in the order of their release", () => {
    const memory = new Memory();
    const lap = beginLap(spans("10.0.0.1-10.0.0.4"), 0, null);
    for (let i = 0; i < 4; i += 1) give(lap, memory);
    for (const text of ["10.0.0.3", "10.0.0.1", "10.0.0.4"]) release(lap, memory, text);
    expect([give(lap, memory), give(lap, memory), give(lap, memory), give(lap, memory)]).toEqual([
      "10.0.0.3",
      "10.0.0.1",
      "10.0.0.4",
      null,
    ]);
  });

  it("finds by a search what the index has lost", () => {
    const memory = new Memory();
    const lap = beginLap(spans("fd00::1-fd00::ffff"), 0, null);
    lap.cursor = null;
    memory.used.add("fd00::2");
    refill(lap, memory, [address("fd00::1")], address("fd00::fffe"));
    expect([give(lap, memory), give(lap, memory), give(lap, memory)]).toEqual(["fd00::ffff", "fd00::3", "fd00::4"]);
  });

  it("is not filled by one address that comes and goes", () => {
    const memory = new Memory();
    const lap = beginLap(spans("10.0.0.1-10.0.0.9"), 0, null);
    for (let i = 0; i < 9; i += 1) give(lap, memory);
    release(lap, memory, "10.0.0.1");
    for (let i = 0; i < 100; i += 1) release(lap, memory, "10.0.0.5");
    expect(lap.count).toBe(2);
  });
});

describe("the index", () => {
  it("remembers a number of sets, the one used last first, each with a ring of its own", () => {
    const laps: Lap[] = [];
    for (let i = 0; i < MAX_LAPS + 3; i += 1) lapOf(laps, spans(`10.${i}.0.1-10.${i}.0.9`), null);
    lapOf(laps, spans("10.5.0.1-10.5.0.9"), null);
    expect(laps).toHaveLength(MAX_LAPS);
    expect(formatAddress(laps[0]?.start ?? address("0.0.0.0"))).toBe("10.5.0.1");
    expect(new Set(laps.map((lap) => lap.slot)).size).toBe(MAX_LAPS);
  });

  it("fits into its page whatever it holds, and leaves out what does not", () => {
    const many = Array.from({ length: 300 }, (_, i) => `10.${i % 256}.${i >> 8}.1-10.${i % 256}.${i >> 8}.9`).join();
    const laps = [beginLap(spans("10.0.0.1-10.0.0.9"), 3, null), beginLap(spans(many), 1, null)];
    const text = formatIndex({ boot: "b", mark: "5", laps });
    expect(text.length).toBeLessThan(INDEX_BYTES);
    expect(parseIndex(`${text}left from before\nend\n`)?.laps.map((lap) => lap.slot)).toEqual([3]);
  });

  it("is not read when torn, and never throws", () => {
    const text = formatIndex({ boot: "b", mark: "5", laps: [beginLap(spans("10.0.0.1-10.0.0.9"), 0, null)] });
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
      expect(parseIndex(`podwire host-local index 1\nboot b\nmark 5\n${line} ${rest}\nend\n`)?.laps).toEqual([]);
    }
  });
});
