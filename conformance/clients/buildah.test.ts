/** The Dockerfile, built by the real buildah, which needs no engine: the same image as `make image` writes, twice the same. */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { repository } from "../../testbed/harness.ts";
import { Node } from "./node.ts";
import { librariesOf, program } from "./programs.ts";
import { podwire, ran } from "./suites.ts";

const release = join(repository, "build/release");

describe("buildah", () => {
  let node: Node;
  let root = "";
  let version = "";

  beforeAll(async () => {
    ({ root, version } = await program("buildah"));
    if (version === "") return;
    if (!(await readdir(release).catch(() => [] as string[])).includes("rootfs-amd64.tar"))
      throw new Error("first run: make image");
    node = await Node.create([join(root, "usr/bin")]);
    const home = join(node.directory, "home");
    await mkdir(home, { recursive: true });
    await writeFile(join(home, "policy.json"), JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
    await writeFile(join(home, "registries.conf"), "");
    const storage = `[storage]\ndriver = "vfs"\ngraphroot = "${node.disk}/storage"\nrunroot = "/run/storage"\n`;
    await writeFile(join(home, "storage.conf"), storage);
  });
  afterAll(() => node?.remove());
  beforeEach((context) => {
    if (version === "") context.skip("buildah could not be had");
  });

  async function buildah(command: string, ...list: string[]): Promise<string> {
    const home = join(node.directory, "home");
    const environment = [
      `CONTAINERS_STORAGE_CONF=${home}/storage.conf`,
      `CONTAINERS_REGISTRIES_CONF=${home}/registries.conf`,
      `LD_LIBRARY_PATH=${librariesOf({ root, version })}`,
    ];
    return node.exec("env", [...environment, "buildah", command, "--signature-policy", `${home}/policy.json`, ...list]);
  }

  async function build(architecture: string): Promise<string> {
    const id = join(node.directory, "id");
    await buildah(
      "build",
      "--isolation=chroot",
      "--timestamp=1000000000",
      `--platform=linux/${architecture}`,
      "--iidfile",
      id,
      "-f",
      join(repository, "Dockerfile"),
      release,
    );
    return readFile(id, "utf8");
  }

  /** The members of a tar archive with their modes, owners, sizes and links, by name; without dates. */
  async function members(archive: string): Promise<string[]> {
    const { stdout } = await execa("tar", ["-tvf", archive, "--numeric-owner"]);
    const lines = stdout
      .split("\n")
      .map((line) => line.replace(/\s+/g, " ").replace(/ \d{4}-\d\d-\d\d \d\d:\d\d /, " "));
    return lines.sort((a, b) => (a.split(" ")[3] ?? "").localeCompare(b.split(" ")[3] ?? ""));
  }

  test.each(["amd64", "arm64"])("%s", async (architecture) => {
    const id = await build(architecture);
    expect(await build(architecture), "built twice").toBe(id);
    const layout = join(node.directory, `layout-${architecture}`);
    await buildah("push", id, `oci:${layout}:image`);
    const blob = async (digest: string) => readFile(join(layout, "blobs", digest.replace(":", "/")), "utf8");
    const index = JSON.parse(await readFile(join(layout, "index.json"), "utf8")) as { manifests: { digest: string }[] };
    const image = JSON.parse(await blob(index.manifests[0]?.digest ?? "")) as {
      config: { digest: string };
      layers: { digest: string; size: number }[];
    };
    const config = JSON.parse(await blob(image.config.digest)) as unknown;
    expect(config).toMatchObject({ architecture, os: "linux", config: { Entrypoint: ["/podwire-install"] } });
    expect(image.layers).toHaveLength(1);
    const [layer] = image.layers;
    expect(layer?.size).toBeLessThan(2_000_000);
    expect(await members(join(layout, "blobs", layer?.digest.replace(":", "/") ?? ""))).toEqual(
      await members(join(release, `rootfs-${architecture}.tar`)),
    );
    ran(`buildah ${version}`, (await podwire()).name, `the Dockerfile for ${architecture}`);
  });
});
