/**
 * Runs the black-box suites inside Debian's kernels, each in a machine that is emulated in software, PODWIRE_GUESTS at a
 * time, and writes KERNELS.md. With a choice in PODWIRE_KERNELS (releases) or PODWIRE_SUITES (parts of file names) it only prints.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { execa } from "execa";
import { restrictPath } from "../../hack/programs/list.ts";
import { boots, type NamedBoot } from "./boots.ts";
import { type Architecture, findKernel, type Kernel, RELEASES } from "./fetch.ts";
import { runGuest } from "./guest.ts";
import { type Column, type Outcome, reasons, table } from "./table.ts";
import { arm64Userland, hostUserland, type Userland } from "./userland.ts";

const repository = resolve(import.meta.dirname, "../..");
/** The executables under test, for each architecture. */
const executables: Readonly<Record<Architecture, string>> = {
  amd64: resolve(process.env.PODWIRE_BIN ?? join(repository, "bin")),
  arm64: resolve(process.env.PODWIRE_BIN_ARM64 ?? join(repository, "bin/arm64")),
};
/**
 * "1": suites that passed in the last run with these executables are not run again, and a machine that has no others is not
 * started; "kept": none is started.
 */
const resume = process.env.PODWIRE_RESUME ?? "";
const logs = join(repository, "build/kernels");

async function main(): Promise<number> {
  if (process.arch !== "x64") throw new Error("the kernels are for amd64, and run the host's programs: so must it be");
  await mkdir(logs, { recursive: true });
  const wanted = wordsOf(process.env.PODWIRE_KERNELS);
  const releases = RELEASES.filter((release) => wanted.length === 0 || wanted.includes(release));
  const kernels: Kernel[] = [];
  for (const release of releases) kernels.push(await findKernel(release));
  const machines = kernels.flatMap((kernel) => boots[kernel.architecture].flatMap((boot) => machinesOf(kernel, boot)));
  await sideBySide(machines, Number(process.env.PODWIRE_GUESTS ?? "1"));
  const columns = kernels.map((kernel) => column(kernel, machines));
  const suites = [...new Set(machines.flatMap(({ boot }) => boot.suites.map(suiteName)))];
  const lines = table(columns, suites);
  const failures = reasons(columns, "failed");
  console.log(["", ...lines, ...failures.map((line) => `failed: ${line}`), ""].join("\n"));
  if (process.env.PODWIRE_KERNELS === undefined && process.env.PODWIRE_SUITES === undefined)
    await writeFile(join(import.meta.dirname, "../KERNELS.md"), await document(columns, lines));
  return failures.length === 0 ? 0 : 1;
}

/** One kernel in one boot, with the suites that were asked for, and what came of it. */
interface Machine {
  readonly kernel: Kernel;
  readonly boot: NamedBoot;
  outcomes: Outcome[];
  seconds: number;
}

function machinesOf(kernel: Kernel, boot: NamedBoot): Machine[] {
  const suites = chosen(boot.suites, process.env.PODWIRE_SUITES);
  return suites.length === 0 ? [] : [{ kernel, boot: { ...boot, suites }, outcomes: [], seconds: 0 }];
}

