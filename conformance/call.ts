/** Calling a plugin as a container runtime does. Nothing here needs a test runner. */
import { type SpawnOptionsWithoutStdio, spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Netns } from "./netns.ts";

export const repository = resolve(fileURLToPath(new URL("..", import.meta.url)));
/** Where the executables under test are. */
export const binDirectory = resolve(process.env.PODWIRE_BIN ?? join(repository, "bin"));
const GRACE_MS = 5000;
/** How many times longer things may take: an emulated machine is slow. */
export const patience = Number(process.env.PODWIRE_PATIENCE ?? "1");

export type JsonObject = { [key: string]: unknown };

/** One call of a plugin. What is left out is not set in the plugin's environment. */
export interface CallOptions {
  /** The executable's name in `bin`, or an absolute path. */
  readonly plugin: string;
  readonly command?: string;
  readonly containerId?: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly args?: string;
  /** CNI_PATH; the directory of the plugin if left out, not set at all if null. */
  readonly path?: string | null;
  /** The configuration, to be written as JSON. */
  readonly config?: unknown;
  /** What to write on stdin instead of `config`. */
  readonly stdin?: string | Uint8Array;
  /** Arguments on the command line, which no runtime gives. */
  readonly words?: readonly string[];
  /** The directory of the executables: `binDirectory` if left out. */
  readonly bin?: string;
  /** Further environment variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** The namespace the plugin itself runs in: stands for the host. The machine's own if left out. */
  readonly inside?: Netns;
  /** A program with arguments that starts the plugin: strace. */
  readonly through?: readonly string[];
  readonly timeoutMs?: number;
}

export interface CallResult {
  /** The exit status; null if a signal ended the plugin. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  /** What stdout holds; undefined if that is not exactly one JSON document. */
  readonly json: JsonObject | undefined;
  readonly durationMs: number;
}

/** Calls a plugin and waits for its end. Never throws because of what the plugin does. */
export async function call(options: CallOptions): Promise<CallResult> {
  const bin = options.bin ?? binDirectory;
  const executable = options.plugin.startsWith("/") ? options.plugin : join(bin, options.plugin);
  const enter = options.inside === undefined ? [] : ["/usr/bin/nsenter", `--net=${options.inside.path}`, "--"];
  const [file, ...args] = [...enter, ...(options.through ?? []), executable, ...(options.words ?? [])];
  const stdin = options.stdin ?? (options.config === undefined ? "" : JSON.stringify(options.config));
  const started = performance.now();
  const env = callEnvironment(options, bin);
  const program = await execute(file ?? executable, args, env, stdin, (options.timeoutMs ?? 30_000) * patience);
  return { ...program, json: parseObject(program.stdout), durationMs: performance.now() - started };
}

/** How a program ended, and what it said. */
export type Execution = Pick<CallResult, "exitCode" | "signal" | "stdout" | "stderr">;

/**
 * Runs a program to its end. Without the conveniences of execa, which cost several times what a plugin does: suites start
 * tens of thousands of programs. Never throws because of what the program does.
 */
export async function execute(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin: string | Uint8Array,
  timeoutMs: number,
): Promise<Execution> {
  return new Promise((done) => {
    const failed = (error: Error): void => done({ exitCode: null, signal: null, stdout: "", stderr: error.message });
    const child = spawned(file, args, { env: { ...env }, timeout: timeoutMs });
    if (child instanceof Error) return failed(child);
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => errors.push(chunk));
    /* A plugin need not read what it is given. */
    child.stdin.on("error", () => {});
    child.stdin.end(stdin);
    const text = (chunks: readonly Buffer[]): string => Buffer.concat(chunks).toString();
    /* It gets SIGTERM in time; this is for one that does not heed it. */
    const last = setTimeout(() => child.kill("SIGKILL"), timeoutMs + GRACE_MS);
    child.on("error", (error) => {
      clearTimeout(last);
      failed(error);
    });
    child.on("close", (exitCode, signal) => {
      clearTimeout(last);
      done({ exitCode, signal, stdout: text(output), stderr: text(errors) });
    });
  });
}

/** What cannot be an argument at all, such as a text with a NUL, is an error of the program's start. */
function spawned(file: string, args: readonly string[], options: SpawnOptionsWithoutStdio) {
  try {
    return spawn(file, args, options);
  } catch (error) {
    return error as Error;
  }
}

/** The environment that `call` gives the plugin. */
export function callEnvironment(options: CallOptions, bin: string): Record<string, string> {
  const env: Record<string, string> = {};
  const put = (name: string, value: string | undefined): void => {
    if (value !== undefined) env[name] = value;
  };
  put("CNI_COMMAND", options.command);
  put("CNI_CONTAINERID", options.containerId);
  put("CNI_NETNS", options.netns);
  put("CNI_IFNAME", options.ifname);
  put("CNI_ARGS", options.args);
  if (options.path !== null) env.CNI_PATH = options.path ?? bin;
  /* The reference plugins look for iptables and nft there. */
  env.PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
  return { ...env, ...options.env };
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}
