/** The loop of a process that runs for months: it waits for descriptors and timers in one system call, and calls what they are for. */
import { EINTR } from "../sys/errno.ts";
import { POLLERR, POLLFD_SIZE, POLLHUP, POLLNVAL, pollMany } from "../sys/loop.ts";
import { CLOCK_BOOTTIME, clockMs, must } from "../sys/sys.ts";
import { type Timed, Timers } from "./timers.ts";

export { Timed } from "./timers.ts";

/** The longest time to wait at once, in milliseconds: an hour. */
const LONGEST_WAIT = 3_600_000;

/** What a descriptor is watched for. */
export abstract class Watched {
  /** Something has happened. @param events POLLIN, POLLOUT, POLLERR, POLLHUP as in poll(2) */
  abstract ready(events: number): void;
}

/** A descriptor that is watched. */
class Entry {
  readonly fd: number;
  events: number;
  watched: Watched;
  isWatched = true;

  constructor(fd: number, events: number, watched: Watched) {
    this.fd = fd;
    this.events = events;
    this.watched = watched;
  }
}

export class Loop {
  /** A process watches few descriptors, so they are a list. */
  #entries: Entry[] = [];
  readonly #timers = new Timers();
  #descriptors = new Uint8Array(16 * POLLFD_SIZE);
  #isRunning = false;

  /** Watches a descriptor; one that is watched already, for these events and by this object from now on. */
  watch(fd: number, events: number, watched: Watched): void {
    for (const entry of this.#entries) {
      if (entry.fd !== fd) continue;
      entry.events = events;
      entry.watched = watched;
      return;
    }
    this.#entries.push(new Entry(fd, events, watched));
  }

  /** Watches a descriptor no more, also if something has happened on it already. To be called before it is closed. */
  unwatch(fd: number): void {
    const left: Entry[] = [];
    for (const entry of this.#entries) {
      if (entry.fd === fd) entry.isWatched = false;
      else left.push(entry);
    }
    this.#entries = left;
  }

  /** Has `due` called once, in `milliseconds` or a little later. It replaces an earlier timer of the same object. */
  after(milliseconds: number, timed: Timed): void {
    this.#timers.set(timed, this.now() + (milliseconds > 0 ? Math.ceil(milliseconds) : 0));
  }

  cancel(timed: Timed): void {
    this.#timers.cancel(timed);
  }

  /** Milliseconds of a clock that goes on while the machine is suspended, and that nobody sets (CLOCK_BOOTTIME). */
  now(): number {
    return clockMs(CLOCK_BOOTTIME);
  }

  /** Waits and calls until `stop`. @throws SystemError; what the called objects throw */
  run(): void {
    this.#isRunning = true;
    while (this.#isRunning) {
      const entries = this.#entries.slice();
      this.#write(entries);
      const ready = pollMany(this.#descriptors, entries.length, this.#wait());
      if (ready !== -EINTR) must(ready, "wait for descriptors");
      this.#timers.run(this.now());
      if (ready > 0) this.#deliver(entries);
    }
  }

  /** Has `run` return when what is being called has returned. */
  stop(): void {
    this.#isRunning = false;
  }

  /** How long to wait for descriptors, in milliseconds. */
  #wait(): number {
    const next = this.#timers.next();
    return next === null ? -1 : Math.min(Math.max(next - this.now(), 0), LONGEST_WAIT);
  }

  /** Writes what is waited for, as poll(2) wants it. */
  #write(entries: readonly Entry[]): void {
    if (this.#descriptors.length < entries.length * POLLFD_SIZE)
      this.#descriptors = new Uint8Array(2 * entries.length * POLLFD_SIZE);
    const view = new DataView(this.#descriptors.buffer);
    let at = 0;
    for (const { fd, events } of entries) {
      view.setInt32(at, fd, true);
      view.setInt16(at + 4, events, true);
      view.setInt16(at + 6, 0, true);
      at += POLLFD_SIZE;
    }
  }

  /** Calls the objects on whose descriptors something has happened, as far as it still concerns them. */
  #deliver(entries: readonly Entry[]): void {
    const view = new DataView(this.#descriptors.buffer);
    let at = 6;
    for (const entry of entries) {
      const happened = view.getInt16(at, true);
      at += POLLFD_SIZE;
      if (!entry.isWatched || !this.#isRunning) continue;
      if ((happened & POLLNVAL) !== 0) throw new Error(`descriptor ${entry.fd} was closed while it was watched`);
      const events = happened & (entry.events | POLLERR | POLLHUP);
      if (events !== 0) entry.watched.ready(events);
    }
  }
}
