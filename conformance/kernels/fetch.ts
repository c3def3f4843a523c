/** Debian's kernels, unpacked below .cache/kernels: nothing is installed. */
import { readdir, readFile, symlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { exists, unpackBundles, VERSIONS_FILE } from "../../hack/debian.ts";

const cache = resolve(import.meta.dirname, "../../.cache/kernels");

/** The releases whose kernels are tried, oldest first. */
export const RELEASES: readonly string[] = ["bookworm", "trixie", "forky"];

const META_PACKAGE = "linux-image-amd64";
/** What the meta package leads to: since Debian 14 the kernel and its modules have packages of their own. */
const PARTS = /^linux-(image|binary|modules)-\d/;

export interface Kernel {
  readonly release: string;
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
  if (!(await exists(join(root, VERSIONS_FILE)))) {
    console.log(`fetching from Debian ${release}: ${META_PACKAGE}`);
    await unpackBundles(release, [{ target: root, packages: [META_PACKAGE], following: PARTS }]);
  }
  /* Since Debian 13 packages have their modules below /usr only. */
  if (!(await exists(join(root, "lib")))) await symlink("usr/lib", join(root, "lib"));
  const [name] = await readdir(join(root, "lib/modules"));
  if (name === undefined) throw new Error(`no modules in ${root}`);
  const modules = join(root, "lib/modules", name);
  if (!(await exists(join(modules, "modules.dep")))) await execa("depmod", ["-b", root, name]);
  const inBoot = join(root, "boot", `vmlinuz-${name}`);
  const image = (await exists(inBoot)) ? inBoot : join(modules, "vmlinuz");
  const versions = await readFile(join(root, VERSIONS_FILE), "utf8");
  return { release, version: versions.split("\n")[0]?.split(" ")[1] ?? "", image, modules };
}
