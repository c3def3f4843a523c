/** HTTP/1.1 over one connection: requests are read one after the other, and each is answered before the next is read. */
import type { Wire } from "./wire.ts";

export interface Request {
  readonly method: string;
  /** The path and the query, as they stand there. */
  readonly target: string;
  /** With names in small letters; of a repeated one the last. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  /** Whether the client wants the connection closed. */
  readonly close: boolean;
  /** The body is larger than the limit and was not kept. */
  readonly tooLarge: boolean;
}

/** A header may have so many bytes. */
const HEAD_LIMIT = 1024 * 1024;
export const BODY_LIMIT = 3 * 1024 * 1024;

/** A request that is no HTTP: the connection ends with this line. */
class Malformed extends Error {}

export interface ReaderTimes {
  /** For the first byte of the first request, and for each header, ms. */
  readonly header: number;
  /** For the next request of a connection that has had one, ms. */
  readonly idle: number;
}

export class RequestReader {
  readonly #wire: Wire;
  readonly #times: ReaderTimes;
  #pending: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => undefined;
  #requests = 0;

  constructor(wire: Wire, times: ReaderTimes) {
    this.#wire = wire;
    this.#times = times;
    wire.tls.on("data", (bytes: Buffer) => {
      this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
      this.#wake();
    });
    wire.tls.on("end", () => this.#finish());
    wire.onGone(() => this.#finish());
  }

  /** The next request; null when there is none any more, after which the connection is to be closed. */
  async next(): Promise<Request | null> {
    const idle = setTimeout(() => this.#finish(), this.#requests === 0 ? this.#times.header : this.#times.idle);
    try {
      if (!(await this.#until(() => this.#pending.length > 0))) return null;
      this.#requests++;
      return await this.#read();
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      await this.#refuse(error.message);
      return null;
    } finally {
      clearTimeout(idle);
    }
  }

  async #read(): Promise<Request | null> {
    const patience = setTimeout(() => this.#finish(), this.#times.header);
    const complete = await this.#until(() => this.#pending.includes("\r\n\r\n") || this.#pending.length > HEAD_LIMIT);
    clearTimeout(patience);
    if (!complete) return null;
    const end = this.#pending.indexOf("\r\n\r\n");
    if (end < 0) throw new Malformed("431 Request Header Fields Too Large");
    const head = this.#take(end + 4).toString("latin1");
    const [first = "", ...lines] = head.slice(0, -4).split("\r\n");
    const words = /^([A-Z]+) (\S+) HTTP\/1\.([01])$/.exec(first);
    if (words === null) throw new Malformed("400 Bad Request");
    const headers = headersOf(lines);
    if (!headers.has("host") && words[3] === "1") throw new Malformed("400 Bad Request: missing required Host header");
    const close = headers.get("connection")?.toLowerCase() === "close" || words[3] === "0";
    const body = await this.#body(headers);
    if (body === null) return null;
    const tooLarge = body.length > BODY_LIMIT;
    return { method: words[1] ?? "", target: words[2] ?? "", headers, close, tooLarge, body };
  }

  async #body(headers: ReadonlyMap<string, string>): Promise<Buffer | null> {
    if (headers.get("transfer-encoding")?.toLowerCase() === "chunked") return this.#chunks();
    const length = Number(headers.get("content-length") ?? "0");
    if (!Number.isInteger(length) || length < 0) throw new Malformed("400 Bad Request");
    if (!(await this.#until(() => this.#pending.length >= length))) return null;
    return this.#take(length);
  }

  async #chunks(): Promise<Buffer | null> {
    const parts: Buffer[] = [];
    for (;;) {
      if (!(await this.#until(() => this.#pending.includes("\r\n")))) return null;
      const line = this.#take(this.#pending.indexOf("\r\n") + 2).toString("latin1");
      const size = Number.parseInt(line, 16);
      if (!/^[0-9a-fA-F]+/.test(line)) throw new Malformed("400 Bad Request");
      if (!(await this.#until(() => this.#pending.length >= size + 2))) return null;
      parts.push(this.#take(size));
      this.#take(2);
      if (size === 0) return Buffer.concat(parts);
    }
  }

  #take(count: number): Buffer {
    const taken = this.#pending.subarray(0, count);
    this.#pending = this.#pending.subarray(count);
    return taken;
  }

  /** Resolves to true when the condition holds, to false when nothing more comes. */
  async #until(holds: () => boolean): Promise<boolean> {
    while (!holds()) {
      if (this.#ended) return false;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return true;
  }

  #finish(): void {
    this.#ended = true;
    this.#wake();
  }

  async #refuse(line: string): Promise<void> {
    const head = `HTTP/1.1 ${line}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n`;
    await this.#wire.send(Buffer.from(head + line));
  }
}

function headersOf(lines: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon <= 0) throw new Malformed("400 Bad Request");
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return headers;
}
