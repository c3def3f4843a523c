/**
 * An API server in a process of its own: for clients in another network namespace, or so that a busy test does not slow it
 * down.
 *
 *   const server = await RemoteApiServer.start({ netns: namespace.path, host: "172.31.0.254" });
 *   await server.call("put", node({ name: "n1" }));
 *   await server.fault("cut", "reset", 3000, { resource: "nodes", times: 1 });
 *   await server.end();
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { RequestRecord } from "./answer.ts";
import type { ApiServer } from "./api-server.ts";
import type { Access } from "./authorization.ts";
import type { Faults } from "./faults.ts";
import type { KubernetesObject } from "./json.ts";
import type { Order, Outcome } from "./serve.ts";
import type { Settings } from "./service.ts";

export interface RemoteOptions {
  /** A path: `/run/netns/NAME`. That of this process if nothing is said. */
  readonly netns?: string;
  readonly host?: string;
  readonly port?: number;
  readonly manifests?: readonly KubernetesObject[];
  /** The server's clock stands still until `advance` moves it. */
  readonly movedClock?: boolean;
}

interface Started {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly caPem: string;
  readonly token: string;
}

type Method = (...args: never[]) => unknown;
/** The names of those members that are methods. */
type MethodOf<T> = { [K in keyof T]: T[K] extends Method ? K : never }[keyof T] & string;
type Arguments<T> = T extends (...args: infer A) => unknown ? A : never;
type Result<T> = T extends (...args: never[]) => infer R ? Awaited<R> : never;

export class RemoteApiServer {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, (outcome: Outcome) => void>();
  #serial = 0;
  #started: Started = { url: "", host: "", port: 0, caPem: "", token: "" };

  private constructor(netns: string | undefined) {
    const script = [process.execPath, join(import.meta.dirname, "serve.ts")];
    const [file = "", ...args] = netns === undefined ? script : ["nsenter", `--net=${netns}`, "--", ...script];
    this.#process = spawn(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"], serialization: "advanced" });
    this.#process.on("message", (outcome: Outcome) => this.#waiting.get(outcome.id)?.(outcome));
    this.#process.on("exit", () => {
      for (const [id, tell] of this.#waiting) tell({ id, error: "the server's process has ended" });
    });
  }

  static async start({ netns, movedClock = false, ...options }: RemoteOptions = {}): Promise<RemoteApiServer> {
    const server = new RemoteApiServer(netns);
    server.#started = (await server.#order("start", "", [{ ...options, moved: movedClock }])) as Started;
    return server;
  }

  get url(): string {
    return this.#started.url;
  }

  get host(): string {
    return this.#started.host;
  }

  get port(): number {
    return this.#started.port;
  }

  get caPem(): string {
    return this.#started.caPem;
  }

  get token(): string {
    return this.#started.token;
  }

  /** A method of ApiServer. */
  async call<K extends MethodOf<ApiServer>>(name: K, ...args: Arguments<ApiServer[K]>): Promise<Result<ApiServer[K]>> {
    return (await this.#order("call", name, args)) as Result<ApiServer[K]>;
  }

  /** Switches a fault on, or `clear`s all. */
  async fault<K extends MethodOf<Faults>>(name: K, ...args: Arguments<Faults[K]>): Promise<void> {
    await this.#order("fault", name, args);
  }

  async set(settings: Partial<Settings>): Promise<void> {
    await this.#order("set", "", [settings]);
  }

  async requests(): Promise<RequestRecord[]> {
    return (await this.#order("read", "requests", [])) as RequestRecord[];
  }

  /** Watches that run. */
  async watches(): Promise<number> {
    return (await this.#order("read", "watches", [])) as number;
  }

  /** What was asked for, to compare with roles. */
  async accesses(): Promise<Access[]> {
    return (await this.#order("read", "accesses", [])) as Access[];
  }

  /** Moves a clock that stands still. */
  async advance(milliseconds: number): Promise<void> {
    await this.#order("advance", "", [milliseconds]);
  }

  /** Ends the process. */
  async end(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.disconnect();
    await exited;
  }

  async #order(what: Order["what"], name: string, args: readonly unknown[]): Promise<unknown> {
    this.#serial++;
    const id = this.#serial;
    const outcome = new Promise<Outcome>((resolve) => this.#waiting.set(id, resolve));
    this.#process.send({ id, what, name, args } satisfies Order);
    const { error, value } = await outcome;
    this.#waiting.delete(id);
    if (error !== undefined) throw new Error(error);
    return value;
  }
}
