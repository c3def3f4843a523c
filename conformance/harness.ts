/**
 * Shared by all black-box suites: calling a plugin as a runtime does, network namespaces to do it in, and the check that
 * the answer is what the specification asks of every answer.
 *
 * Everything a suite makes lies in namespaces named `pwt-<pid>-...` and in temporary directories, so that the machine
 * stays as it is and leftovers of a killed run are recognised and removed by the next one.
 */
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { execa, type Options } from "execa";
import { expect } from "vitest";
import { ownerIsAlive, ownerOf } from "./machine.ts";

export { machineState } from "./machine.ts";

export const repository = resolve(fileURLToPath(new URL("..", import.meta.url)));
/** Where the executables under test are. */
export const binDirectory = resolve(process.env.PODWIRE_BIN ?? join(repository, "bin"));
/** Where the plugins of the reference suite are, to compare with. */
export const referenceDirectory = process.env.PODWIRE_REFERENCE ?? "/usr/lib/cni";

export const VERSIONS: readonly string[] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

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
  /** The directory of the executables: `binDirectory` if left out. */
  readonly bin?: string;
  /** Further environment variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** The namespace the plugin itself runs in: stands for the host. The machine's own if left out. */
  readonly inside?: Netns;
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
  const [file, ...args] =
    options.inside === undefined
      ? [executable]
      : ["/usr/bin/nsenter", `--net=${options.inside.path}`, "--", executable];
  const stdin = options.stdin ?? (options.config === undefined ? "" : JSON.stringify(options.config));
  const started = performance.now();
  const result = await execa(file ?? executable, args, {
    env: callEnvironment(options, bin),
    extendEnv: false,
    input: stdin,
    reject: false,
    stripFinalNewline: false,
    timeout: options.timeoutMs ?? 30_000,
  });
  const stdout = String(result.stdout ?? "");
  return {
    exitCode: result.exitCode ?? null,
    signal: result.signal ?? null,
    stdout,
    stderr: String(result.stderr ?? ""),
    json: parseObject(stdout),
    durationMs: performance.now() - started,
  };
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

/** What an error must be; what is left out may be anything. */
export interface ExpectedError {
  readonly code: number;
  readonly msg?: string | RegExp;
  readonly details?: string | RegExp;
  readonly cniVersion?: string;
}

/**
 * Asserts that a call failed as the specification has it: exit status 1, one JSON document on stdout that holds
 * cniVersion, an integer code and a message, no more than these and details.
 */
export function expectError(result: CallResult, expected: ExpectedError): void {
  const shown = `stdout: ${result.stdout.slice(0, 2000)}\nstderr: ${result.stderr.slice(0, 2000)}`;
  expect(result.signal, shown).toBeNull();
  expect(result.exitCode, shown).toBe(1);
  expect(result.json, `one JSON object expected\n${shown}`).toBeDefined();
  const error = result.json ?? {};
  expect(error.code, shown).toBe(expected.code);
  expect(error.cniVersion, shown).toBeTypeOf("string");
  expect(error.msg, shown).toBeTypeOf("string");
  expect(error.msg, shown).not.toBe("");
  for (const key of Object.keys(error)) expect(["cniVersion", "code", "msg", "details"]).toContain(key);
  for (const key of ["msg", "details", "cniVersion"] as const) {
    const wanted = expected[key];
    if (wanted instanceof RegExp) expect(error[key], shown).toMatch(wanted);
    else if (wanted !== undefined) expect(error[key], shown).toBe(wanted);
  }
}

/** Asserts that a call succeeded and said nothing else than, for ADD and VERSION, one JSON document. */
export function expectSuccess(result: CallResult): JsonObject {
  const shown = `stdout: ${result.stdout.slice(0, 2000)}\nstderr: ${result.stderr.slice(0, 2000)}`;
  expect(result.signal, shown).toBeNull();
  expect(result.exitCode, shown).toBe(0);
  if (result.stdout === "") return {};
  expect(result.json, `one JSON object expected\n${shown}`).toBeDefined();
  return result.json ?? {};
}

let serial = 0;

/** A network namespace of its own, named by `ip netns`. */
export class Netns {
  readonly name: string;
  /** What a runtime passes as CNI_NETNS. */
  readonly path: string;

  private constructor(name: string) {
    this.name = name;
    this.path = `/run/netns/${name}`;
  }

  /** @param label appears in the name, at most a few letters */
  static async create(label = "pod"): Promise<Netns> {
    serial += 1;
    const unique = Math.floor(Math.random() * 0xffff).toString(16);
    const namespace = new Netns(`pwt-${process.pid}-${label}-${serial}-${unique}`);
    await execa("ip", ["netns", "add", namespace.name]);
    return namespace;
  }

