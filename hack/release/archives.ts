/**
 * `make release`: for each architecture an archive as install scripts for the reference plugins expect it, its checksums
 * and its bill of materials.
 *
 *   node hack/release/archives.ts BUILD TARGET NAME...     BUILD/amd64 and BUILD/arm64 hold the executables
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ARCHITECTURES, executables, license, sourceDate } from "./contents.ts";
import { gzip } from "./oci.ts";
import { AGENT, readProject, repository } from "./parts.ts";
import { sbom } from "./sbom.ts";
import { tar } from "./tar.ts";

const [build = "build", target = "build/release", ...names] = process.argv.slice(2);
const project = await readProject();
const created = sourceDate();
await mkdir(target, { recursive: true });
for (const architecture of ARCHITECTURES) {
  const plugins = await readFile(join(build, architecture, "podwire"));
  const agent = await readFile(join(build, architecture, "agent", AGENT));
  const archive = `cni-plugins-linux-${architecture}-v${project.version}.tgz`;
  const data = gzip(
    tar(
      [
        ...executables("./", names, plugins),
        ...executables("./", [AGENT], agent),
        await license(project, "./LICENSE"),
        { name: "./README.md", mode: 0o644, data: await readFile(join(repository, "README.md")) },
      ],
      created,
    ),
  );
  await writeFile(join(target, archive), data);
  for (const algorithm of ["sha256", "sha512"]) {
    const digest = createHash(algorithm).update(data).digest("hex");
    await writeFile(join(target, `${archive}.${algorithm}`), `${digest}  ${archive}\n`);
  }
  const contents = [
    { names, data: plugins },
    { names: [AGENT], data: agent },
  ];
  const bill = sbom(project, { name: archive, data }, contents, created);
  await writeFile(join(target, `${archive}.spdx.json`), `${JSON.stringify(bill, null, 2)}\n`);
  console.log(`${target}/${archive}: ${data.length} bytes`);
}
