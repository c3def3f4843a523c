/** The image of these suites: one static program, as an OCI image layout in a tar archive that is written without an engine. */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { exists } from "../../hack/debian.ts";
import { imageArchive } from "../../hack/release/oci.ts";
import { tar } from "../../hack/release/tar.ts";
import { cache } from "./programs.ts";

/** What the image is called in a runtime. The name resolves nowhere, so that nothing is ever pulled. */
export const IMAGE = "podwire.invalid/agent:1";
/** The program's path in a container. */
export const AGENT = "/agent";

/** Returns the archive's path and the program's own, for use outside of containers; makes them if the source changed. */
export async function buildImage(): Promise<{ archive: string; agent: string }> {
  const source = join(import.meta.dirname, "agent.c");
  const hash = createHash("sha256")
    .update(await readFile(source))
    .update(await readFile(import.meta.filename));
  const archive = join(cache, `image-${hash.digest("hex").slice(0, 12)}.tar`);
  const agent = `${archive}.agent`;
  if (await exists(archive)) return { archive, agent };
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, "image.new-"));
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  try {
    const program = join(work, "agent");
    await execa(
      "zig",
      ["cc", "-target", `${machine}-linux-musl`, "-Os", "-s", "-Wall", "-Werror", source, "-o", program],
      {
        preferLocal: true,
        localDir: join(import.meta.dirname, "../.."),
      },
    );
    const layer = tar([{ name: AGENT.slice(1), mode: 0o755, data: await readFile(program) }], 0);
    const image = { architecture: process.arch === "arm64" ? "arm64" : "amd64", layer } as const;
    await writeFile(join(work, "image.tar"), imageArchive(IMAGE, [{ ...image, config: { Entrypoint: [AGENT] } }], 0));
    await rename(program, agent);
    await rename(join(work, "image.tar"), archive);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return { archive, agent };
}
