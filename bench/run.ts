/**
 * `make bench`: Podwire and the reference plugins, turn about, in one run. Writes bench/results/latest.json,
 * bench/RESULTS.md, bench/results.svg, and the table in README.md.
 *
 *   node bench/run.ts
 */
import { readFileSync } from "node:fs";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { arch, cpus, release } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { findReference } from "../hack/reference.ts";
import { furnishSandbox, inSandbox, runInSandbox } from "../hack/sandbox.ts";
import { type Call, median, prepareTimer, run, type Suite, type Timing, trace } from "./calls.ts";
import { type Report, type Row, writeReport } from "./report.ts";

const repository = resolve(import.meta.dirname, "..");
/** On the disk, as a node's leases are. */
const scratch = join(repository, ".cache/bench");
const PLUGINS = ["bridge", "host-local", "loopback"];
const PODS = 100;
/** Of these, so many are attached one after another. */
const SEQUENTIAL = 50;
const PARALLEL_ROUNDS = 3;

type Pair = readonly [Suite, Suite];
type Prepared = Omit<Call, "suite" | "output">;

const rows: Row[] = [];
const memory = { podwire: 0, reference: 0 };

/** Measures `count` calls of each suite, turn about and taking turns at being first. */
async function compare(name: string, suites: Pair, count: number, make: (suite: Suite, index: number) => Prepared) {
  const calls: Call[] = [];
  for (let index = 0; index < count; index += 1) {
    for (const suite of index % 2 === 0 ? suites : suites.toReversed()) {
      const call = make(suite, index);
      calls.push({ suite, output: outputOf(suite, call.verb, index), ...call });
    }
  }
  const [timings] = await run(calls);
  record(name, timings);
}

/** The file for what a call prints. */
function outputOf(suite: Suite, verb: string, index: number): string {
  return join(scratch, `output-${suite.name}-${verb}-${index}.json`);
}

/** Adds a row: medians in milliseconds, and the median of the ratios of each pair. */
function record(name: string, timings: readonly Timing[]): void {
  const times = (suite: Suite["name"]) =>
    timings.filter((timing) => timing.call.suite.name === suite).map((timing) => timing.ns / 1e6);
  for (const { call, rssKb } of timings) memory[call.suite.name] = Math.max(memory[call.suite.name], rssKb);
  add(name, times("podwire"), times("reference"));
}

function add(name: string, podwire: readonly number[], reference: readonly number[]): void {
  const ratios = podwire.map((time, index) => time / (reference[index] ?? Number.NaN));
  const row = {
    name,
    unit: "ms" as const,
    podwire: median(podwire),
    reference: median(reference),
    ratio: median(ratios),
    runs: podwire.length,
  };
  rows.push(row);
  console.log(
    `${name.padEnd(44)} ${row.podwire.toFixed(2).padStart(9)} ms ${row.reference.toFixed(2).padStart(9)} ms ` +
      `${row.ratio.toFixed(3).padStart(7)}`,
  );
}

function addCount(name: string, unit: Row["unit"], podwire: number, reference: number): void {
  rows.push({ name, unit, podwire, reference, ratio: podwire / reference, runs: 1 });
  console.log(`${name.padEnd(44)} ${String(podwire).padStart(9)} ${unit} ${String(reference).padStart(9)} ${unit}`);
}

const network = (suite: Suite, name: string, dataDir: string, extra: object = {}) => ({
  cniVersion: "1.0.0",
  name,
  type: "bridge",
  bridge: "cni0",
  isGateway: true,
  isDefaultGateway: true,
  hairpinMode: true,
  ipam: { type: "host-local", dataDir: join(suite.state, dataDir), ranges: [[{ subnet: "10.64.0.0/16" }]] },
  ...extra,
});

async function benchVersion(suites: Pair): Promise<void> {
  const make = () => ({ plugin: "bridge", verb: "VERSION", config: null, containerId: "bench", pod: "podwire-0" });
  await run(suites.map((suite) => ({ suite, output: "/dev/null", ...make() })));
  await compare("VERSION", suites, 200, make);
}

/** The nth address of 10.64.0.0/16. */
function address(index: number): string {
  return `10.64.${Math.floor(index / 256)}.${index % 256}`;
}

