/**
 * Seeded fuzzing: valid calls of every plugin, spoilt. Whatever comes in, a plugin ends with status 0 or 1, says at most
 * one JSON document, a failure is an error object, and a failed call changes nothing.
 *
 * PODWIRE_FUZZ_SEED and PODWIRE_FUZZ_COUNT choose other inputs; a failure prints how to run its input again.
 */
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, test } from "vitest";
import { binDirectory } from "../../testbed/harness.ts";

interface Report {
  outcomes: Record<string, number>;
  findings: { index: number; problem: string; again?: string }[];
}

const SEED = Number(process.env.PODWIRE_FUZZ_SEED ?? 20260101);
const COUNT = Number(process.env.PODWIRE_FUZZ_COUNT ?? 20_000);
const FIRST = Number(process.env.PODWIRE_FUZZ_FIRST ?? 0);
/* Each batch has namespaces of its own: what its calls attach does not pile up. */
const BATCH = 500;
const PARALLEL = 2;

async function runBatch(first: number, count: number): Promise<Report> {
  const shell = fileURLToPath(new URL("fuzz.sh", import.meta.url));
  const driver = fileURLToPath(new URL("fuzz-driver.ts", import.meta.url));
  const { stdout } = await execa(
    "unshare",
    [
      ...["--net", "--mount", "--propagation", "private", shell, binDirectory],
      ...[process.execPath, driver, `${SEED}`, `${first}`, `${count}`],
    ],
    { env: { NODE_NO_WARNINGS: "1" } },
  );
  return JSON.parse(stdout) as Report;
}

test(`${COUNT} spoilt inputs, seed ${SEED}`, { timeout: 600_000 }, async () => {
  const started = performance.now();
  const outcomes: Record<string, number> = {};
  const findings: Report["findings"] = [];
  const batches: number[] = [];
  for (let first = FIRST; first < FIRST + COUNT; first += BATCH) batches.push(first);
  const worker = async (): Promise<void> => {
    for (let first = batches.shift(); first !== undefined; first = batches.shift()) {
      const report = await runBatch(first, Math.min(BATCH, FIRST + COUNT - first));
      for (const [outcome, count] of Object.entries(report.outcomes))
        outcomes[outcome] = (outcomes[outcome] ?? 0) + count;
      /* From the start of its batch: what an input finds depends on what came before it. */
      for (const item of report.findings) {
        const count = item.index - first + 1;
        const again = `PODWIRE_FUZZ_SEED=${SEED} PODWIRE_FUZZ_FIRST=${first} PODWIRE_FUZZ_COUNT=${count}`;
        findings.push({ ...item, again });
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  const tried = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  const summary = Object.entries(outcomes)
    .sort((a, b) => b[1] - a[1])
    .map(([outcome, count]) => `${outcome}: ${count}`)
    .join(", ");
  console.log(`fuzzing: ${tried} inputs, seed ${SEED}, ${seconds} s (${summary})`);
  const shown = findings
    .slice(0, 5)
    .map((item) => JSON.stringify(item, null, 1))
    .join("\n");
  expect(findings.length, `${findings.length} inputs handled wrongly, the first of them:\n${shown}`).toBe(0);
  expect(tried).toBe(COUNT);
});
