/** No parameter comes to be boxed unnoticed: that costs an allocation at each call (hack/toolchain/boxed.ts). */
import { existsSync } from "node:fs";
import { glob, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { boxedScalars, type Source } from "../../hack/toolchain/boxed.ts";
import { repository } from "../../testbed/call.ts";
import { comparisonDirectory } from "./comparison.ts";

const LIST = "hack/toolchain/boxed.txt";

async function sources(): Promise<Source[]> {
  const found: Source[] = [];
  for await (const path of glob("{lib,ipam,plugins}/**/*.ts", { cwd: repository })) {
    if (!path.endsWith(".test.ts")) found.push({ path, text: await readFile(join(repository, path), "utf8") });
  }
  return found;
}

test("the parameters that are boxed are those of the list", async () => {
  const program = join(comparisonDirectory, "program.c");
  if (!existsSync(program)) throw new Error(`${program} is missing: run "make comparison"`);
  const found = boxedScalars(await readFile(program, "utf8"), await sources());
  const lines = (await readFile(join(repository, LIST), "utf8")).split("\n");
  const accepted = lines.filter((line) => line !== "" && !line.startsWith("#"));
  const added = found.filter((line) => !accepted.includes(line));
  const advice =
    "Each call of these functions allocates, because some caller passes a value that may be undefined, or passes the " +
    "function to map, some or every. Take elements of arrays with itemAt, textAt or numberAt (lib/lists.ts) or for..of, " +
    `and call the function directly. If it is called rarely, add the line to ${LIST}`;
  expect(added, `boxed now:\n${added.join("\n")}\n${advice}`).toEqual([]);
  const gone = accepted.filter((line) => !found.includes(line));
  expect(gone, `not boxed any more: remove these lines from ${LIST}`).toEqual([]);
});
