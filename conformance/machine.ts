/** What a test run must not change on the machine, as text to compare. */
import { existsSync } from "node:fs";
import { execa } from "execa";

/** Lines of `ip -br link`, `ip netns` and `nft list ruleset` in the machine's own network namespace. */
export interface MachineState {
  readonly links: readonly string[];
  readonly namespaces: readonly string[];
  /** Null where nft is not installed. */
  readonly rules: readonly string[] | null;
}

/** Takes the state. Namespaces of other test runs that are under way are left out. */
export async function machineState(): Promise<MachineState> {
  const namespaces = (await lines("ip", ["netns", "list"])).map((line) => line.split(" ")[0] ?? "");
  return {
    links: (await lines("ip", ["-br", "link"])).map((line) => line.replace(/\s+/g, " ").trim()),
    namespaces: namespaces.filter((name) => !ownerIsAlive(name)).sort(),
    rules: await lines("nft", ["list", "ruleset"]).catch(() => null),
  };
}

/** What is in one state and not in the other, a line each. */
export function stateDifferences(before: MachineState, after: MachineState): string[] {
  const differences: string[] = [];
  for (const part of ["links", "namespaces", "rules"] as const) {
    const earlier = before[part] ?? [];
    const later = after[part] ?? [];
    for (const line of later) if (!earlier.includes(line)) differences.push(`${part}: new: ${line}`);
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
