/** Time as the server sees it: the machine's, or one that a test moves. */

/** Something that will happen; `cancel` may be called at any time. */
export interface Appointment {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls once, after so many milliseconds. */
  after(milliseconds: number, call: () => void): Appointment;
}

export const machineClock: Clock = {
  now: () => Date.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, Math.min(milliseconds, 2 ** 31 - 1));
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Stands still until a test moves it. */
export class MovedClock implements Clock {
  #now: number;
  #appointments: { at: number; call: () => void }[] = [];

  constructor(start = Date.UTC(2026, 10, 29, 12)) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, call: () => void): Appointment {
    const appointment = { at: this.#now + milliseconds, call };
    this.#appointments.push(appointment);
    return {
      cancel: () => {
        this.#appointments = this.#appointments.filter((one) => one !== appointment);
      },
    };
  }

  /** Moves on; what falls due meanwhile is called in its order, each at its own time. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      const next = this.#appointments.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#appointments = this.#appointments.filter((one) => one !== next);
      this.#now = Math.max(this.#now, next.at);
      next.call();
      await settled();
    }
    this.#now = end;
    await settled();
  }
}

/** Lets what was woken run, and make its next appointment. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A time as objects carry it: whole seconds. */
export function timestamp(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}
