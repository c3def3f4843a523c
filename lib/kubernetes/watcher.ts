/** Runs a watch on a connection of its own: what `Watch` says is next, after its pauses, for ever. */
import { Timed } from "../loop/timers.ts";
import { type Connection, Exchange } from "./connection.ts";
import type { Request } from "./http-request.ts";
import type { ResponseHead } from "./http-response.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Watch } from "./watch.ts";

/** A timer that starts the next request. */
class Pause extends Timed {
  readonly #watcher: Watcher;

  constructor(watcher: Watcher) {
    super();
    this.#watcher = watcher;
  }

  due(): void {
    this.#watcher.send();
  }
}

export class Watcher extends Exchange {
  readonly #watch: Watch;
  readonly #connection: Connection;
  readonly #scheduler: Scheduler;
  readonly #pause: Pause;
  #request: Request | null = null;

  constructor(watch: Watch, connection: Connection, scheduler: Scheduler) {
    super();
    this.#watch = watch;
    this.#connection = connection;
    this.#scheduler = scheduler;
    this.#pause = new Pause(this);
  }

  /** Begins. The watch goes on until `stop`. */
  start(): void {
    const { waitMs, request } = this.#watch.next();
    this.#request = request;
    this.#scheduler.after(waitMs, this.#pause);
  }

  stop(): void {
    this.#scheduler.cancel(this.#pause);
    this.#connection.close();
  }

  /** Sends the request for which there was a pause. */
  send(): void {
    if (this.#request === null) return;
    this.#watch.sent(this.#scheduler.now());
    this.#connection.start(this.#request, this);
  }

  head(head: ResponseHead): void {
    this.#watch.head(head, this.#scheduler.now());
  }

  body(bytes: Uint8Array, start: number, end: number): boolean {
    return this.#watch.body(bytes, start, end, this.#scheduler.now());
  }

  complete(): void {
    this.#watch.complete(this.#scheduler.now());
    this.start();
  }

  stopped(): void {
    this.#watch.stopped(this.#scheduler.now());
    this.start();
  }

  broken(reason: string): void {
    this.#watch.broken(reason, this.#scheduler.now());
    this.start();
  }

  remainingMs(): number {
    return this.#watch.remainingMs(this.#scheduler.now());
  }

  timedOut(): void {
    this.#watch.timedOut(this.#scheduler.now());
    this.start();
  }
}
