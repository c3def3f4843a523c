/** How many faults a run has tried, for its last lines. */

/** What one test has tried. */
export interface FaultCount {
  readonly subject: string;
  readonly verb: string;
  readonly kind: "killed" | "errors";
  /** Faults that the call came to. */
  readonly points: number;
}

declare module "vitest" {
  interface TaskMeta {
    faults?: FaultCount;
  }
}

const VERBS: readonly string[] = ["ADD", "DEL", "GC", "CHECK"];

/** Plugin by verb: "kills+errors" in each field. Nothing if nothing was tried. */
export function faultTable(counts: readonly FaultCount[]): string[] {
  if (counts.length === 0) return [];
  const sum = (subject: string, verb: string, kind: string): number =>
    counts
      .filter((count) => count.subject === subject && count.verb === verb && count.kind === kind)
      .reduce((total, count) => total + count.points, 0);
  const rows = [...new Set(counts.map((count) => count.subject))].sort().map((subject) => {
    const fields = VERBS.map((verb) => `${sum(subject, verb, "killed")}+${sum(subject, verb, "errors")}`);
    return [subject, ...fields];
  });
  const all = counts.reduce((total, count) => total + count.points, 0);
  const line = (row: readonly string[]): string =>
    row.map((field, i) => (i === 0 ? field.padEnd(20) : field.padStart(12))).join("");
  return [`faults: ${all} points (kills+errors)`, line(["", ...VERBS]), ...rows.map(line)];
}
