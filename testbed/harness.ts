/**
 * Shared by all black-box suites: calling a plugin as a runtime does, network namespaces to do it in, and the check that
 * the answer is what the specification asks of every answer.
 *
 * Everything a suite makes lies in namespaces named `pwt-<pid>-...` and in temporary directories, so that the machine
 * stays as it is and leftovers of a killed run are recognised and removed by the next one.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { type CallOptions, type CallResult, call, type JsonObject, patience } from "./call.ts";
import { Netns, temporaryDirectory } from "./netns.ts";

export * from "./call.ts";
export { machineState } from "./machine.ts";
export * from "./netns.ts";

/** Where the plugins of the reference suite are, to compare with. */
export const referenceDirectory = process.env.PODWIRE_REFERENCE ?? "/usr/lib/cni";

export const VERSIONS: readonly string[] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

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

/** What a call that succeeded said on standard error. */
export function noted(result: CallResult): string {
  expectSuccess(result);
  return result.stderr;
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
  const deadline = performance.now() + limitMs * patience;
  while (!(await condition())) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return true;
}