  /** Removes it; the interfaces in it go with it. Removing twice is no failure. */
  async remove(): Promise<void> {
    await execa("ip", ["netns", "del", this.name], { reject: false });
  }

  /** Runs a command inside; fails if the command does. */
  async exec(command: string, args: readonly string[] = [], options: Options = {}): Promise<string> {
    const result = await execa("nsenter", [`--net=${this.path}`, "--", command, ...args], options);
    return String(result.stdout ?? "");
  }

  /** Runs `ip ARGS` inside. */
  async ip(...args: string[]): Promise<string> {
    return this.exec("ip", args);
  }

  /** Runs `ip -j ARGS` inside and returns what it tells: `query("addr", "show", "dev", "eth0")`. */
  async query(...args: string[]): Promise<JsonObject[]> {
    const text = await this.exec("ip", ["-j", "-d", ...args]);
    return text.trim() === "" ? [] : (JSON.parse(text) as JsonObject[]).filter((item) => Object.keys(item).length > 0);
  }

  /** The names of the links inside. */
  async links(): Promise<string[]> {
    return (await this.query("link", "show")).map((link) => String(link.ifname)).sort();
  }

  /** Whether an address answers from inside, within a second or two. */
  async ping(address: string): Promise<boolean> {
    const result = await execa("nsenter", [`--net=${this.path}`, "--", "ping", "-n", "-c", "1", "-W", "2", address], {
      reject: false,
    });
    return result.exitCode === 0;
  }

  /** Reads a sysctl inside: "net/ipv4/ip_forward". */
  async sysctl(key: string): Promise<string> {
    return (await this.exec("cat", [`/proc/sys/${key}`])).trim();
  }
}

/** Removes what runs that were killed left: their process is gone, and namespace or directory is some minutes old. */
export async function removeStale(): Promise<void> {
  for (const path of await staleIn("/run/netns"))
    await execa("ip", ["netns", "del", basename(path)], { reject: false });
  for (const path of await staleIn(tmpdir())) await rm(path, { recursive: true, force: true });
}

async function staleIn(directory: string): Promise<string[]> {
  const stale: string[] = [];
  for (const name of await readdir(directory).catch(() => [] as string[])) {
    if (ownerOf(name) === null || ownerIsAlive(name)) continue;
    const path = join(directory, name);
    const status = await stat(path).catch(() => null);
    if (status === null || Date.now() - status.ctimeMs >= 3 * 60_000) stale.push(path);
  }
  return stale;
}

/** A temporary directory; the caller removes it. */
export async function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), `pwt-${process.pid}-`));
}

/**
 * A host of its own: a network namespace in which the plugins run, pods as further namespaces, and a directory for what
 * plugins store. Bridges and host ends of veths appear in `host`, never in the machine's namespace.
 */
export class Sandbox {
  readonly host: Netns;
  readonly directory: string;
  readonly #pods: Netns[] = [];

  private constructor(host: Netns, directory: string) {
    this.host = host;
    this.directory = directory;
  }

  static async create(): Promise<Sandbox> {
    const host = await Netns.create("host");
    await host.ip("link", "set", "lo", "up");
    return new Sandbox(host, await temporaryDirectory());
  }

  /** The directory for leases, for `ipam.dataDir`. */
  get dataDir(): string {
    return join(this.directory, "leases");
  }

  /** One more pod. */
  async pod(): Promise<Netns> {
    const pod = await Netns.create("pod");
    this.#pods.push(pod);
    return pod;
  }

  /** Calls a plugin with the sandbox as its host. */
  async call(options: CallOptions): Promise<CallResult> {
    return call({ inside: this.host, ...options });
  }

  /** Writes an executable script into a directory of its own, to be a delegate: returns the directory. */
  async script(name: string, text: string): Promise<string> {
    const directory = await mkdtemp(join(this.directory, "bin-"));
    await writeFile(join(directory, name), text, { mode: 0o755 });
    return directory;
  }

  async remove(): Promise<void> {
    for (const pod of this.#pods) await pod.remove();
    await this.host.remove();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Runs a test with a sandbox of its own. */
export async function withSandbox(test: (sandbox: Sandbox) => Promise<void>): Promise<void> {
  const sandbox = await Sandbox.create();
  try {
    await test(sandbox);
  } finally {
    await sandbox.remove();
  }
}

/** The versions of the specification from one on: CHECK exists from "0.4.0", GC and STATUS from "1.1.0". */
export function versionsFrom(first: string): readonly string[] {
  return VERSIONS.slice(VERSIONS.indexOf(first));
}

/** Waits for a condition; false if it did not come true in time. */
export async function until(condition: () => boolean | Promise<boolean>, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return true;
}