/** Fills a lease directory in the reference's format: a file for each address, and the last one given. */
async function fillLeases(directory: string, count: number): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (let start = 0; start < count; start += 500) {
    const end = Math.min(count, start + 500);
    const batch = Array.from({ length: end - start }, (_, index) => start + index);
    await Promise.all(batch.map((index) => writeFile(join(directory, address(index + 2)), `fixture-${index}\r\neth0`)));
  }
  if (count > 0) await writeFile(join(directory, "last_reserved_ip.0"), address(count + 1));
  await execa("sync", ["-f", directory]);
}

async function benchHostLocal(suites: Pair, leases: number, count: number): Promise<void> {
  const name = `leases-${leases}`;
  for (const suite of suites) await fillLeases(join(suite.state, name, name), leases);
  const make = (verb: string) => (suite: Suite, index: number) => ({
    plugin: "host-local",
    verb,
    config: network(suite, name, name),
    containerId: `bench-${index}`,
    pod: `${suite.name}-0`,
  });
  const warm = (verb: string) =>
    run(suites.map((suite) => ({ suite, output: "/dev/null", ...make(verb)(suite, 999_999) })));
  await warm("ADD");
  await warm("DEL");
  const label = leases.toLocaleString("en");
  await compare(`host-local ADD, ${label} leases held`, suites, count, make("ADD"));
  await compare(`host-local DEL, ${label} leases held`, suites, count, make("DEL"));
  for (const suite of suites) await rm(join(suite.state, name), { recursive: true });
}

/** The Result that an ADD printed. */
function resultAt(path: string): object {
  return JSON.parse(readFileSync(path, "utf8"));
}

async function benchBridge(suites: Pair, title: string, name: string, extra: object): Promise<void> {
  const make = (verb: string) => (suite: Suite, index: number) => ({
    plugin: "bridge",
    verb,
    config: {
      ...network(suite, name, name, extra),
      ...(verb === "ADD" ? {} : { prevResult: resultAt(outputOf(suite, "ADD", index)) }),
    },
    containerId: `bench-${index}`,
    pod: `${suite.name}-${index}`,
  });
  for (const verb of ["ADD", "DEL"]) {
    await run(suites.map((suite) => ({ suite, output: outputOf(suite, verb, 0), ...make(verb)(suite, 0) })));
  }
  await compare(`${title} ADD`, suites, SEQUENTIAL, make("ADD"));
  for (const suite of suites) {
    assertDistinct(Array.from({ length: SEQUENTIAL }, (_, index) => outputOf(suite, "ADD", index)));
  }
  await compare(`${title} CHECK`, suites, SEQUENTIAL, make("CHECK"));
  await compare(`${title} DEL`, suites, SEQUENTIAL, make("DEL"));
}

function assertDistinct(paths: readonly string[]): void {
  const addresses = paths.map((path) => JSON.stringify((resultAt(path) as { ips: { address: string }[] }).ips[0]));
  if (new Set(addresses).size !== paths.length) throw new Error("two pods got the same address");
}

/** All pods at once, one suite after the other; every call must succeed and every address be given once. */
async function benchParallel(suites: Pair): Promise<void> {
  const name = "parallel";
  const times = {
    ADD: { podwire: [] as number[], reference: [] as number[] },
    DEL: { podwire: [] as number[], reference: [] as number[] },
  };
  for (let round = 0; round < PARALLEL_ROUNDS; round += 1) {
    for (const suite of round % 2 === 0 ? suites : suites.toReversed()) {
      for (const verb of ["ADD", "DEL"] as const) {
        const calls = Array.from({ length: PODS }, (_, index) => ({
          suite,
          plugin: "bridge",
          verb,
          config: network(suite, name, name),
          containerId: `bench-${round}-${index}`,
          pod: `${suite.name}-${index}`,
          output: outputOf(suite, verb, index),
        }));
        const [, total] = await run(calls, "together");
        times[verb][suite.name].push(total / 1e6);
        if (verb === "ADD") assertDistinct(calls.map((call) => call.output));
      }
    }
  }
  for (const verb of ["ADD", "DEL"] as const) {
    add(`${PODS} x bridge + host-local ${verb} at once, total`, times[verb].podwire, times[verb].reference);
  }
}