/** Runs all, so many at a time; what may take longest comes first, lest it is left over at the end. */
async function sideBySide(machines: readonly Machine[], workers: number): Promise<void> {
  const waiting = machines.toSorted((a, b) => b.boot.limitSeconds - a.boot.limitSeconds);
  /* Two machines must not make it at once. */
  const foreign = machines.some(({ kernel }) => kernel.architecture === "arm64");
  const userlands: Partial<Record<Architecture, Userland>> = {
    amd64: hostUserland(executables.amd64),
    ...(foreign ? { arm64: await arm64Userland(executables.arm64) } : {}),
  };
  const work = async (): Promise<void> => {
    for (let machine = waiting.shift(); machine !== undefined; machine = waiting.shift()) {
      const { architecture } = machine.kernel;
      const userland = userlands[architecture];
      if (userland !== undefined) await runOne(machine, userland, await digestOf(executables[architecture]));
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
}

async function digestOf(directory: string): Promise<string> {
  const bytes = await readFile(join(directory, "bridge"));
  return createHash("sha256").update(bytes).digest("hex");
}

/** The entries that contain one of the words; all without words. */
function chosen(entries: readonly string[], words: string | undefined): string[] {
  const list = wordsOf(words);
  return entries.filter((entry) => list.length === 0 || list.some((word) => entry.includes(word)));
}

function wordsOf(text: string | undefined): string[] {
  return (text ?? "").split(/[ ,]+/).filter((word) => word !== "");
}

function suiteName(file: string): string {
  return basename(file, ".test.ts");
}

/** Starts the machine and notes what came of it, for the table and on the disk. */
async function runOne(machine: Machine, userland: Userland, digest: string): Promise<void> {
  const { kernel, boot } = machine;
  const name = `${kernel.release}-${boot.name}`;
  const label = `${kernel.version} (${kernel.release}), ${boot.name}`;
  const kept = resume === "" ? [] : await passedBefore(name, digest);
  const left = boot.suites.filter((suite) => !kept.some((item) => item.suite === suiteName(suite)));
  if (resume === "kept" && left.length > 0) return;
  console.log(left.length === 0 ? `${label}: kept from the last run` : `${label}: started, ${left.length} test files`);
  const said =
    left.length === 0 ? [] : await runGuest(kernel, { ...boot, suites: left }, userland, join(logs, `${name}.log`));
  const lines = [...kept.map((item) => JSON.stringify(item)), ...(left.length === 0 ? ['{"exit":0}'] : said)];
  await writeFile(join(logs, `${name}.jsonl`), [digest, ...lines].map((line) => `${line}\n`).join(""));
  machine.outcomes = outcomesOf(boot, boot.suites, lines);
  const count = (state: string) => machine.outcomes.filter((outcome) => outcome.state === state).length;
  const uptimes = lines.map(parse).map((item) => Number(item?.uptime ?? 0));
  machine.seconds = uptimes.reduce((sum, uptime) => sum + uptime, 0);
  console.log(
    `${label}: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped in ${machine.seconds} s; build/kernels/${name}.log`,
  );
}

function column({ release, version }: Kernel, machines: readonly Machine[]): Column {
  const own = machines.filter(({ kernel }) => kernel.release === release);
  return {
    ...{ release, version },
    outcomes: own.flatMap(({ outcomes }) => outcomes),
    seconds: own.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

/**
 * What a machine of the last run said of suites that passed, if it came to its end with these executables, and how long it
 * took.
 */
async function passedBefore(name: string, digest: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(logs, `${name}.jsonl`), "utf8").catch(() => "");
  const [used, ...lines] = text.split("\n").filter((line) => line !== "");
  const items = lines.map(parse).filter((item) => item !== null);
  if (used !== digest || !items.some((item) => typeof item.exit === "number")) return [];
  const failed = items.filter((item) => item.state === "failed").map((item) => item.suite);
  return items.filter((item) => item.exit === undefined && !failed.includes(item.suite));
}

/** What a machine's lines say; a machine that did not come to its end, or a suite without tests, is a failure too. */
function outcomesOf(boot: NamedBoot, suites: readonly string[], said: readonly string[]): Outcome[] {
  const outcomes: Outcome[] = [];
  let exit: number | null = null;
  for (const line of said) {
    const item = parse(line);
    if (item === null) continue;
    if (typeof item.exit === "number") exit = item.exit;
    else outcomes.push(item as unknown as Outcome);
  }
  const fail = (suite: string, note: string) => outcomes.push({ suite, test: "(whole)", state: "failed", note });
  for (const suite of suites.map(suiteName))
    if (!outcomes.some((outcome) => outcome.suite === suite)) fail(suite, "no test of it has ended");
  if (exit === null) fail(suiteName(suites.at(-1) ?? ""), `the machine ${boot.name} was ended before its suites had`);
  else if (exit !== 0 && !outcomes.some((outcome) => outcome.state === "failed"))
    fail(suiteName(suites.at(-1) ?? ""), `vitest ended with ${exit}, see the log`);
  return outcomes;
}

function parse(line: string): Record<string, unknown> | null {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
}

async function document(columns: readonly Column[], lines: readonly string[]): Promise<string> {
  const { stdout } = await execa("qemu-system-x86_64", ["--version"]);
  const emulator = /version (\S+)/.exec(stdout)?.[1] ?? "";
  const list = (title: string, entries: readonly string[]) =>
    entries.length === 0 ? [] : ["", `## ${title}`, "", ...entries.map((entry) => `- ${entry}`)];
  return [
    "# The suites inside Debian's kernels",
    "",
    "`make conformance-kernels` writes this file. Each kernel is Debian's own package with its own modules, in a machine that",
    `qemu ${emulator} emulates in software, without a network device. \`no-ipv6\` runs with \`ipv6.disable=1\`, \`missing-modules\``,
    "in a machine from which modules are taken away one by one; all other suites as Debian has it. A dash is what was not run.",
    "",
    "`bookworm-arm64` is Debian's kernel for arm64 with pages of 4 KiB, on an emulated Cortex-A72, with the arm64 executables and",
    "Debian's programs for arm64.",
    "",
    ...boots.amd64
      .filter(({ modules }) => modules.length > 0)
      .map((boot) => `Loaded before ${boot.suites.map(suiteName).join(", ")}: ${boot.modules.join(", ")}.`),
    "",
    ...lines,
    ...list("Failed", reasons(columns, "failed")),
    ...list("Skipped", reasons(columns, "skipped")),
    "",
  ].join("\n");
}

const freePath = await restrictPath(["test", "kernels"]);
process.exitCode = await main().finally(freePath);
