/** In the emulated machine: tells the host of every test as soon as it has ended, a line of JSON each. */
import { appendFileSync } from "node:fs";
import { basename } from "node:path";
import type { Reporter, TestCase, TestModule } from "vitest/node";
import type { Outcome } from "./table.ts";

export default class GuestReporter implements Reporter {
  readonly #line: string;

  /** @param line the device or file that the lines go to */
  constructor(line: string) {
    this.#line = line;
  }

  onTestCaseResult(test: TestCase): void {
    const result = test.result();
    const reason = result.state === "failed" ? (result.errors[0]?.message ?? "") : "";
    const note = result.state === "skipped" ? (result.note ?? "") : "";
    this.#tell({
      suite: suiteOf(test.module),
      test: test.fullName,
      state: result.state === "pending" ? "failed" : result.state,
      note: (reason + note).slice(0, 1000),
    });
  }

  onTestModuleEnd(module: TestModule): void {
    const errors = module.errors();
    if (errors.length === 0) return;
    this.#tell({ suite: suiteOf(module), test: "(the file)", state: "failed", note: errors[0]?.message ?? "" });
  }

  #tell(outcome: Outcome): void {
    appendFileSync(this.#line, `${JSON.stringify(outcome)}\n`);
  }
}

function suiteOf(module: TestModule): string {
  return basename(module.moduleId, ".test.ts");
}