async function benchCounts(suites: Pair): Promise<void> {
  const counts: Record<string, { processes: number; systemCalls: number }> = {};
  for (const suite of suites) {
    for (const verb of ["ADD", "DEL"]) {
      const call = { suite, plugin: "bridge", verb, config: network(suite, "count", "count"), output: "/dev/null" };
      counts[`${suite.name} ${verb}`] = await trace({ ...call, containerId: "bench", pod: `${suite.name}-0` });
    }
  }
  const count = (key: string, what: "processes" | "systemCalls") => counts[key]?.[what] ?? Number.NaN;
  for (const verb of ["ADD", "DEL"]) {
    const pair = (what: "processes" | "systemCalls") =>
      [count(`podwire ${verb}`, what), count(`reference ${verb}`, what)] as const;
    addCount(`bridge + host-local ${verb}: processes`, "", ...pair("processes"));
    addCount(`bridge + host-local ${verb}: system calls`, "", ...pair("systemCalls"));
  }
}

/** Bytes on disk; hard links count once. */
async function sizeOf(directory: string, names: readonly string[]): Promise<number> {
  const files = await Promise.all(names.map((name) => stat(join(directory, name))));
  const sizes = new Map(files.map((file) => [file.ino, file.size]));
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

async function benchSizes([podwire, reference]: Pair): Promise<void> {
  const kb = async (suite: Suite, names: readonly string[]) =>
    Math.round((await sizeOf(suite.directory, names)) / 1000);
  const both = async (names: readonly string[]) => [await kb(podwire, names), await kb(reference, names)] as const;
  addCount("bridge, the executable", "kB", ...(await both(["bridge"])));
  addCount(`${PLUGINS.join(" + ")} on disk`, "kB", ...(await both(PLUGINS)));
}

async function inside(): Promise<number> {
  await furnishSandbox();
  const reference = await findReference();
  const suite = (name: Suite["name"], directory: string): Suite => ({
    ...{ name, directory, host: `/run/netns/${name}`, state: join(scratch, name) },
  });
  const suites: Pair = [
    suite("podwire", resolve(process.env.PODWIRE_BIN ?? join(repository, "bin"))),
    suite("reference", reference.directory),
  ];
  await prepareTimer(join(repository, "bench/timer.c"), scratch);
  const names = suites.flatMap(({ name }) => [name, ...Array.from({ length: PODS }, (_, pod) => `${name}-${pod}`)]);
  await execa("ip", ["-batch", "-"], { input: names.map((name) => `netns add ${name}\n`).join("") });
  for (const { name } of suites) await execa("ip", ["-n", name, "link", "set", "lo", "up"]);
  console.log(`reference: ${reference.version}${reference.note === "" ? "" : ` (${reference.note})`}\n`);
  console.log(`${"".padEnd(44)} ${"Podwire".padStart(12)} ${"reference".padStart(12)} ${"ratio".padStart(7)}`);
  await benchVersion(suites);
  await benchBridge(suites, "bridge + host-local", "plain", {});
  await benchParallel(suites);
  await benchCounts(suites);
  /* Last, because the disk is busy for a while after so many files have been made and removed. */
  await benchHostLocal(suites, 0, 50);
  await benchHostLocal(suites, 1000, 50);
  await benchHostLocal(suites, 60_000, 5);
  addCount("most memory of a timed call (wait4, ru_maxrss)", "kB", memory.podwire, memory.reference);
  await benchSizes(suites);
  const project = JSON.parse(await readFile(join(repository, "package.json"), "utf8")) as { version: string };
  const report: Report = {
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus().length} x ${cpus()[0]?.model.trim() ?? "unknown"}, Linux ${release()}, ${arch()}`,
    podwire: project.version,
    reference: reference.version,
    note: reference.note,
    rows,
  };
  await writeReport(repository, report);
  return 0;
}

async function outside(): Promise<number> {
  await rm(scratch, { recursive: true, force: true });
  try {
    await findReference();
    return await runInSandbox(import.meta.filename, []);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

process.exit(await (inSandbox() ? inside() : outside()));
