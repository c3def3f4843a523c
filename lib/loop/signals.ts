/** Signals as events of the loop. */
import { EAGAIN } from "../sys/errno.ts";
import { holdSignals, SIGNAL_SIZE, signalBit, signalDescriptor } from "../sys/loop.ts";
import { close, must, POLLIN, read } from "../sys/sys.ts";
import { type Loop, Watched } from "./loop.ts";

export abstract class SignalHandler {
  /** @param signal its number: SIGTERM, ... */
  abstract received(signal: number): void;
}

/** From the time it is made, signals do nothing but call a handler from the loop. Two of a kind may come as one. */
export class Signals extends Watched {
  readonly #loop: Loop;
  readonly #handler: SignalHandler;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(SIGNAL_SIZE);

  /** @throws SystemError */
  constructor(loop: Loop, signals: readonly number[], handler: SignalHandler) {
    super();
    let mask = 0;
    for (const signal of signals) mask = (mask | signalBit(signal)) >>> 0;
    must(holdSignals(mask), "hold signals");
    this.#loop = loop;
    this.#handler = handler;
    this.#fd = must(signalDescriptor(mask), "open a descriptor for signals");
    loop.watch(this.#fd, POLLIN, this);
  }

  override ready(_events: number): void {
    const length = read(this.#fd, this.#buffer, 0, SIGNAL_SIZE);
    if (length === -EAGAIN) return;
    must(length, "read a signal");
    this.#handler.received(new DataView(this.#buffer.buffer).getUint32(0, true));
  }

  /** The signals stay held. */
  close(): void {
    this.#loop.unwatch(this.#fd);
    close(this.#fd);
  }
}
