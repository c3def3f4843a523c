/** Around a run of the clients' suites: fetches the programs first, prints what ran against which version at the end. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { buildImage } from "./image.ts";
import { buildAttach } from "./libcni/build.ts";
import { removeStaleCgroups } from "./node.ts";
import { fetchPrograms, program } from "./programs.ts";

let directory: string;

export async function setup(project: TestProject): Promise<void> {
  await removeStaleCgroups();
  for (const line of await fetchPrograms()) console.warn(`could not be had: ${line}`);
  /* Here, so that no two test files build at once. */
  await buildImage();
  const { version: go } = await program("go");
  for (const libcni of ["libcni11", "libcni13"] as const)
    if (go !== "" && (await program(libcni)).version !== "") await buildAttach(libcni);
  directory = await mkdtemp(join(tmpdir(), `pwt-${process.pid}-`));
  const report = join(directory, "report");
  await writeFile(report, "");
  project.provide("clientsReport", report);
}

export async function teardown(): Promise<void> {
  const text = await readFile(join(directory, "report"), "utf8");
  await rm(directory, { recursive: true, force: true });
  const table = reportTable(text);
  if (table.length > 0) console.log(`\nreal clients, and what ran to its end with them\n${table.join("\n")}\n`);
}

/** A line for each pair of client and suite, with its scenarios. */
export function reportTable(text: string): string[] {
  const rows = new Map<string, Map<string, number>>();
  for (const line of text.split("\n").filter((entry) => entry !== "")) {
    const { client, suite, scenario } = JSON.parse(line) as { client: string; suite: string; scenario: string };
    const key = `${client.padEnd(24)} ${suite.padEnd(18)}`;
    const scenarios = rows.get(key) ?? new Map<string, number>();
    scenarios.set(scenario, (scenarios.get(scenario) ?? 0) + 1);
    rows.set(key, scenarios);
  }
  return [...rows]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([key, scenarios]) => {
      const shown = [...scenarios].map(([name, count]) => (count === 1 ? name : `${name} (${count})`));
      return `${key} ${shown.join("; ")}`;
    });
}
