/** What the benchmark leaves behind: the numbers, a table, a picture, and the table in the README. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FirstSeconds, MeasuredRate } from "./bandwidth.ts";
import {
  type OverlayNumbers,
  overlayPicture,
  overlayRatesPicture,
  overlayRatesTable,
  overlaySection,
  overlayTable,
} from "./overlay-report.ts";
import { type Chart, plot, type Series } from "./plot.ts";

export interface Row {
  readonly name: string;
  readonly unit: "ms" | "kB" | "";
  readonly podwire: number;
  readonly reference: number;
  /** Podwire's share of the reference: for times the median over the pairs. */
  readonly ratio: number;
  /** Calls of each suite. */
  readonly runs: number;
  /** Where the reference has a choice: its median with each backend, and the one that `reference` has. */
  readonly backends: Backends | null;
}

export interface Backends {
  readonly iptables: number;
  readonly nftables: number;
  readonly faster: string;
}

/** What a call costs with no mapping and with a thousand present: medians in ms, and the median of the ratios. */
export interface Growth {
  readonly name: string;
  /** "Podwire", "reference, nftables". */
  readonly suite: string;
  readonly without: number;
  readonly with: number;
  readonly ratio: number;
}

/** Connections set up to a published port, one after another. */
export interface DataPath {
  /** "Podwire", "reference, nftables", "no mapping". */
  readonly variant: string;
  /** How many ports are published; 0 if the pod is called by its own address. */
  readonly mappings: number;
  readonly perSecond: number;
  /** Of connect(): from the first packet to the answer. */
  readonly medianUs: number;
  readonly p99Us: number;
}

export interface Report extends OverlayNumbers {
  readonly date: string;
  readonly machine: string;
  readonly podwire: string;
  readonly reference: string;
  /** Why the reference is not the wanted version; empty if it is. */
  readonly note: string;
  readonly rows: readonly Row[];
  readonly growth: readonly Growth[];
  readonly dataPath: readonly DataPath[];
  readonly rates: readonly MeasuredRate[];
  readonly firstSeconds: readonly FirstSeconds[];
}

const BEGIN = "<!-- begin: written by make bench -->";
const END = "<!-- end: written by make bench -->";
const OVERLAY_BEGIN = "<!-- begin: the overlay, written by make bench -->";
const OVERLAY_END = "<!-- end: the overlay, written by make bench -->";

