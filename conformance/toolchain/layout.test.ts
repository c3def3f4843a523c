/** The list of the functions that lie together (hack/toolchain/layout.ts) is of a program that is much like today's. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LIST, namesOf, parseList } from "../../hack/toolchain/layout.ts";
import { repository } from "../../testbed/call.ts";
import { comparisonDirectory } from "./comparison.ts";

test("nine of ten functions in the list are in the program", async () => {
  const program = join(comparisonDirectory, "../main.ll");
  if (!existsSync(program)) throw new Error(`${program} is missing: run "make build"`);
  const names = new Set(namesOf(await readFile(program, "utf8")).values());
  const listed = [...parseList(await readFile(join(repository, "hack/toolchain", LIST), "utf8")).keys()];
  const gone = listed.filter((name) => !names.has(name));
  const advice = 'run "make layout", which writes the list again, then "make build"';
  expect(gone.length, `not in the program: ${gone.join(", ")}\n${advice}`).toBeLessThanOrEqual(listed.length / 10);
});
