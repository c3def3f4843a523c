/** Ends a test run with the reason of each skipped test and, as the very last line, `N passed, N failed, N skipped`. */
import { writeSync } from "node:fs";
import type { Reporter, TestModule } from "vitest/node";
import { type FaultCount, faultTable } from "./faults/table.ts";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Failures that belong to no test: the comparison of the machine's state counts itself here. */
export const outsideFailures = { count: 0 };
const SHARED = Symbol.for("podwire.outsideFailures");
(globalThis as Record<symbol, unknown>)[SHARED] ??= outsideFailures;

/** Counts one failure outside any test; whichever copy of this module vitest has loaded, the reporter sees it. */
export function countOutsideFailure(): void {
  ((globalThis as Record<symbol, unknown>)[SHARED] as typeof outsideFailures).count += 1;
}

export default class SummaryReporter implements Reporter {
  #counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  #reasons: string[] = [];
  #faults: FaultCount[] = [];

  onInit(): void {
    /* At exit, because the teardown of the run, which may still print and fail, comes after the last reporter call. */
    process.once("exit", () => this.#print());
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const counts: Counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    this.#reasons = [];
    this.#faults = [];
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      /* A file that cannot be loaded, or whose set-up fails, has no failed test to show for it. */
      if (module.state() === "failed" && !tests.some((test) => test.result().state === "failed")) counts.failed += 1;
      for (const test of tests) {
        const result = test.result();
        const { faults } = test.meta();
        if (faults !== undefined) this.#faults.push(faults);
        if (result.state === "passed") counts.passed += 1;
        else if (result.state === "failed") counts.failed += 1;
        else {
          counts.skipped += 1;
          const note = result.state === "skipped" ? result.note : undefined;
          this.#reasons.push(`skipped: ${test.fullName}: ${note ?? "no reason given"}`);
        }
      }
    }
    this.#counts = counts;
  }

  #print(): void {
    const { passed, skipped } = this.#counts;
    const outside = ((globalThis as Record<symbol, unknown>)[SHARED] as typeof outsideFailures).count;
    const failed = this.#counts.failed + outside;
    if (failed > 0 && (process.exitCode === undefined || process.exitCode === 0)) process.exitCode = 1;
    const lines = [
      ...faultTable(this.#faults),
      ...this.#reasons,
      `${passed} passed, ${failed} failed, ${skipped} skipped`,
    ];
    writeSync(1, `${lines.join("\n")}\n`);
  }
}
