/** What a test run must not change on the machine, as text to compare. */
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";

/** Lines of what `ip`, `bridge` and `nft` tell of the machine's own network namespace, and names of files. */
export interface MachineState {
  readonly links: readonly string[];
  readonly namespaces: readonly string[];
  /** Null where nft is not installed. */
  readonly rules: readonly string[] | null;
  /** An overlay's routes, neighbours and forwarding entries. */
  readonly entries: readonly string[];
  /** What plugins keep on tmpfs: for the machine, and for namespaces that are gone. */
  readonly files: readonly string[];
}

const RUNTIME_DIRECTORY = "/run/podwire";
/** The number by which the overlay marks its routes. */
const OVERLAY_PROTOCOL = "112";

/** Takes the state. Namespaces of other test runs that are under way are left out. */
export async function machineState(): Promise<MachineState> {
  const namespaces = (await lines("ip", ["netns", "list"])).map((line) => line.split(" ")[0] ?? "");
  return {
    links: (await lines("ip", ["-br", "link"])).map((line) => line.replace(/\s+/g, " ").trim()),
    namespaces: namespaces.filter((name) => !ownerIsAlive(name)).sort(),
    rules: await lines("nft", ["list", "ruleset"]).catch(() => null),
    entries: await entries(),
    files: await filesLeft(),
  };
}

async function entries(): Promise<string[]> {
  const routes = ["route", "show", "table", "all", "proto", OVERLAY_PROTOCOL];
  const found = await Promise.all([
    lines("ip", routes),
    lines("ip", ["-6", ...routes]),
    lines("ip", ["neigh", "show", "nud", "permanent"]),
    lines("bridge", ["fdb", "show"]),
  ]);
  return found.flat().sort();
}

/** Those for namespaces that are there are somebody's who is at work. */
async function filesLeft(): Promise<string[]> {
  const own = (await stat("/proc/self/ns/net")).ino;
  const names = await readdir("/run/netns").catch(() => [] as string[]);
  const status = await Promise.all(names.map((name) => stat(join("/run/netns", name)).catch(() => null)));
  const alive = new Set(status.map((item) => item?.ino).filter((number) => number !== own));
  const files = await readdir(RUNTIME_DIRECTORY).catch(() => [] as string[]);
  return files.filter((name) => !alive.has(Number(name.slice(name.indexOf("-") + 1)))).sort();
}

/** What is in one state and not in the other, a line each. */
export function stateDifferences(before: MachineState, after: MachineState): string[] {
  const differences: string[] = [];
  for (const part of ["links", "namespaces", "rules", "entries", "files"] as const) {
    const earlier = before[part] ?? [];
    const later = after[part] ?? [];
    for (const line of later) if (!earlier.includes(line)) differences.push(`${part}: new: ${line}`);
    /* A namespace gets a dead one's number, and with it the files that a killed run left under that. */
    if (part === "files") continue;
    for (const line of earlier) {
      /* Another run may have cleaned up what a third one left behind. */
      if (!later.includes(line) && ownerOf(line) === null) differences.push(`${part}: gone: ${line}`);
    }
  }
  return differences;
}

/** The process that made a namespace or directory for a test, from its name; null for a name that is not of a test. */
export function ownerOf(name: string): number | null {
  const match = /^pwt-(\d+)-/.exec(name);
  return match === null ? null : Number(match[1]);
}

export function ownerIsAlive(name: string): boolean {
  const owner = ownerOf(name);
  return owner !== null && existsSync(`/proc/${owner}`);
}

async function lines(command: string, args: readonly string[]): Promise<string[]> {
  const { stdout } = await execa(command, args, { env: { LC_ALL: "C" } });
  return stdout.split("\n").filter((line) => line.trim() !== "");
}
