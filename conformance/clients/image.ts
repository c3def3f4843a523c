/** The image of these suites: one static program, as an OCI image layout in a tar archive, written here byte by byte. */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { exists } from "../../hack/debian.ts";
import { cache } from "./programs.ts";

/** What the image is called in a runtime. The name resolves nowhere, so that nothing is ever pulled. */
export const IMAGE = "podwire.invalid/agent:1";
/** The program's path in a container. */
export const AGENT = "/agent";

interface TarFile {
  readonly name: string;
  readonly mode: number;
  readonly data: Uint8Array;
}

/** A POSIX tar archive (ustar) of regular files with names of at most 100 bytes, owned by root and dated 1970. */
export function tar(files: readonly TarFile[]): Buffer {
  const blocks: Buffer[] = [];
  for (const file of files) {
    const header = Buffer.alloc(512);
    const octal = (value: number, at: number, length: number) =>
      header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
    header.write(file.name, 0, 100, "latin1");
    octal(file.mode, 100, 8);
    octal(0, 108, 8);
    octal(0, 116, 8);
    octal(file.data.length, 124, 12);
    octal(0, 136, 12);
    header.write("        0", 148, "latin1");
    header.write("ustar\u000000", 257, "latin1");
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    blocks.push(header, Buffer.from(file.data), Buffer.alloc((512 - (file.data.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** An image layout with one image of one layer. */
function layout(layer: Buffer): Buffer {
  const files: TarFile[] = [];
  const blob = (data: Buffer, mediaType: string) => {
    const digest = createHash("sha256").update(data).digest("hex");
    files.push({ name: `blobs/sha256/${digest}`, mode: 0o644, data });
    return { mediaType: `application/vnd.oci.image.${mediaType}`, digest: `sha256:${digest}`, size: data.length };
  };
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const rootfs = blob(layer, "layer.v1.tar");
  const config = blob(
    json({
      architecture: process.arch === "arm64" ? "arm64" : "amd64",
      os: "linux",
      config: { Entrypoint: [AGENT] },
      rootfs: { type: "layers", diff_ids: [rootfs.digest] },
    }),
    "config.v1+json",
  );
  const manifest = blob(json({ schemaVersion: 2, config, layers: [rootfs] }), "manifest.v1+json");
  const annotations = { "org.opencontainers.image.ref.name": IMAGE, "io.containerd.image.name": IMAGE };
  return tar([
    { name: "oci-layout", mode: 0o644, data: json({ imageLayoutVersion: "1.0.0" }) },
    { name: "index.json", mode: 0o644, data: json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }) },
    ...files,
  ]);
}

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
    const layer = tar([{ name: AGENT.slice(1), mode: 0o755, data: await readFile(program) }]);
    await writeFile(join(work, "image.tar"), layout(layer));
    await rename(program, agent);
    await rename(join(work, "image.tar"), archive);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return { archive, agent };
}
