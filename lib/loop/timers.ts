/** Timers in the order in which they are due. Pure: it is told the time. */

/** What happens at a time. */
export abstract class Timed {
  abstract due(): void;
}

/** A timer that is set. */
class Entry {
  readonly timed: Timed;
  /** When it is due, in milliseconds of the loop's clock. */
  readonly at: number;
  /** The how-manieth timer that was set. */
  readonly serial: number;

  constructor(timed: Timed, at: number, serial: number) {
    this.timed = timed;
    this.at = at;
    this.serial = serial;
  }
}

/** A process has few timers, so they are a list. */
export class Timers {
  /** The first to be due first; of two that are due at the same time, the one that was set first. */
  #entries: Entry[] = [];
  #serial = 0;

  /** Sets a timer. One that was set for the same object before is gone. */
  set(timed: Timed, at: number): void {
    this.#serial += 1;
    const added = new Entry(timed, at, this.#serial);
    const entries: Entry[] = [];
    let isPlaced = false;
    for (const entry of this.#entries) {
      if (entry.timed === timed) continue;
      if (!isPlaced && entry.at > at) {
        entries.push(added);
        isPlaced = true;
      }
      entries.push(entry);
    }
    if (!isPlaced) entries.push(added);
    this.#entries = entries;
  }

  cancel(timed: Timed): void {
    const entries: Entry[] = [];
    for (const entry of this.#entries) if (entry.timed !== timed) entries.push(entry);
    this.#entries = entries;
  }

  /** When the first timer is due; null if none is set. */
  next(): number | null {
    for (const { at } of this.#entries) return at;
    return null;
  }

  /**
   * Calls `due` of all that are due by now. What these calls set is left for the next time, even if it is due at once;
   * what they cancel is not called.
   */
  run(now: number): void {
    const last = this.#serial;
    for (;;) {
      const timed = this.#take(now, last);
      if (timed === null) return;
      timed.due();
    }
  }

  /** Removes the first timer that is due and has a serial number up to `last`; null if there is none. */
  #take(now: number, last: number): Timed | null {
    let taken: Timed | null = null;
    const entries: Entry[] = [];
    for (const entry of this.#entries) {
      if (taken === null && entry.at <= now && entry.serial <= last) taken = entry.timed;
      else entries.push(entry);
    }
    this.#entries = entries;
    return taken;
  }
}
