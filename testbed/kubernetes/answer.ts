/**
 * An answer as Go's net/http writes it: what is written goes through a buffer of 2,048 bytes. If all of it fits there is a
 * Content-Length; otherwise each time the buffer overflows there is a chunk, and what is larger than the buffer and finds it
 * empty is a chunk by itself. Chunks therefore end anywhere, also inside characters.
 */
import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { reasonPhrase } from "./failure.ts";
import type { Wire } from "./wire.ts";

const BUFFER = 2048;
/** Lists from here on are compressed for clients that accept it. */
const COMPRESSED_FROM = 128 * 1024;

export type Header = readonly [string, string];

/** What is recorded of each request. */
export interface RequestRecord {
  readonly method: string;
  readonly target: string;
  /** When it came, by the server's clock. */
  readonly at: number;
  user: string;
  verb: string;
  /** 0 as long as there is no answer. */
  status: number;
  /** Of the body, without the framing. */
  bytes: number;
  /** Of a watch, with bookmarks. */
  events: number;
  /** Whether the answer has ended, or the connection. */
  ended: boolean;
  readonly headers: ReadonlyMap<string, string>;
}

/** A flow schema and a priority level, as a server with priority and fairness names them. */
const FAIRNESS: readonly Header[] = [
  ["X-Kubernetes-Pf-Flowschema-Uid", randomUUID()],
  ["X-Kubernetes-Pf-Prioritylevel-Uid", randomUUID()],
];

export interface AnswerOptions {
  readonly wire: Wire;
  readonly record: RequestRecord;
  readonly now: () => number;
  /** The connection ends after the answer. */
  readonly close: boolean;
}

export class Answer {
  readonly record: RequestRecord;
  readonly wire: Wire;
  /** Whether the next request may come over the same connection. */
  close: boolean;
  readonly #now: () => number;
  #status = 200;
  #headers: readonly Header[] = [];
  #headSent = false;
  #buffer: Buffer[] = [];
  #buffered = 0;

  constructor({ wire, record, now, close }: AnswerOptions) {
    this.wire = wire;
    this.record = record;
    this.close = close;
    this.#now = now;
  }

  /** Whether anything of it is on its way. */
  get begun(): boolean {
    return this.#headSent;
  }

  /** Says how the answer begins; it is sent with the first bytes. */
  begin(status: number, headers: readonly Header[]): void {
    this.#status = status;
    this.#headers = headers;
    this.record.status = status;
  }

  /** Like bufio.Writer's Write. */
  async write(bytes: Buffer): Promise<void> {
    this.record.bytes += bytes.length;
    let rest = bytes;
    while (rest.length > BUFFER - this.#buffered) {
      if (this.#buffered === 0) {
        await this.#chunk(rest);
        return;
      }
      const fits = BUFFER - this.#buffered;
      this.#buffer.push(rest.subarray(0, fits));
      this.#buffered += fits;
      await this.#overflow();
      rest = rest.subarray(fits);
    }
    if (rest.length > 0) this.#buffer.push(rest);
    this.#buffered += rest.length;
  }

  /** Sends the header if it has not been, and what has been written. */
  async flush(): Promise<void> {
    if (this.#buffered > 0) await this.#overflow();
    else if (!this.#headSent) await this.#head([["Transfer-Encoding", "chunked"]], Buffer.alloc(0));
  }

  /** The last chunk; or, if all fits, everything with its length. */
  async end(): Promise<void> {
    if (!this.#headSent) {
      const body = Buffer.concat(this.#buffer);
      await this.#head([["Content-Length", String(body.length)]], body);
    } else {
      if (this.#buffered > 0) await this.#overflow();
      await this.wire.send(Buffer.from("0\r\n\r\n"));
    }
    this.record.ended = true;
  }

  /** A whole answer with its length, however long. @param claimed a length other than the real one */
  async whole(status: number, headers: readonly Header[], body: Buffer, claimed = body.length): Promise<void> {
    this.begin(status, headers);
    this.record.bytes += body.length;
    await this.#head([["Content-Length", String(claimed)]], body);
    this.record.ended = true;
  }

  get acceptsGzip(): boolean {
    return (this.record.headers.get("accept-encoding") ?? "").split(/\s*,\s*/).includes("gzip");
  }

  /** A list's body, if it is large and the client takes that, or if it is to be `forced`. @returns whether it was sent */
  async compressed(body: Buffer, forced: boolean): Promise<boolean> {
    if (!forced && (!this.acceptsGzip || body.length < COMPRESSED_FROM)) return false;
    const packed = gzipSync(body, { level: 1 });
    this.begin(this.#status, [...this.#headers, ["Content-Encoding", "gzip"], ["Vary", "Accept-Encoding"]]);
    for (let at = 0; at < packed.length; at += BUFFER) await this.write(packed.subarray(at, at + BUFFER));
    await this.end();
    return true;
  }

  /** The header's lines, in the order of Go: by name, then Date, then how the body is framed. */
  headText(framing: readonly Header[]): string {
    const own: Header[] = [
      ["Audit-Id", randomUUID()],
      ["Cache-Control", "no-cache, private"],
      ...(this.#status === 401 ? [] : FAIRNESS),
      ...this.#headers,
    ];
    const lines = [
      ...own.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
      ["Date", new Date(this.#now()).toUTCString()],
      ...framing,
      ...(this.close ? [["Connection", "close"]] : []),
    ];
    const first = `HTTP/1.1 ${this.#status} ${reasonPhrase(this.#status)}\r\n`;
    return `${first}${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
  }

  async #overflow(): Promise<void> {
    const bytes = Buffer.concat(this.#buffer, this.#buffered);
    this.#buffer = [];
    this.#buffered = 0;
    await this.#chunk(bytes);
  }

  async #chunk(bytes: Buffer): Promise<void> {
    const framed = Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]);
    if (this.#headSent) await this.wire.send(framed);
    else await this.#head([["Transfer-Encoding", "chunked"]], framed);
  }

  async #head(framing: readonly Header[], follows: Buffer): Promise<void> {
    this.#headSent = true;
    const withoutBody = this.record.method === "HEAD";
    await this.wire.head(Buffer.from(this.headText(framing)));
    if (follows.length > 0 && !withoutBody) await this.wire.send(follows);
  }
}
