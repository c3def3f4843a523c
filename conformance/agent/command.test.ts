/** `podwire-agent` as a person calls it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { readProject } from "../../hack/release/parts.ts";
import { binDirectory, repository } from "../../testbed/call.ts";

const agent = join(binDirectory, "podwire-agent");

test("tells its version, and that of mbedTLS: the one of the bill of materials and of the header it was compiled with", async () => {
  const { stdout } = await execa(agent, ["version"]);
  const project = await readProject();
  const mbedtls = project.parts.find(({ name }) => name === "mbedtls");
  expect(stdout).toBe(`podwire-agent ${project.version}\nmbedTLS ${mbedtls?.version}`);
  const header = "node_modules/@scriptc/runtime/vendor/mbedtls/include/mbedtls/build_info.h";
  expect(await readFile(join(repository, header), "utf8")).toContain(
    `MBEDTLS_VERSION_STRING         "${mbedtls?.version}"`,
  );
});

test("prints its arguments, and refuses others", async () => {
  expect((await execa(agent, ["--help"])).stdout).toContain("podwire-agent version");
  const { exitCode, stdout, stderr } = await execa(agent, ["watch"], { reject: false });
  expect([exitCode, stdout]).toEqual([1, ""]);
  expect(stderr).toBe('podwire-agent: unknown argument "watch"\n  podwire-agent --help lists the arguments');
});
