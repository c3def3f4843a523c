/** One request over TLS, and the answer as the recordings have it: with each chunk by itself, and how it ended. */
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";

export interface RawRequest {
  readonly method?: string;
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface RawAnswer {
  readonly statusLine: string;
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly framing: "chunked" | "length" | "none";
  /** One for each HTTP chunk; with a Content-Length one for the body. */
  readonly chunks: readonly Buffer[];
  /** What came of a chunk or a body that did not come whole. */
  readonly rest: Buffer;
  readonly end: "last chunk" | "length reached" | "closed";
}

export interface RawPlace {
  readonly host: string;
  readonly port: number;
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
  readonly maxVersion?: "TLSv1.2" | "TLSv1.3";
}

export class RawClient {
  readonly #socket: TLSSocket;
  #pending: Buffer = Buffer.alloc(0);
  #closed = false;
  #wake: () => void = () => undefined;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#pending = Buffer.concat([this.#pending, bytes]);
      this.#wake();
    });
    for (const event of ["end", "close", "error"]) {
      socket.on(event, () => {
        this.#closed = true;
        this.#wake();
      });
    }
  }

  /** @throws Error of TLS or of the connection */
  static async connect({ host, port, ca, ...others }: RawPlace): Promise<RawClient> {
    const socket = connect({
      host,
      port,
      ca,
      servername: "kubernetes.default.svc",
      ALPNProtocols: ["http/1.1"],
      ...others,
    });
    await once(socket, "secureConnect");
    return new RawClient(socket);
  }

  get tlsVersion(): string | null {
    return this.#socket.getProtocol();
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Sends bytes as they are. */
  send(text: string): void {
    this.#socket.write(text);
  }

  /** So many bytes as they are, or fewer if the connection ends before. */
  async text(length: number): Promise<string> {
    await this.#until(() => this.#pending.length >= length);
    return this.#take(this.#pending.length).toString();
  }

  async exchange(request: RawRequest): Promise<RawAnswer> {
    const { method = "GET", target, headers = {}, body } = request;
    const all = {
      Host: "kubernetes.default.svc",
      ...headers,
      ...(body === undefined ? {} : { "Content-Length": String(Buffer.byteLength(body)) }),
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    this.send(`${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n${body ?? ""}`);
    return this.answer();
  }

  /** The next answer, until it has ended or the connection. */
  async answer(): Promise<RawAnswer> {
    if (!(await this.#until(() => this.#pending.includes("\r\n\r\n")))) {
      return {
        statusLine: "",
        status: 0,
        headers: [],
        framing: "none",
        chunks: [],
        rest: this.#pending,
        end: "closed",
      };
    }
    const head = this.#take(this.#pending.indexOf("\r\n\r\n") + 4).toString("latin1");
    const [statusLine = "", ...lines] = head.slice(0, -4).split("\r\n");
    const headers = lines.map((line): [string, string] => {
      const colon = line.indexOf(": ");
      return [line.slice(0, colon), line.slice(colon + 2)];
    });
    const common = { statusLine, status: Number(statusLine.split(" ")[1]), headers };
    const length = headers.find(([name]) => name === "Content-Length")?.[1];
    if (length === undefined) return { ...common, framing: "chunked", ...(await this.#chunks()) };
    const complete = await this.#until(() => this.#pending.length >= Number(length));
    const chunks = complete ? [this.#take(Number(length))] : [];
    return {
      ...common,
      framing: "length",
      chunks,
      rest: complete ? Buffer.alloc(0) : this.#pending,
      end: complete ? "length reached" : "closed",
    };
  }

  async #chunks(): Promise<{ chunks: Buffer[]; rest: Buffer; end: "last chunk" | "closed" }> {
    const chunks: Buffer[] = [];
    for (;;) {
      if (!(await this.#until(() => this.#pending.includes("\r\n")))) break;
      const line = this.#pending.indexOf("\r\n") + 2;
      const size = Number.parseInt(this.#pending.subarray(0, line).toString("latin1"), 16);
      if (!(await this.#until(() => this.#pending.length >= line + size + 2))) break;
      this.#take(line);
      if (size > 0) chunks.push(Buffer.from(this.#take(size)));
      this.#take(2);
      if (size === 0) return { chunks, rest: Buffer.alloc(0), end: "last chunk" };
    }
    return { chunks, rest: this.#pending, end: "closed" };
  }

  #take(count: number): Buffer {
    const taken = this.#pending.subarray(0, count);
    this.#pending = this.#pending.subarray(count);
    return taken;
  }

  async #until(holds: () => boolean): Promise<boolean> {
    while (!holds()) {
      if (this.#closed) return false;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return true;
  }
}
