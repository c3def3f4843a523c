/** The loop's clock and timers. */
import type { Loop, Timed } from "../loop/loop.ts";
import { Scheduler } from "./scheduler.ts";

export class LoopScheduler extends Scheduler {
  readonly #loop: Loop;

  constructor(loop: Loop) {
    super();
    this.#loop = loop;
  }

  now(): number {
    return this.#loop.now();
  }

  after(milliseconds: number, timed: Timed): void {
    this.#loop.after(milliseconds, timed);
  }

  cancel(timed: Timed): void {
    this.#loop.cancel(timed);
  }
}
