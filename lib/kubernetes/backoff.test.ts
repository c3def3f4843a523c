import fc from "fast-check";
import { expect, test } from "vitest";
import { Backoff, Jitter, spreadMs } from "./backoff.ts";

const node = fc.string();

test("pauses double up to 30 s, each between its half and the whole; a success makes them short again", () => {
  fc.assert(
    fc.property(node, (name) => {
      const backoff = new Backoff(new Jitter(name));
      for (let round = 0; round < 2; round += 1) {
        for (const limit of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
          const pause = backoff.next();
          expect(Number.isInteger(pause)).toBe(true);
          expect(pause).toBeGreaterThanOrEqual(limit / 2);
          expect(pause).toBeLessThan(limit);
        }
        backoff.reset();
      }
    }),
  );
});

test("a node waits the same in each run, and not as the others do", () => {
  const pauses = (name: string): number[] => {
    const backoff = new Backoff(new Jitter(name));
    return Array.from({ length: 5 }, () => backoff.next());
  };
  expect(pauses("node-1")).toEqual(pauses("node-1"));
  expect(pauses("node-1")).not.toEqual(pauses("node-2"));
});

test("the first lists of 5,000 nodes are spread evenly over five seconds", () => {
  const seconds = [0, 0, 0, 0, 0];
  for (let i = 0; i < 5000; i += 1) {
    const second = Math.floor(spreadMs(`ip-10-0-${i >> 8}-${i & 255}.eu-west-1.compute.internal`) / 1000);
    seconds[second] = (seconds[second] ?? 0) + 1;
  }
  expect(seconds).toHaveLength(5);
  for (const count of seconds) expect(Math.abs(count - 1000)).toBeLessThan(150);
});
