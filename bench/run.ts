/**
 * `make bench`: Podwire and the reference plugins, alternating, in one run. Writes bench/results/latest.json,
 * bench/RESULTS.md, the pictures beside it, and the table in README.md.
 *
 *   node bench/run.ts              all of it
 *   node bench/run.ts PART...      only these parts (PARTS below), and what it writes goes to .cache/parts-of-bench
 *
 * PODWIRE_BIN names another directory of executables than bin/. PODWIRE_BENCH_AGAINST names one to compare with instead
 * of the reference: another build of Podwire, to see what a change costs. What that writes goes to .cache, too.
 */
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { arch, cpus, release } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { restrictPath } from "../hack/programs/list.ts";
import { findReference } from "../hack/reference.ts";
import { furnishSandbox, inSandbox, runInSandbox } from "../hack/sandbox.ts";
import {
  benchBandwidth,
  benchBandwidthChain,
  benchBandwidthProcesses,
  benchFirstSeconds,
  benchRates,
} from "./bandwidth.ts";
import { prepareTimer, run, type Suite, trace } from "./calls.ts";
import { benchDataPath } from "./datapath.ts";
import { benchChain, benchGrowth, benchMasquerade, benchPorts, benchProcesses } from "./filter.ts";
import { benchFirewall, benchNerdctl } from "./firewall.ts";
import { benchPtp, benchPtpMasquerade, benchStatic, benchTuning } from "./interfaces.ts";
import { add, addCount, compare, memory, outputOf, type Pair, prepareMeasuring, rows, SAME_KIND } from "./measure.ts";
import { benchOverlay } from "./overlay.ts";
import { benchOverlayRates } from "./overlay-rates.ts";
import { type Growth, type Report, writeParts, writeReport } from "./report.ts";

const repository = resolve(import.meta.dirname, "..");
/** A directory of this run, on the disk, as a node's leases are. The outer process makes it and tells the inner one. */
const scratch = process.env.PODWIRE_BENCH_SCRATCH ?? makeScratch();
const PLUGINS = ["bridge", "ptp", "host-local", "static", "loopback", "portmap", "bandwidth", "firewall", "tuning"];
const PODS = 100;
/** Of these, so many are attached one after another. */
const SEQUENTIAL = 50;
const PARALLEL_ROUNDS = 3;

function makeScratch(): string {
  const cache = join(repository, ".cache");
  mkdirSync(cache, { recursive: true });
  return mkdtempSync(join(cache, "bench-"));
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
        times[verb][suite.side].push(total / 1e6);
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
  const here = new Set(await readdir(reference.directory));
  const shared = PLUGINS.filter((plugin) => here.has(plugin));
  addCount("the plugins that both have, on disk", "kB", ...(await both(shared)));
}

/**
 * A directory of executables, copied. How a file was written changes how its pages lie in the cache, and with that a plugin's
 * start by a fifth: two builds are comparable only if both were written alike.
 */
async function copied(directory: string, name: string): Promise<string> {
  const copy = join(scratch, name);
  await execa("cp", ["-a", directory, copy]);
  return copy;
}

/** What can be measured alone, in the order of measuring. */
const PARTS = [
  ...["version", "bridge", "parallel", "counts", "masquerade", "portmap", "chain", "growth", "bandwidth"],
  ...["ptp", "static", "tuning", "firewall", "nerdctl"],
  ...["path", "rates", "overlay", "overlay-rates", "leases"],
];

const chosen = process.argv.slice(2);
const against = process.env.PODWIRE_BENCH_AGAINST ?? "";

function wanted(part: string): boolean {
  return chosen.length === 0 || chosen.includes(part);
}

