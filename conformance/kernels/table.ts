/** What the suites did in which kernel, as tables in Markdown. */

/** A test that has ended, or a file that could not be loaded. */
export interface Outcome {
  /** The file, without folder and ending. */
  readonly suite: string;
  readonly test: string;
  readonly state: "passed" | "failed" | "skipped";
  /** Why it failed or was skipped. */
  readonly note: string;
}

/** One kernel with all that ran in it. */
export interface Column {
  readonly release: string;
  readonly version: string;
  readonly outcomes: readonly Outcome[];
  /** Seconds, all boots together. */
  readonly seconds: number;
}

const DASH = "—";

/** "12 passed", "12 passed, 3 skipped", "1 failed, 11 passed"; a dash if it did not run. */
export function cell(outcomes: readonly Outcome[]): string {
  const parts: string[] = [];
  for (const state of ["failed", "passed", "skipped"] as const) {
    const count = outcomes.filter((outcome) => outcome.state === state).length;
    if (count > 0) parts.push(state === "failed" ? `**${count} failed**` : `${count} ${state}`);
  }
  return parts.length === 0 ? DASH : parts.join(", ");
}

/** The rows are suites in the order given; the last one is the sum. */
export function table(columns: readonly Column[], suites: readonly string[]): string[] {
  const row = (first: string, cells: readonly string[]) => `| ${[first, ...cells].join(" | ")} |`;
  return [
    row(
      "suite",
      columns.map((column) => `${column.version} (${column.release})`),
    ),
    row("---", Array(columns.length).fill("---")),
    ...suites.map((suite) =>
      row(
        suite,
        columns.map((column) => cell(column.outcomes.filter((outcome) => outcome.suite === suite))),
      ),
    ),
    row(
      "**all**",
      columns.map((column) => cell(column.outcomes)),
    ),
    row(
      "time",
      columns.map((column) => `${Math.round(column.seconds / 60)} min`),
    ),
  ];
}

/** A line for each reason why tests were skipped, or each failure, with the kernels that it holds for. */
export function reasons(columns: readonly Column[], state: "failed" | "skipped"): string[] {
  const kernels = new Map<string, { releases: string[]; count: number }>();
  for (const { release, outcomes } of columns) {
    for (const outcome of outcomes.filter((item) => item.state === state)) {
      const text = (outcome.note.split("\n")[0] ?? "") || "no reason given";
      const key = state === "failed" ? `${outcome.suite}: ${outcome.test}: ${text}` : `${outcome.suite}: ${text}`;
      const entry = kernels.get(key) ?? { releases: [], count: 0 };
      if (!entry.releases.includes(release)) entry.releases.push(release);
      entry.count += 1;
      kernels.set(key, entry);
    }
  }
  return [...kernels].map(([text, { releases, count }]) => `${count} in ${releases.join(", ")}: ${text}`);
}
