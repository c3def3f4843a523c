/**
 * Replays recordings of a real kube-apiserver over TLS, byte by byte: what stands in a file is what a client gets, with the
 * times between chunks or as fast as possible, and with the end that was recorded.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { type TLSSocket, Server as TlsServer } from "node:tls";
import { Authority } from "./certificates.ts";
import { RequestReader } from "./connection.ts";
import { Gone, Wire } from "./wire.ts";

/** Where the recordings of the tests lie; data/kubernetes-api has hundreds more. */
const RECORDINGS = join(import.meta.dirname, "recordings");

/** One exchange. */
export interface Recording {
  readonly name: string;
  readonly note: string;
  readonly request: { method: string; target: string; headers: [string, string][]; body: string | null };
  readonly response: {
    readonly statusLine: string;
    readonly status: number;
    readonly headers: [string, string][];
    readonly framing: "chunked" | "length" | "until close" | "none";
    /** Milliseconds since the request; what came; how much the chunk's header had announced, if it never came whole. */
    readonly chunks: [number, string | { b64: string }, { announced: number }?][];
    readonly end: { ms: number; how: string };
    readonly bodyBytes: number;
  };
}

/** A recording of the tests, or of another directory. @param name without `.json` */
export async function recording(name: string, directory = RECORDINGS): Promise<Recording> {
  return JSON.parse(await readFile(join(directory, `${name}.json`), "utf8")) as Recording;
}

/** The bytes of a chunk. */
export function chunkBytes(chunk: string | { b64: string }): Buffer {
  return typeof chunk === "string" ? Buffer.from(chunk) : Buffer.from(chunk.b64, "base64");
}

/** The whole body. */
export function bodyOf({ response }: Recording): Buffer {
  return Buffer.concat(response.chunks.map(([, chunk]) => chunkBytes(chunk)));
}

export interface ReplayOptions {
  /** How many times faster than recorded; Infinity, if nothing is said, for as fast as possible. */
  readonly speed?: number;
  readonly authority?: Authority;
}

/** Answers each request with the next recording, whatever was asked for. */
export class ReplayServer {
  readonly authority: Authority;
  /** What clients asked for. */
  readonly requests: string[] = [];
  readonly #speed: number;
  readonly #listener: Server;
  readonly #left: Recording[];
  readonly #sockets = new Map<string, Socket>();

  private constructor(recordings: readonly Recording[], authority: Authority, speed: number, tls: TlsServer) {
    this.authority = authority;
    this.#speed = speed;
    this.#left = [...recordings];
    tls.on("secureConnection", (socket) => void this.#secured(socket));
    tls.on("tlsClientError", () => undefined);
    this.#listener = createServer((raw) => {
      const place = `${raw.remoteAddress} ${raw.remotePort}`;
      this.#sockets.set(place, raw);
      raw.on("error", () => undefined);
      raw.on("close", () => this.#sockets.delete(place));
      tls.emit("connection", raw);
    });
  }

  static async start(recordings: readonly Recording[], options: ReplayOptions = {}): Promise<ReplayServer> {
    const authority = options.authority ?? (await Authority.create());
    const names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
    const { certificate, key } = await authority.issue({ name: "kube-apiserver", use: "server", names });
    const tls = new TlsServer({ cert: certificate, key, minVersion: "TLSv1.2", ALPNProtocols: ["http/1.1"] });
    const server = new ReplayServer(recordings, authority, options.speed ?? Number.POSITIVE_INFINITY, tls);
    server.#listener.listen(0, "127.0.0.1");
    await once(server.#listener, "listening");
    return server;
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    const closed = once(this.#listener, "close");
    this.#listener.close();
    for (const socket of this.#sockets.values()) socket.destroy();
    await closed;
  }

  async #secured(socket: TLSSocket): Promise<void> {
    const raw = this.#sockets.get(`${socket.remoteAddress} ${socket.remotePort}`);
    if (raw === undefined) return void socket.destroy();
    const wire = new Wire(socket, raw);
    const reader = new RequestReader(wire, { header: 32_000, idle: 90_000 });
    try {
      for (let request = await reader.next(); request !== null; request = await reader.next()) {
        this.requests.push(`${request.method} ${request.target}`);
        const next = this.#left.shift();
        if (next === undefined) break;
        await this.#play(wire, next);
      }
      wire.end();
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
    }
  }

  async #play(wire: Wire, { response }: Recording): Promise<void> {
    const start = Date.now();
    const head = response.headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    await wire.send(Buffer.from(`${response.statusLine}\r\n${head}\r\n`));
    for (const [ms, chunk, cut] of response.chunks) {
      await this.#until(start, ms);
      const bytes = chunkBytes(chunk);
      if (response.framing !== "chunked") await wire.send(bytes);
      else {
        const size = (cut?.announced ?? bytes.length).toString(16);
        const end = Buffer.from(cut === undefined ? "\r\n" : "");
        await wire.send(Buffer.concat([Buffer.from(`${size}\r\n`), bytes, end]));
      }
    }
    await this.#until(start, response.end.ms);
    await this.#end(wire, response.end.how);
  }

  async #end(wire: Wire, how: string): Promise<void> {
    if (how === "last chunk") return wire.send(Buffer.from("0\r\n\r\n"));
    if (how === "length reached") return;
    if (how.startsWith("client")) await new Promise<void>((resolve) => void wire.onGone(resolve));
    else await wire.breakOff(how === "close_notify" ? "close_notify" : how === "reset" ? "reset" : "fin");
    throw new Gone();
  }

  async #until(start: number, ms: number): Promise<void> {
    const wait = start + ms / this.#speed - Date.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
