/** How many faults a run has tried, for its last lines. */

export type FaultKind = "killed" | "errors";

/** What one test has tried. */
export interface FaultCount {
  readonly subject: string;
  readonly verb: string;
  readonly kind: FaultKind;
  /** Faults that the call came to. */
  readonly points: number;
  /** Those after which something was not as it should be. */
  readonly leaks: number;
}

declare module "vitest" {
  interface TaskMeta {
    faults?: FaultCount;
  }
}

/** A line for each plugin and verb. Nothing if nothing was tried. */
export function faultTable(counts: readonly FaultCount[]): string[] {
  if (counts.length === 0) return [];
  const rows = new Map<string, FaultCount[]>();
  for (const count of counts) {
    const key = JSON.stringify([count.subject, count.verb]);
    rows.set(key, [...(rows.get(key) ?? []), count]);
  }
  const body = [...rows].map(([key, row]) => [...(JSON.parse(key) as string[]), ...sums(row)]);
  body.sort((a, b) => (a[0] ?? "").localeCompare(b[0] ?? ""));
  const [killed, errors, leaks] = sums(counts);
  const points = Number(killed) + Number(errors);
  return [
    `faults: ${points} points, ${leaks} leaks`,
    ...[["subject", "operation", "killed", "errors", "leaks"], ...body, ["all", "", killed, errors, leaks]].map(line),
  ];
}

/** Killed, errors, leaks. */
function sums(counts: readonly FaultCount[]): string[] {
  const sum = (numbers: readonly number[]): string => `${numbers.reduce((total, number) => total + number, 0)}`;
  const points = (kind: FaultKind): number[] =>
    counts.filter((count) => count.kind === kind).map((count) => count.points);
  return [sum(points("killed")), sum(points("errors")), sum(counts.map((count) => count.leaks))];
}

function line(row: readonly (string | undefined)[]): string {
  return row.map((field = "", i) => (i < 2 ? field.padEnd(i === 0 ? 48 : 10) : field.padStart(8))).join("");
}