/** Writes what has been measured of the parts into a directory. */
export async function writeParts(directory: string, report: Report): Promise<void> {
  await mkdir(join(directory, "results"), { recursive: true });
  await writeFile(join(directory, "results/latest.json"), `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(join(directory, "RESULTS.md"), markdown(report));
  await writeFile(join(directory, "results.svg"), picture(report));
  if (report.dataPath.length > 0) await writeFile(join(directory, "datapath.svg"), dataPathPicture(report));
  if (report.firstSeconds.length > 0) await writeFile(join(directory, "bandwidth.svg"), firstSecondsPicture(report));
  if (report.overlay.length > 0) await writeFile(join(directory, "overlay.svg"), overlayPicture(report));
  if (report.overlayRates.length > 0)
    await writeFile(join(directory, "overlay-rates.svg"), overlayRatesPicture(report));
}

/** Writes all of it below the repository's directory, and the tables of its README. */
export async function writeReport(repository: string, report: Report): Promise<void> {
  await writeParts(join(repository, "bench"), report);
  const readme = join(repository, "README.md");
  const text = await readFile(readme, "utf8").catch(() => "");
  const tables = replaceBetween(text, BEGIN, END, `${caption(report)}\n\n${table(headlines(report.rows))}`);
  const overlayPlot = "![What it takes to keep a node up to date](bench/overlay.svg)";
  const overlay = [overlayTable(report), overlayPlot, overlayRatesTable(report)].join("\n\n");
  const all = replaceBetween(tables, OVERLAY_BEGIN, OVERLAY_END, overlay);
  if (all !== text) await writeFile(readme, all);
}

/** The text with other lines between two marks; as it is if it has not both. */
function replaceBetween(text: string, first: string, last: string, lines: string): string {
  const [begin, end] = [text.indexOf(first), text.indexOf(last)];
  if (begin < 0 || end < begin) return text;
  return `${text.slice(0, begin)}${first}\n${lines}\n${text.slice(end)}`;
}

/** A number with its unit, in as many digits as one reads. */
function quantity(value: number, unit: Row["unit"]): string {
  if (unit === "kB") return `${(value / 1000).toFixed(2)} MB`;
  if (unit === "") return value.toLocaleString("en");
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
}

function share(ratio: number): string {
  return `${ratio.toFixed(ratio < 0.1 ? 3 : 2)}x`;
}

function caption(report: Report): string {
  const reference = `reference plugins ${report.reference}${report.note === "" ? "" : ` (${report.note})`}`;
  return `Podwire ${report.podwire} and ${reference}, alternating in one run on ${report.date} (${report.machine}).`;
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(
    (row) =>
      `| ${row.name} | ${quantity(row.podwire, row.unit)} | ${quantity(row.reference, row.unit)} ` +
      `| ${share(row.ratio)} |`,
  );
  return ["| | Podwire | reference | ratio |", "|---|---:|---:|---:|", ...lines].join("\n");
}

/** The rows that the README shows. RESULTS.md has all. */
const HEADLINES: readonly string[] = [
  "VERSION",
  "bridge + host-local ADD",
  "bridge + host-local CHECK",
  "bridge + host-local DEL",
  "100 x bridge + host-local ADD at once, total",
  "bridge with masquerade ADD",
  "portmap ADD, 1 port",
  "portmap ADD among 1,000 mappings",
  "bandwidth ADD, both directions",
  "bridge + portmap + bandwidth ADD",
  "bridge + portmap + bandwidth DEL",
  "host-local ADD, 60,000 leases held",
  "most memory of a timed call (wait4, ru_maxrss)",
  "the plugins that both have, on disk",
];

function headlines(rows: readonly Row[]): Row[] {
  return rows.filter((row) => HEADLINES.includes(row.name));
}

/** Both backends of the reference, where it has a choice. */
function backendTable(rows: readonly Row[]): string {
  const lines = rows.flatMap(({ name, unit, podwire, ratio, backends }) =>
    backends === null
      ? []
      : `| ${name} | ${quantity(podwire, unit)} | ${quantity(backends.nftables, unit)} | ` +
        `${quantity(backends.iptables, unit)} | ${share(ratio)} |`,
  );
  const head = "| | Podwire | reference, nftables | reference, iptables | ratio to the faster |";
  return [head, "|---|---:|---:|---:|---:|", ...lines].join("\n");
}

function growthTable(growth: readonly Growth[]): string {
  const lines = growth.map(
    ({ name, suite, without, with: withMany, ratio }) =>
      `| ${name} | ${suite} | ${quantity(without, "ms")} | ${quantity(withMany, "ms")} | ${share(ratio)} |`,
  );
  return ["| | | no mapping | 1,000 mappings | ratio |", "|---|---|---:|---:|---:|", ...lines].join("\n");
}

function dataPathTable(results: readonly DataPath[]): string {
  const direct = results.find(({ mappings }) => mappings === 0)?.medianUs ?? Number.NaN;
  const lines = results.map(({ variant, mappings, perSecond, medianUs, p99Us }) => {
    const added = mappings === 0 ? "-" : `${(medianUs - direct).toFixed(1)} us`;
    const count = mappings === 0 ? "-" : mappings.toLocaleString("en");
    const rate = Math.round(perSecond).toLocaleString("en");
    return `| ${variant} | ${count} | ${rate} | ${medianUs.toFixed(1)} us | ${added} | ${p99Us.toFixed(0)} us |`;
  });
  return [
    "| | mappings | connections a second | median time to connect | added by the mapping | 99th percentile |",
    "|---|---:|---:|---:|---:|---:|",
    ...lines,
  ].join("\n");
}

const STYLES: Readonly<Record<string, Series["style"]>> = {
  Podwire: "podwire",
  "reference, nftables": "nftables",
  "reference, iptables": "iptables",
};

/** Connections a second and the time of one, over the number of mappings. */
function dataPathPicture({ dataPath }: Report): string {
  const variants = [...new Set(dataPath.map(({ variant }) => variant))];
  const series = (value: (result: DataPath) => number): Series[] =>
    variants.map((name) => {
      const points = dataPath
        .filter(({ variant }) => variant === name)
        .map((result) => [Math.max(1, result.mappings), value(result)] as const);
      return { name, style: STYLES[name] ?? "none", points };
    });
  const xTicks = [...new Set(dataPath.map(({ mappings }) => mappings))].filter((count) => count > 0);
  const common = { xTicks, xLabel: "published ports on the node" };
  const charts: Chart[] = [
    { ...common, title: "connections a second", logarithmic: false, series: series((result) => result.perSecond) },
    {
      ...common,
      title: "median time to connect, microseconds",
      logarithmic: true,
      series: series((result) => result.medianUs),
    },
  ];
  return plot("Connections to a published port", charts);
}

/** What limits let through, in percent of their number, and the round-trip time beside TCP. */
function ratesTable(rates: readonly MeasuredRate[]): string {
  const percent = ([first, rest]: readonly [number, number]) => `${first.toFixed(0)} %, ${rest.toFixed(1)} %`;
  const time = ([middle, highest]: readonly [number, number]) =>
    Number.isFinite(middle) ? `${middle.toFixed(1)}, ${highest.toFixed(1)} ms` : "";
  const lines = rates.map(({ megabits, protocol, family, direction, ...rate }) => {
    const own = `${percent(rate.podwire)} | ${time(rate.podwireRtt)}`;
    const other = `${percent(rate.reference)} | ${time(rate.referenceRtt)}`;
    return `| ${megabits.toLocaleString("en")} Mbit/s ${direction}, ${protocol} over IPv${family} | ${own} | ${other} |`;
  });
  return [
    "| limit | Podwire: first second, then | round trip: median, highest | reference: first second, then | round trip |",
    "|---|---:|---:|---:|---:|",
    ...lines,
  ].join("\n");
}

/** Throughput over the first five seconds of a limit. */
function firstSecondsPicture({ firstSeconds }: Report): string {
  /* A logarithm needs more than nothing; what comes after the time that was measured is the queue's rest. */
  const drawn = (points: FirstSeconds["podwire"]) =>
    points.filter(([at]) => at < 5).map(([at, rate]) => [at, Math.max(0.1, rate)] as const);
  const charts: Chart[] = firstSeconds.map(({ megabits, direction, podwire, reference }) => ({
    title: `Limit of ${megabits} Mbit/s, ${direction}: Mbit/s`,
    xTicks: [0, 1, 2, 3, 4, 5],
    xLabel: "seconds since the first packet",
    logarithmic: true,
    series: [
      { name: "Podwire", style: "podwire", points: drawn(podwire) },
      {
        name: "reference",
        style: "nftables",
        points: drawn(reference),
      },
    ],
  }));
  return plot("The first five seconds of a limit", charts);
}

function markdown(report: Report): string {
  return `# Podwire beside the reference plugins

${caption(report)} Made by \`make bench\`; the numbers with all digits are in [results/latest.json](results/latest.json).

![Podwire's share of the reference's time](results.svg)

${table(report.rows)}

## The reference's two backends

${backendTable(report.rows)}

DEL with masquerade and the nftables backend ends with an error of the reference's where \`iptables\` is the program that
speaks nf_tables: it asks that for a chain that its other backend might have left. The attachment is gone by then; the
time is that of the whole call.

## What one more call costs when there are many

${growthTable(report.growth)}

A call for a pod with one port, on a node where nothing else is published and on one with 1,000 published ports: of 1,000
pods with one port each for Podwire, of 10 pods with 100 ports each for the reference.

## Connections to a published port

![Connections to a published port](datapath.svg)

${dataPathTable(report.dataPath)}

One client connects from another network namespace, again and again, to a pod behind a bridge (connect.c); the mapping in
use stands in the middle of the others. "No mapping" is the pod called by its own address. The rules of the reference are
written in bulk in the shape that it writes, which is compared with what it makes for one pod (datapath.ts).

## What bandwidth limits let through

${ratesTable(report.rates)}

In percent of the limit, as the receiver saw it with iperf3: in the first second, and on average in the four after it. The
burst is what containerd sends where nobody has asked for one (2^32 - 1 bits), the latency the default of 25 ms. The round
trip is that of a ping every 50 ms beside the one saturating TCP connection; UDP sends 1.3 times the limit.

![The first five seconds of a limit](bandwidth.svg)

${overlaySection(report)}

## How the times are taken

Each suite has a network namespace as its host and a lease directory of its own on the same disk.
The calls of the two alternate, so that whatever else the machine does hits both; a time is from before vfork to after
wait4 (timer.c), the ratio the median over the pairs. Lease directories start out in the reference's format; one call
of each suite goes ahead of the measured ones. The reference has two backends for the packet filter: both are measured,
and the row has the faster one. Every attachment gets a fresh interface, IPv4 only; every call must
succeed, and no address may be given twice.
`;
}

const ROW_HEIGHT = 26;
const NAME_WIDTH = 330;
const BAR_WIDTH = 300;

/** Horizontal bars: the reference's time is the full width of each. */
function picture(report: Report): string {
  const rows = report.rows.filter((row) => row.unit === "ms");
  const height = 48 + rows.length * ROW_HEIGHT + 12;
  const bars = rows.map((row, index) => {
    const y = 48 + index * ROW_HEIGHT;
    const width = Math.max(2, Math.min(1.2, row.ratio) * BAR_WIDTH).toFixed(1);
    const label = `${quantity(row.podwire, "ms")} of ${quantity(row.reference, "ms")}`;
    return `  <text x="${NAME_WIDTH - 10}" y="${y + 13}" text-anchor="end">${row.name}</text>
  <rect class="reference" x="${NAME_WIDTH}" y="${y}" width="${BAR_WIDTH}" height="17" rx="2"/>
  <rect class="podwire" x="${NAME_WIDTH}" y="${y}" width="${width}" height="17" rx="2"/>
  <text class="value" x="${NAME_WIDTH + BAR_WIDTH + 10}" y="${y + 13}">${label}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="820" height="${height}" viewBox="0 0 820 ${height}" role="img">
  <title>Podwire's share of the reference's time</title>
  <style>
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .head { font-weight: 600 } .value { fill: #57606a }
    .podwire { fill: #0a7f5a } .reference { fill: #d5dae0 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .value { fill: #9198a1 } .podwire { fill: #2ea97c } .reference { fill: #3d444d }
    }
  </style>
  <text class="head" x="${NAME_WIDTH}" y="28">Podwire's share of the time of the reference plugins ${report.reference}</text>
${bars.join("\n")}
</svg>
`;
}
