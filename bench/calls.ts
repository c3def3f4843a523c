/** Calls of plugins, timed by bench/timer.c. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";

/** One set of plugins under test, in a network namespace that plays its host. */
export interface Suite {
  readonly side: "podwire" | "reference";
  /** Tells it from others of its side; its namespaces are named after it. */
  readonly name: string;
  /** The backend that its configurations ask for; "" for none. */
  readonly backend: string;
  /** The directory of the executables. */
  readonly directory: string;
  /** Path of the network namespace the plugins run in. */
  readonly host: string;
  /** A directory of its own for leases. */
  readonly state: string;
}

export interface Call {
  readonly suite: Suite;
  readonly plugin: string;
  readonly verb: string;
  /** The configuration on standard input, or null for none. */
  readonly config: object | null;
  readonly containerId: string;
  /** Name of the container's network namespace; each suite has its own set. */
  readonly pod: string;
  /** The file that takes what the plugin prints. */
  readonly output: string;
  /** An exit status of 1 is as good as 0: the plugin has done its work and complains of something else. */
  readonly mayComplain?: boolean;
}

/** What came of a call. */
export interface Timing {
  readonly call: Call;
  readonly ns: number;
  readonly rssKb: number;
  readonly status: number;
}

let scratch = "";
let timer = "";
let inputs = 0;

/** Compiles the timer and keeps a directory for the calls' input. Call it first. */
export async function prepareTimer(source: string, directory: string): Promise<void> {
  scratch = directory;
  timer = join(directory, "timer");
  mkdirSync(directory, { recursive: true });
  await execa("zig", [
    "cc",
    "-target",
    `${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-musl`,
    "-O2",
    source,
    "-o",
    timer,
  ]);
}

function line(call: Call): string {
  const fields = [call.suite.host, inputOf(call), call.output, join(call.suite.directory, call.plugin)];
  return [...fields, ...Object.entries(environmentOf(call)).map(([name, value]) => `${name}=${value}`)].join("\t");
}

/** Writes the configuration of a call to a file and returns its path. */
export function inputOf(call: Call): string {
  if (call.config === null) return "/dev/null";
  inputs += 1;
  const path = join(scratch, `input-${inputs}.json`);
  writeFileSync(path, JSON.stringify(call.config));
  return path;
}

export function environmentOf(call: Call): Record<string, string> {
  return {
    CNI_COMMAND: call.verb,
    CNI_CONTAINERID: call.containerId,
    CNI_NETNS: `/run/netns/${call.pod}`,
    CNI_IFNAME: "eth0",
    CNI_PATH: call.suite.directory,
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
  };
}

/**
 * Makes the calls one after another, in the given order; throws if one fails.
 * @param mode `together` starts all at once
 * @returns a timing for each call and, of `together`, the time in ns from the first start to the last end
 */
export async function run(calls: readonly Call[], mode: "each" | "together" = "each"): Promise<[Timing[], number]> {
  const input = `${calls.map(line).join("\n")}\n`;
  const { stdout, stderr } = await execa(timer, [mode], { input, timeout: 240_000 });
  const rows = stdout.split("\n").map((row) => row.split("\t").map(Number));
  const timings = calls.map((call, index) => {
    const [ns = 0, rssKb = 0, status = -1] = rows[index] ?? [];
    return { call, ns, rssKb, status };
  });
  const bad = timings.filter(({ call, status }) => status !== 0 && !(status === 1 && call.mayComplain === true));
  if (bad[0] !== undefined) {
    const { suite, plugin, verb, output } = bad[0].call;
    const { stdout: text } = await execa("cat", [output], { reject: false });
    throw new Error(
      `${bad.length} of ${calls.length} calls failed, first ${suite.name} ${plugin} ${verb} ` +
        `with status ${bad[0].status}: ${text} ${stderr}`,
    );
  }
  return [timings, rows[calls.length]?.[0] ?? 0];
}

/** Processes started and system calls made by one call, as strace counts them. */
export async function trace(call: Call): Promise<{ processes: number; systemCalls: number }> {
  const log = join(scratch, "strace.log");
  const { exitCode, stdout } = await execa(
    "nsenter",
    [`--net=${call.suite.host}`, "strace", "-f", "-qq", "-o", log, join(call.suite.directory, call.plugin)],
    { env: environmentOf(call), extendEnv: false, inputFile: inputOf(call), reject: false },
  );
  if (exitCode !== 0 && call.mayComplain !== true)
    throw new Error(`${call.suite.name} ${call.verb} failed under strace: ${stdout}`);
  writeFileSync(call.output, stdout);
  const { stdout: text } = await execa("cat", [log], { maxBuffer: 1e9 });
  const lines = text.split("\n").filter((row) => /^\d+ /.test(row) && !/^\d+ +[-+]{3}/.test(row));
  const started = lines.filter((row) => /^\d+ +(<\.\.\. )?execve(at)?( resumed>|\().* = 0$/.test(row));
  return { processes: started.length, systemCalls: lines.filter((row) => !row.includes(" resumed>")).length };
}

/** The median of a non-empty list. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
  return (lower + upper) / 2;
}
