/**
 * `make image`: the image that installs Podwire on a node, and has the agent, for all architectures, as one archive to import, and each
 * architecture's file system for the Dockerfile.
 *
 *   node hack/release/image.ts BUILD TARGET IMAGE NAME...     BUILD/amd64 and BUILD/arm64 hold the executables
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ARCHITECTURES, executables, license, sourceDate } from "./contents.ts";
import { type Image, imageArchive } from "./oci.ts";
import { AGENT, readProject } from "./parts.ts";
import { type Member, tar } from "./tar.ts";

const [build = "build", target = "build/release", wanted = "", ...names] = process.argv.slice(2);
const project = await readProject();
const created = sourceDate();
const name = wanted === "" ? `localhost/podwire:v${project.version}` : wanted;
const directories: Member[] = ["opt/", "opt/cni/", "opt/cni/bin/"].map((path) => ({ name: path, mode: 0o755 }));
const images: Image[] = [];
await mkdir(target, { recursive: true });
for (const architecture of ARCHITECTURES) {
  const plugins = executables("opt/cni/bin/", names, await readFile(join(build, architecture, "podwire")));
  const installer = { name: "podwire-install", mode: 0o755, link: plugins[0]?.name ?? "" };
  const agent = executables("", [AGENT], await readFile(join(build, architecture, "agent", AGENT)));
  const layer = tar([...directories, ...plugins, installer, ...agent, await license(project, "LICENSE")], created);
  await writeFile(join(target, `rootfs-${architecture}.tar`), layer);
  const config = {
    Entrypoint: ["/podwire-install"],
    Labels: {
      "org.opencontainers.image.title": project.name,
      "org.opencontainers.image.version": project.version,
      "org.opencontainers.image.licenses": project.license,
    },
  };
  images.push({ architecture, layer, config });
}
const file = join(target, `podwire-image-v${project.version}.tar`);
const archive = imageArchive(name, images, created);
await writeFile(file, archive);
console.log(`${file}: ${name} for ${ARCHITECTURES.join(", ")}, ${archive.length} bytes`);
