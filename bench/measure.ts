/** Measuring calls of two or more suites alternating, and the rows that come of it. */
import { join } from "node:path";
import { execa } from "execa";
import { type Call, median, run, type Suite, type Timing } from "./calls.ts";
import type { Backends, Row } from "./report.ts";

export type Pair = readonly [Suite, Suite];
/** The other side is another build of Podwire, not the reference. */
export const SAME_KIND = (process.env.PODWIRE_BENCH_AGAINST ?? "") !== "";
/** The backends that the other side's rules are measured with; another build has the one that this one has. */
export const BACKENDS = SAME_KIND ? [""] : ["iptables", "nftables"];
/** A call that does not say yet who makes it. */
export type Prepared = Omit<Call, "suite" | "output">;

/** What the report will say, in the order of measuring. */
export const rows: Row[] = [];
/** The most memory that a timed call of each side took, in kB. */
export const memory = { podwire: 0, reference: 0 };

let scratch = "";

/** Keeps a directory for what calls print. Call it first. */
export function prepareMeasuring(directory: string): void {
  scratch = directory;
}

/** The file for what a call prints. */
export function outputOf(suite: Suite, verb: string, index: number): string {
  return join(scratch, `output-${suite.name}-${verb}-${index}.json`);
}

/** The suites with nodes of their own for one purpose; with `backends` the reference once for each of its own. */
export function variants([podwire, reference]: Pair, purpose: string, backends: readonly string[] = [""]): Suite[] {
  const variant = (suite: Suite, backend: string): Suite => {
    const name = [suite.side, backend, purpose].filter((part) => part !== "").join("-");
    return { ...suite, name, backend, host: `/run/netns/${name}`, state: `${suite.state}-${name}` };
  };
  return [variant(podwire, ""), ...backends.map((backend) => variant(reference, backend))];
}

/** Makes the namespaces of suites' nodes and pods. */
export async function makeNamespaces(suites: readonly Suite[], pods: number): Promise<void> {
  const names = suites.flatMap(({ name }) => [name, ...Array.from({ length: pods }, (_, pod) => `${name}-${pod}`)]);
  await execa("ip", ["-batch", "-"], { input: names.map((name) => `netns add ${name}\n`).join("") });
  for (const { name } of suites) await execa("ip", ["-n", name, "link", "set", "lo", "up"]);
}

/** Makes `count` calls of each suite, alternating, each first in half of the rounds: times in ms for each suite's name. */
export async function measure(
  suites: readonly Suite[],
  count: number,
  make: (suite: Suite, index: number) => Prepared,
): Promise<Map<string, number[]>> {
  const calls: Call[] = [];
  for (let index = 0; index < count; index += 1) {
    for (const suite of turned(suites, index)) {
      const call = make(suite, index);
      calls.push({ suite, output: outputOf(suite, call.verb, index), ...call });
    }
  }
  const [timings] = await run(calls);
  return timesOf(timings);
}

/** The list, begun at another place each time. */
export function turned<T>(list: readonly T[], index: number): T[] {
  const start = index % list.length;
  return [...list.slice(start), ...list.slice(0, start)];
}

/** Times in ms for each suite's name, in the order of the calls; notes their memory. */
export function timesOf(timings: readonly Timing[]): Map<string, number[]> {
  const times = new Map<string, number[]>();
  for (const { call, ns, rssKb } of timings) {
    const { name, side } = call.suite;
    times.set(name, [...(times.get(name) ?? []), ns / 1e6]);
    memory[side] = Math.max(memory[side], rssKb);
  }
  return times;
}

/** Measures calls of both suites and adds a row. */
export async function compare(
  name: string,
  suites: Pair,
  count: number,
  make: (suite: Suite, index: number) => Prepared,
): Promise<void> {
  addFaster(name, suites, await measure(suites, count, make));
}

/** Adds a row: Podwire beside that suite of the reference that took less time. */
export function addFaster(name: string, suites: readonly Suite[], times: ReadonlyMap<string, number[]>): void {
  const of = (suite: Suite | undefined) => times.get(suite?.name ?? "") ?? [];
  const podwire = suites.find((suite) => suite.side === "podwire");
  const reference = fastest(suites, times);
  const medianOf = (backend: string) =>
    median(of(suites.find((suite) => suite.side === "reference" && suite.backend === backend)));
  const backends =
    reference.backend === ""
      ? null
      : { iptables: medianOf("iptables"), nftables: medianOf("nftables"), faster: reference.backend };
  add(name, of(podwire), of(reference), backends);
}

/** Of the reference's suites the one with the lowest median. */
export function fastest(suites: readonly Suite[], times: ReadonlyMap<string, number[]>): Suite {
  const candidates = suites.filter((suite) => suite.side === "reference");
  const sorted = candidates.toSorted((a, b) => median(times.get(a.name) ?? []) - median(times.get(b.name) ?? []));
  if (sorted[0] === undefined) throw new Error("no reference among the suites");
  return sorted[0];
}

/** Adds a row of times in ms: medians, and the median of the ratios of each pair. */
export function add(
  name: string,
  podwire: readonly number[],
  reference: readonly number[],
  backends: Backends | null = null,
): void {
  const ratios = podwire.map((time, index) => time / (reference[index] ?? Number.NaN));
  const row = {
    name,
    unit: "ms" as const,
    podwire: median(podwire),
    reference: median(reference),
    ratio: median(ratios),
    runs: podwire.length,
    backends,
  };
  rows.push(row);
  console.log(
    `${name.padEnd(60)} ${row.podwire.toFixed(2).padStart(9)} ms ${row.reference.toFixed(2).padStart(9)} ms ` +
      `${row.ratio.toFixed(3).padStart(7)}${
        backends === null
          ? ""
          : `   (iptables ${backends.iptables.toFixed(2)}, nftables ${backends.nftables.toFixed(2)})`
      }`,
  );
}

/** Adds a row of counts or sizes. */
export function addCount(name: string, unit: Row["unit"], podwire: number, reference: number): void {
  rows.push({ name, unit, podwire, reference, ratio: podwire / reference, runs: 1, backends: null });
  console.log(`${name.padEnd(60)} ${String(podwire).padStart(9)} ${unit} ${String(reference).padStart(9)} ${unit}`);
}
