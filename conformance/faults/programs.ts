/**
 * Faults of the programs that a plugin starts: iptables-restore and its sisters. In a mount namespace of the call's own a
 * script stands in the program's place, which does the program's work, or does not, or is killed, or kills the plugin.
 */
import { chmod, copyFile, mkdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type CallOptions, call } from "../../testbed/call.ts";
import { until } from "../../testbed/harness.ts";
import { type Bench, type Faulty, NEXT, type Trial } from "./bench.ts";
import type { Verb } from "./laboratory.ts";
import type { Plan } from "./suite.ts";

/** Where plugins look first (lib/filter/iptables.ts). */
const DIRECTORY = "/usr/sbin";
const PROGRAMS = ["iptables", "ip6tables"].flatMap((name) => [`${name}-restore`, `${name}-save`]);
const WAIT_MS = 5000;

/** What happens when a program is started, in the script's language: `work` is what the program would do. */
interface Effect {
  readonly name: string;
  readonly script: string;
  /** Whether it is the plugin that is killed. */
  readonly killsPlugin: boolean;
}

const KILLS: readonly Effect[] = [
  { name: "is killed before its work", script: "kill -KILL $$", killsPlugin: false },
  { name: "is killed after its work", script: "work; kill -KILL $$", killsPlugin: false },
  { name: "goes on when the plugin is killed", script: "kill -KILL $PPID; sleep 0.1; work", killsPlugin: true },
  { name: "has done its work when the plugin is killed", script: "work; kill -KILL $PPID", killsPlugin: true },
];

const ERRORS: readonly Effect[] = [
  { name: "fails", script: "echo 'line 1 failed' >&2; exit 1", killsPlugin: false },
  { name: "fails after its work", script: "work; exit 1", killsPlugin: false },
  { name: "says nothing and fails", script: "exit 2", killsPlugin: false },
  {
    name: "does not get its lock",
    script: "echo 'Another app is currently holding the xtables lock' >&2; exit 4",
    killsPlugin: false,
  },
];

/** Every program that a plugin starts is killed, or fails, or outlives the plugin. */
export const PROGRAM_FAULTS: readonly Plan[] = [
  { kind: "killed", title: "killed around every program", trials: (bench, verb) => trials(bench, verb, KILLS) },
  { kind: "errors", title: "an error from every program", trials: (bench, verb) => trials(bench, verb, ERRORS) },
];

async function trials(bench: Bench, verb: Verb, effects: readonly Effect[]): Promise<Trial[]> {
  const { lines } = await bench.rehearse(verb, (options) => callWith(bench, options, 0, "work"));
  const started = lines.filter((line) => line.startsWith("begin ")).map((line) => line.slice("begin ".length));
  return started.flatMap((program, i) =>
    effects.flatMap((effect) => NEXT.map((next, j): Trial => trialOf(bench, program, i + 1, effect, next, i + j))),
  );
}

function trialOf(bench: Bench, program: string, n: number, effect: Effect, next: Trial["next"], index: number): Trial {
  return {
    title: `${program}, the program started as number ${n}, ${effect.name}`,
    call: (options) => callWith(bench, options, n, effect.script),
    mayDie: effect.killsPlugin,
    mayBeSilent: false,
    next,
    index,
  };
}

interface WithPrograms extends Faulty {
  /** "begin ip6tables-restore" for each program, and "end". */
  readonly lines: readonly string[];
}

/** Calls a plugin for which the nth program that it starts does what a script says; the others do their work. */
async function callWith(bench: Bench, options: CallOptions, n: number, script: string): Promise<WithPrograms> {
  const directory = join(bench.laboratory.directory, "programs");
  const log = join(directory, "log");
  await rm(directory, { recursive: true, force: true });
  const targets = await furnish(directory, n, script);
  const mounts = targets.map((target) => `mount --bind '${join(directory, "script")}' '${target}'`).join("\n");
  const through = ["/usr/bin/unshare", "--mount", "sh", "-ec", `${mounts}\nexec "$@"`, "sh"];
  const result = await call({ ...options, through });
  const lines = async (): Promise<string[]> =>
    (await readFile(log, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
  const met = (await lines()).includes("fault");
  const isOver = async (): Promise<boolean> => {
    const all = await lines();
    return all.filter((line) => line.startsWith("begin")).length === all.filter((line) => line === "end").length;
  };
  return {
    ...result,
    lines: await lines(),
    met,
    over: async () => {
      /* A program that was killed has no end. */
      if (!script.includes("kill -KILL $$") && !(await until(isOver, WAIT_MS))) throw new Error("a program goes on");
    },
  };
}

/** Writes the script, and copies of the programs for it. @returns the files in whose place the script is to be */
async function furnish(directory: string, n: number, script: string): Promise<string[]> {
  const real = join(directory, "real");
  await mkdir(real, { recursive: true });
  const targets = new Set<string>();
  for (const program of PROGRAMS) {
    const target = await realpath(join(DIRECTORY, program));
    const copy = join(real, `of-${basename(target)}`);
    if (!targets.has(target)) await copyFile(target, copy);
    targets.add(target);
    await symlink(copy, join(real, program));
  }
  const text = `#!/bin/sh
    log=${join(directory, "log")}
    name=$(basename "$0")
    echo "begin $name" >> "$log"
    work() { ${real}/"$name" "$@"; }
    trap 'echo end >> "$log"' EXIT
    if [ "$(grep -c ^begin "$log")" != ${n} ]; then work "$@"; exit; fi
    echo fault >> "$log"
    ${script.replaceAll("work", 'work "$@"')}
  `;
  await writeFile(join(directory, "script"), text);
  await chmod(join(directory, "script"), 0o755);
  return [...targets];
}
