/** What the benchmark leaves behind: the numbers, a table, a picture, and the table in the README. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

export interface Row {
  readonly name: string;
  readonly unit: "ms" | "kB" | "";
  readonly podwire: number;
  readonly reference: number;
  /** Podwire's share of the reference: for times the median over the pairs. */
  readonly ratio: number;
  /** Calls of each suite. */
  readonly runs: number;
}

export interface Report {
  readonly date: string;
  readonly machine: string;
  readonly podwire: string;
  readonly reference: string;
  /** Why the reference is not the wanted version; empty if it is. */
  readonly note: string;
  readonly rows: readonly Row[];
}

const BEGIN = "<!-- begin: written by make bench -->";
const END = "<!-- end: written by make bench -->";

/** Writes all of it below the repository's directory. */
export async function writeReport(repository: string, report: Report): Promise<void> {
  await mkdir(join(repository, "bench/results"), { recursive: true });
  await writeFile(join(repository, "bench/results/latest.json"), `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(join(repository, "bench/RESULTS.md"), markdown(report));
  await writeFile(join(repository, "bench/results.svg"), picture(report));
  const readme = join(repository, "README.md");
  const text = await readFile(readme, "utf8").catch(() => "");
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) return;
  const block = `${BEGIN}\n${caption(report)}\n\n${table(report.rows)}\n${END}`;
  await writeFile(readme, text.slice(0, begin) + block + text.slice(end + END.length));
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
  return `Podwire ${report.podwire} and ${reference}, turn about in one run on ${report.date} (${report.machine}).`;
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(
    (row) =>
      `| ${row.name} | ${quantity(row.podwire, row.unit)} | ${quantity(row.reference, row.unit)} ` +
      `| ${share(row.ratio)} |`,
  );
  return ["| | Podwire | reference | ratio |", "|---|---:|---:|---:|", ...lines].join("\n");
}

function markdown(report: Report): string {
  return `# Podwire beside the reference plugins

${caption(report)} Made by \`make bench\`; the numbers with all digits are in [results/latest.json](results/latest.json).

![Podwire's share of the reference's time](results.svg)

${table(report.rows)}

How it is measured: each suite has a network namespace as its host and a lease directory of its own on the same disk.
The calls of the two alternate, so that whatever else the machine does hits both; a time is from before vfork to after
wait4 (timer.c), the ratio the median over the pairs. Lease directories start out in the reference's format; one call
of each suite goes ahead of the measured ones. Every attachment gets a fresh interface, IPv4 only; every call must
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
