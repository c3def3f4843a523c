/** Calling a plugin as a container runtime does. Nothing here needs a test runner. */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Netns } from "./netns.ts";
import { type Execution, execute } from "./starter.ts";

export const repository = resolve(fileURLToPath(new URL("..", import.meta.url)));
/** Where the executables under test are. */
export const binDirectory = resolve(process.env.PODWIRE_BIN ?? join(repository, "bin"));
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

export interface CallResult extends Execution {
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
  const timeoutMs = (options.timeoutMs ?? 30_000) * patience;
  const program = await execute({ file: file ?? executable, args, env, stdin, timeoutMs });
  return { ...program, json: parseObject(program.stdout), durationMs: performance.now() - started };
}

export interface RunOptions {
  /** What to write on stdin. */
  readonly input?: string;
  readonly cwd?: string;
  readonly timeout?: number;
  /** Whether a failure of the program is one of the call: yes, if left out. */
  readonly reject?: boolean;
}

/** Runs a program of the machine in our environment. @throws Error with what it printed if it fails */
export async function runProgram(file: string, args: readonly string[], options: RunOptions = {}): Promise<Execution> {
  const timeoutMs = (options.timeout ?? 60_000) * patience;
  const { input = "", cwd } = options;
  const done = await execute({ file, args, env: process.env, stdin: input, timeoutMs, cwd });
  if (done.exitCode === 0 || options.reject === false) return done;
  const ended = done.exitCode === null ? (done.signal ?? "did not start") : `status ${done.exitCode}`;
  throw new Error(`${[file, ...args].join(" ")} (${ended}): ${done.stderr.trim()}\n${done.stdout}`);
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
