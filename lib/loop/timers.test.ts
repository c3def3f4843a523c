import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Timed, Timers } from "./timers.ts";

/** Notes that it was due. */
class Noted extends Timed {
  readonly #name: string;
  readonly #notes: string[];
  readonly #then: () => void;

  constructor(name: string, notes: string[], then = () => {}) {
    super();
    this.#name = name;
    this.#notes = notes;
    this.#then = then;
  }

  override due(): void {
    this.#notes.push(this.#name);
    this.#then();
  }
}

describe("timers", () => {
  it("are due in order of time; at the same time, in the order in which they were set", () => {
    const property = fc.property(fc.array(fc.nat(9), { maxLength: 20 }), fc.nat(10), (times, now) => {
      const timers = new Timers();
      const notes: string[] = [];
      for (const [i, at] of times.entries()) timers.set(new Noted(`${i}`, notes), at);
      const order = times.map((at, i) => ({ at, i })).toSorted((a, b) => a.at - b.at || a.i - b.i);
      expect(timers.next()).toBe(order[0]?.at ?? null);
      timers.run(now);
      expect(notes).toEqual(order.filter(({ at }) => at <= now).map(({ i }) => `${i}`));
      expect(timers.next()).toBe(order.find(({ at }) => at > now)?.at ?? null);
    });
    fc.assert(property);
  });

  it("are one for each object: the last that was set", () => {
    const timers = new Timers();
    const notes: string[] = [];
    const one = new Noted("one", notes);
    timers.set(one, 5);
    timers.set(new Noted("two", notes), 6);
    timers.set(one, 7);
    timers.run(6);
    expect(notes).toEqual(["two"]);
    timers.run(7);
    timers.run(8);
    expect(notes).toEqual(["two", "one"]);
  });

  it("can be cancelled, also by one that is due before", () => {
    const timers = new Timers();
    const notes: string[] = [];
    const never = new Noted("never", notes);
    timers.set(new Noted("first", notes, () => timers.cancel(never)), 1);
    timers.set(never, 1);
    timers.run(1);
    expect(notes).toEqual(["first"]);
    expect(timers.next()).toBeNull();
  });

  it("that are set by one that is due wait for the next time: nothing else would get its turn", () => {
    const timers = new Timers();
    const notes: string[] = [];
    const again: Timed = new Noted("again", notes, () => timers.set(again, 0));
    timers.set(again, 0);
    timers.run(0);
    expect(notes).toEqual(["again"]);
    expect(timers.next()).toBe(0);
    timers.run(0);
    expect(notes).toEqual(["again", "again"]);
  });
});
