/** Debian's kernels, unpacked below .cache/kernels: nothing is installed. */
import { readdir, readFile, symlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { exists, unpackBundles, VERSIONS_FILE } from "../../hack/debian.ts";

const cache = resolve(import.meta.dirname, "../../.cache/kernels");

export type Architecture = "amd64" | "arm64";

/** The releases whose kernels are tried, oldest first, and one for arm64. */
export const RELEASES: readonly string[] = ["bookworm", "trixie", "forky", "bookworm-arm64"];

/** What the meta package leads to: since Debian 14 the kernel and its modules have packages of their own. */
const PARTS = /^linux-(image|binary|modules)-\d/;

export interface Kernel {
  /** As in `RELEASES`. */
  readonly release: string;
  readonly architecture: Architecture;
  /** Debian's version: "6.1.176-1". */
  readonly version: string;
  /** Path of the compressed kernel. */
  readonly image: string;
  /** The directory with modules.dep and kernel/. */
  readonly modules: string;
}

/** The kernel of a release, fetched if it is not there. Throws if it cannot be had. */
export async function findKernel(release: string): Promise<Kernel> {
  const root = join(cache, release);
  const [name = "", architecture = "amd64"] = release.split("-") as [string, Architecture?];
  const packages = [`linux-image-${architecture}`];
  if (!(await exists(join(root, VERSIONS_FILE)))) {
    console.log(`fetching from Debian ${name}: ${packages.join()}`);
    await unpackBundles(name, [{ target: root, packages, following: PARTS }], architecture);
  }
  /* Since Debian 13 packages have their modules below /usr only. */
  if (!(await exists(join(root, "lib")))) await symlink("usr/lib", join(root, "lib"));
  const [number] = await readdir(join(root, "lib/modules"));
  if (number === undefined) throw new Error(`no modules in ${root}`);
  const modules = join(root, "lib/modules", number);
  if (!(await exists(join(modules, "modules.dep")))) await execa("depmod", ["-b", root, number]);
  const inBoot = join(root, "boot", `vmlinuz-${number}`);
  const image = (await exists(inBoot)) ? inBoot : join(modules, "vmlinuz");
  const versions = await readFile(join(root, VERSIONS_FILE), "utf8");
  return { release, architecture, version: versions.split("\n")[0]?.split(" ")[1] ?? "", image, modules };
}
