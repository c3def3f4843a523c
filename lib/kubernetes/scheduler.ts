/** Time, as the client needs it: apart from the loop, so that what waits is tested without waiting. */
import type { Timed } from "../loop/timers.ts";

export abstract class Scheduler {
  /** Milliseconds of a clock that never jumps. */
  abstract now(): number;
  /** Has `due` called once. It replaces an earlier timer of the same object. */
  abstract after(milliseconds: number, timed: Timed): void;
  abstract cancel(timed: Timed): void;
}
