/** `make manifests`: writes the generated files of deploy/. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { generatedFiles } from "./files.ts";

const deploy = join(import.meta.dirname, "..");
for (const folder of ["kustomize", "helm"]) await rm(join(deploy, folder), { recursive: true, force: true });
for (const [path, text] of generatedFiles()) {
  await mkdir(dirname(join(deploy, path)), { recursive: true });
  await writeFile(join(deploy, path), text);
}
