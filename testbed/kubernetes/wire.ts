/** A connection's way out: bytes as they are, counted, slowed down or cut off. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

/**
 * How a connection ends before its time: `close_notify` is orderly for TLS, though in the middle of an answer; `fin` is the
 * end of TCP without it, `reset` is an RST, `hang` says nothing more and keeps the connection.
 */
export type Cut = "close_notify" | "fin" | "reset" | "hang";

export interface Impairment {
  readonly bytesPerSecond?: number;
  /** Cut after so many bytes that follow the header, wherever that is in a chunk. */
  readonly cutAfter?: number;
  readonly cut?: Cut;
}

/** Thrown where something is sent over a connection that is gone. */
export class Gone extends Error {
  constructor() {
    super("the connection is gone");
  }
}

/** A slow connection sends so often. */
const TICK_MS = 50;

export class Wire {
  readonly tls: TLSSocket;
  readonly #raw: Socket;
  #impairment: Impairment = {};
  #left = Number.POSITIVE_INFINITY;
  #gone = false;
  readonly #whenGone = new Set<() => void>();

  /** @param raw the TCP connection below */
  constructor(tls: TLSSocket, raw: Socket) {
    this.tls = tls;
    this.#raw = raw;
    tls.on("error", () => this.#leave());
    tls.on("close", () => this.#leave());
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Calls when the connection ends, or at once if it has; until the returned function is called. */
  onGone(call: () => void): () => void {
    if (this.#gone) call();
    else this.#whenGone.add(call);
    return () => void this.#whenGone.delete(call);
  }

  /** What follows is slowed down or cut. */
  impair(impairment: Impairment): void {
    this.#impairment = impairment;
    this.#left = impairment.cutAfter ?? Number.POSITIVE_INFINITY;
  }

  /** Sends a header, which is not cut. @throws Gone */
  head(bytes: Uint8Array): Promise<void> {
    return this.#paced(bytes);
  }

  /** Resolves when more can be sent. @throws Gone */
  async send(bytes: Uint8Array): Promise<void> {
    if (this.#gone) throw new Gone();
    const allowed = Math.min(bytes.length, this.#left);
    this.#left -= allowed;
    await this.#paced(bytes.subarray(0, allowed));
    if (this.#left > 0) return;
    await this.breakOff(this.#impairment.cut ?? "fin");
    throw new Gone();
  }

  /** Ends the connection in an orderly way: close_notify, then FIN. */
  end(): void {
    this.tls.end();
  }

  /** Ends it in one of the ways of a network that fails, after what has been sent already. */
  async breakOff(cut: Cut): Promise<void> {
    if (this.#gone) return;
    await new Promise<void>((resolve) => void this.tls.write("", () => resolve()));
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    if (cut === "reset") this.#raw.resetAndDestroy();
    else if (cut === "fin") this.#raw.destroy();
    else if (cut === "close_notify") this.tls.end();
    else await new Promise<void>((resolve) => void this.onGone(resolve));
  }

  async #paced(bytes: Uint8Array): Promise<void> {
    const rate = this.#impairment.bytesPerSecond;
    if (rate === undefined) return this.#write(bytes);
    const step = Math.max(1, Math.round((rate * TICK_MS) / 1000));
    for (let at = 0; at < bytes.length; at += step) {
      await this.#write(bytes.subarray(at, at + step));
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
  }

  #write(bytes: Uint8Array): Promise<void> {
    if (this.#gone) return Promise.reject(new Gone());
    if (bytes.length === 0 || this.tls.write(bytes)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const stop = this.onGone(() => {
        this.tls.off("drain", drained);
        reject(new Gone());
      });
      const drained = (): void => {
        stop();
        resolve();
      };
      this.tls.once("drain", drained);
    });
  }

  #leave(): void {
    this.#gone = true;
    for (const call of this.#whenGone) call();
    this.#whenGone.clear();
  }
}
