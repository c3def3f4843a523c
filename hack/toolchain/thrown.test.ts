/** What scriptc takes out of an array may be boxed, and a box that is thrown is an Error to nobody: code 999 for a person. */
import { glob, readFile } from "node:fs/promises";
import { expect, test } from "vitest";

test("nothing is thrown that a loop took out of a list", async () => {
  const found: string[] = [];
  for await (const path of glob("{lib,ipam,plugins,agent}/**/*.ts")) {
    if (path.endsWith(".test.ts")) continue;
    const text = await readFile(path, "utf8");
    for (const [, name = ""] of text.matchAll(/\bthrow (\w+);/g)) {
      if (new RegExp(`for \\(const ${name} of |const ${name} = itemAt\\(`).test(text)) found.push(`${path}: ${name}`);
    }
  }
  expect(found).toEqual([]);
});
