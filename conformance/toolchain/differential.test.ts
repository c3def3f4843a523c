/**
 * The build rewrites the compiler's LLVM code and leaves out the runtime's collector of cycles (hack/toolchain). So the same
 * calls are made with three executables, and must have the same answers and effects:
 * - the product, as it is installed;
 * - plain: the compiler's code, only marked to be optimised for size, with the runtime's own collector;
 * - poisoned: the product with a heap on which freed memory cannot be used unnoticed.
 * `make comparison` builds the last two.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, expect, test } from "vitest";
import { binDirectory, patience, repository } from "../../testbed/call.ts";
import { comparisonDirectory } from "./comparison.ts";
import type { Observation } from "./observation.ts";

const SEED = Number(process.env.PODWIRE_FUZZ_SEED ?? 20260101);
const BATCHES = 6;
/** In each batch. */
const SPOILT = 300;
const LIVES = 12;

const PRODUCT = "the product";
const DIRECTORIES: Readonly<Record<string, string>> = {
  [PRODUCT]: binDirectory,
  plain: join(comparisonDirectory, "plain"),
  poisoned: join(comparisonDirectory, "poisoned"),
};

/** All observations of one batch of calls with the executables of a directory. */
async function runBatch(directory: string, batch: number): Promise<Observation[]> {
  const shell = join(repository, "conformance/protocol/fuzz.sh");
  const driver = join(import.meta.dirname, "driver.ts");
  const numbers = [SEED, batch, SPOILT, LIVES].map(String);
  const namespaces = ["--net", "--mount", "--propagation", "private"];
  const args = [...namespaces, shell, directory, process.execPath, driver, ...numbers];
  const { stdout } = await execa("unshare", args, { env: { NODE_NO_WARNINGS: "1" }, maxBuffer: 1e9 });
  return stdout.split("\n").map((line) => JSON.parse(line) as Observation);
}

/** The first difference of two texts, line by line. */
function firstDifference(wanted: string, found: string): string {
  const lines = wanted.split("\n");
  const others = found.split("\n");
  const at = lines.findIndex((line, i) => line !== others[i]);
  return [`- ${lines[at] ?? ""}`, `+ ${others[at < 0 ? lines.length : at] ?? ""}`].join("\n");
}

/** What the observations of two executables differ in; a call and the first difference for each. */
function differences(wanted: readonly Observation[], found: readonly Observation[]): string[] {
  return wanted.flatMap((one, i) => {
    const other = found[i] ?? { call: "no call", answer: "", state: "" };
    for (const what of ["call", "answer", "state"] as const) {
      if (one[what] !== other[what]) return [`${one.call}\n${what}:\n${firstDifference(one[what], other[what])}`];
    }
    return [];
  });
}

beforeAll(() => {
  const missing = Object.values(DIRECTORIES).filter((directory) => !existsSync(join(directory, "bridge")));
  if (missing.length > 0) throw new Error(`${missing.join(", ")}: not built; run "make build comparison"`);
});

test("all executables answer and do the same", { timeout: 900_000 * patience }, async () => {
  const batches = Array.from({ length: BATCHES }, (_, batch) => batch);
  const found: Record<string, string[]> = { plain: [], poisoned: [] };
  const outcomes = new Map<string, number>();
  const worker = async (): Promise<void> => {
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
      const wanted = await runBatch(binDirectory, batch);
      for (const { answer } of wanted) {
        const status = answer.split("\n", 1)[0] ?? "";
        outcomes.set(status, (outcomes.get(status) ?? 0) + 1);
      }
      for (const [name, list] of Object.entries(found))
        list.push(...differences(wanted, await runBatch(DIRECTORIES[name] ?? "", batch)));
    }
  };
  await Promise.all([worker(), worker()]);
  console.log(`each executable was called: ${[...outcomes].map(([what, n]) => `${n} times with ${what}`).join(", ")}`);
  for (const [name, list] of Object.entries(found)) {
    const shown = list.slice(0, 3).join("\n\n");
    expect(list.length, `- ${PRODUCT}, + ${name}: ${list.length} calls differ, the first of them:\n${shown}`).toBe(0);
  }
});
