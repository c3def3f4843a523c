import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Address, formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { parseSpans, type Span } from "../../lib/ip/range.ts";
import { formatIndex, parseIndex } from "./index-text.ts";
import { beginRing, type Ring, RingStorage, refill, takeFree } from "./ring.ts";

class Memory extends RingStorage {
  readonly entries = new Map<string, Address>();
  readonly leased = new Set<string>();
  readQueue(queue: number, position: number): Address {
    return this.entries.get(`${queue}/${position}`) ?? { family: 4, bytes: new Uint8Array(4) };
  }
  writeQueue(queue: number, position: number, address: Address): void {
    this.entries.set(`${queue}/${position}`, address);
  }
  isLeased(address: Address): boolean {
    return this.leased.has(formatAddress(address));
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

/** Allocates the next free address. */
function allocate(ring: Ring, memory: Memory): string | null {
  const free = takeFree(ring, memory, []);
  if (free === null) return null;
  memory.leased.add(formatAddress(free));
  return formatAddress(free);
}

function release(ring: Ring, memory: Memory, text: string): void {
  memory.leased.delete(text);
  ring.addReleased(address(text), memory);
}

describe("the order of allocation", () => {
  it("passes once through all addresses except gateways, from the one after the last", () => {
    const ring = beginRing(spans("10.0.0.1-10.0.0.3,10.1.0.1-10.1.0.2"), 0, address("10.0.0.2"));
    const memory = new Memory();
    const given: (string | null)[] = [];
    for (let i = 0; i < 5; i += 1) {
      const free = takeFree(ring, memory, [address("10.1.0.1")]);
      given.push(free === null ? null : formatAddress(free));
    }
    expect(given).toEqual(["10.0.0.3", "10.1.0.2", "10.0.0.1", "10.0.0.2", null]);
  });

  it("allocates no leased address, loses none, and reuses each as late as possible", () => {
    /* 0: allocate in order; 1-3: release a leased address; 4: allocate a requested address. */
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 4 }), fc.nat()), { maxLength: 200 });
    fc.assert(
      fc.property(steps, (list) => {
        const all = Array.from({ length: 12 }, (_, i) => `10.0.0.${i + 1}`);
        let ring = beginRing(spans("10.0.0.1-10.0.0.12"), 0, null);
        const memory = new Memory();
        const held: string[] = [];
        const released: string[] = [];
        for (const [kind, number] of list) {
          const index = parseIndex(formatIndex({ boot: "b", leasesModified: "1", rings: [ring] }));
          ring = index?.rings[0] ?? ring;
          if (kind === 4) {
            const wanted = all[number % all.length] ?? "";
            if (held.includes(wanted)) continue;
            held.push(wanted);
            memory.leased.add(wanted);
          } else if (kind > 0 && held.length > 0) {
            const [gone] = held.splice(number % held.length, 1);
            release(ring, memory, gone ?? "");
            released.push(gone ?? "");
          } else {
            const before = all.filter((text) => !held.includes(text));
            const text = allocate(ring, memory);
            if (text === null) {
              expect(before).toEqual([]);
              continue;
            }
            expect(held).not.toContain(text);
            held.push(text);
            /* No address is reused while there is one that was never leased. */
            const unused = before.filter((other) => !released.includes(other));
            if (released.includes(text) && ring.skipped.length === 0 && ring.cursor !== null)
              expect(unused).toEqual([]);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("allocates released addresses in the order of their release", () => {
    const memory = new Memory();
    const ring = beginRing(spans("10.0.0.1-10.0.0.4"), 0, null);
    for (let i = 0; i < 4; i += 1) allocate(ring, memory);
    for (const text of ["10.0.0.3", "10.0.0.1", "10.0.0.4"]) release(ring, memory, text);
    expect([allocate(ring, memory), allocate(ring, memory), allocate(ring, memory), allocate(ring, memory)]).toEqual([
      "10.0.0.3",
      "10.0.0.1",
      "10.0.0.4",
      null,
    ]);
  });

  it("finds by a search the free addresses that the index has lost", () => {
    const memory = new Memory();
    const ring = beginRing(spans("fd00::1-fd00::ffff"), 0, null);
    ring.cursor = null;
    memory.leased.add("fd00::2");
    refill(ring, memory, [address("fd00::1")], address("fd00::fffe"));
    expect([allocate(ring, memory), allocate(ring, memory), allocate(ring, memory)]).toEqual([
      "fd00::ffff",
      "fd00::3",
      "fd00::4",
    ]);
  });

  it("does not fill the queue with one address that is released again and again", () => {
    const memory = new Memory();
    const ring = beginRing(spans("10.0.0.1-10.0.0.9"), 0, null);
    for (let i = 0; i < 9; i += 1) allocate(ring, memory);
    release(ring, memory, "10.0.0.1");
    for (let i = 0; i < 100; i += 1) release(ring, memory, "10.0.0.5");
    expect(ring.queueLength).toBe(2);
  });
});