/** The parts that time calls, leases excepted; what grows with the number of mappings is returned. */
async function measureParts(suites: Pair): Promise<Growth[]> {
  if (wanted("version")) await benchVersion(suites);
  if (wanted("bridge")) await benchBridge(suites, "bridge + host-local", "plain", {});
  if (wanted("parallel")) await benchParallel(suites);
  if (wanted("counts")) await benchCounts(suites);
  if (wanted("masquerade")) await benchMasquerade(suites);
  if (wanted("portmap")) {
    await benchPorts(suites, 1);
    await benchPorts(suites, 10);
  }
  if (wanted("chain")) await benchChain(suites);
  if (wanted("bandwidth")) {
    await benchBandwidth(suites);
    await benchBandwidthChain(suites);
  }
  if (wanted("ptp")) {
    await benchPtp(suites);
    await benchPtpMasquerade(suites);
  }
  if (wanted("static")) await benchStatic(suites);
  if (wanted("tuning")) await benchTuning(suites);
  if (wanted("firewall")) await benchFirewall(suites);
  if (wanted("nerdctl")) await benchNerdctl(suites);
  if (wanted("counts")) {
    await benchProcesses(suites);
    await benchBandwidthProcesses(suites);
  }
  return wanted("growth") ? await benchGrowth(suites) : [];
}

async function inside(): Promise<number> {
  await furnishSandbox();
  const reference =
    against === "" ? await findReference() : { directory: resolve(against), version: "another build", note: "" };
  const suite = (side: Suite["side"], directory: string): Suite => ({
    ...{ side, name: side, backend: "", directory, host: `/run/netns/${side}`, state: join(scratch, side) },
  });
  const own = resolve(process.env.PODWIRE_BIN ?? join(repository, "bin"));
  const suites: Pair = [
    suite("podwire", against === "" ? own : await copied(own, "this-build")),
    suite("reference", against === "" ? reference.directory : await copied(reference.directory, "other-build")),
  ];
  await prepareTimer(join(repository, "bench/timer.c"), scratch);
  prepareMeasuring(scratch);
  const names = suites.flatMap(({ name }) => [name, ...Array.from({ length: PODS }, (_, pod) => `${name}-${pod}`)]);
  await execa("ip", ["-batch", "-"], { input: names.map((name) => `netns add ${name}\n`).join("") });
  for (const { name } of suites) await execa("ip", ["-n", name, "link", "set", "lo", "up"]);
  console.log(`reference: ${reference.version}${reference.note === "" ? "" : ` (${reference.note})`}\n`);
  console.log(`${"".padEnd(60)} ${"Podwire".padStart(12)} ${"reference".padStart(12)} ${"ratio".padStart(7)}`);
  const growth = await measureParts(suites);
  const dataPath = wanted("path") ? await benchDataPath(suites, repository, scratch) : [];
  const rates = wanted("rates") ? await benchRates(suites) : [];
  const firstSeconds = wanted("rates") ? await benchFirstSeconds(suites) : [];
  const overlay = wanted("overlay") ? await benchOverlay(suites, scratch) : [];
  const overlayRates = wanted("overlay-rates") ? await benchOverlayRates(suites, scratch) : [];
  /* Last, because the disk is busy for a while after so many files have been made and removed. */
  if (wanted("leases")) {
    const times = SAME_KIND ? 4 : 1;
    await benchHostLocal(suites, 0, 50 * times);
    await benchHostLocal(suites, 1000, 50 * times);
    await benchHostLocal(suites, 60_000, 5 * times);
  }
  if (memory.reference > 0)
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
    growth,
    dataPath,
    rates,
    firstSeconds,
    overlay,
    overlayRates,
  };
  if (chosen.length === 0 && against === "") await writeReport(repository, report);
  else await writeParts(join(repository, ".cache/parts-of-bench"), report);
  return 0;
}

async function outside(): Promise<number> {
  process.env.PODWIRE_BENCH_SCRATCH = scratch;
  const freePath = await restrictPath(["bench"]);
  try {
    const unknown = chosen.filter((part) => !PARTS.includes(part));
    if (unknown.length > 0) {
      console.error(`there is no part ${unknown.join(", ")}; there are ${PARTS.join(", ")}`);
      return 2;
    }
    if (against === "") await findReference();
    return await runInSandbox(import.meta.filename, chosen);
  } finally {
    await freePath();
    await rm(scratch, { recursive: true, force: true });
  }
}

process.exit(await (inSandbox() ? inside() : outside()));
