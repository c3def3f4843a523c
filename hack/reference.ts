/**
 * The reference plugins to compare with: version 1.9.1, from a later Debian release than most machines run, unpacked into
 * .cache/reference; where that cannot be had, the ones the machine has installed. `node hack/reference.ts` prints where
 * they are.
 */
import { join, resolve } from "node:path";
import { execa } from "execa";
import { exists, unpackBundles } from "./debian.ts";

const repository = resolve(import.meta.dirname, "..");
/** The Debian release that carries the wanted version, and the package's name in it. */
const RELEASE = "forky";
const PACKAGE = "containernetworking-plugins";
const WANTED = "1.9.1";
const INSTALLED = "/usr/lib/cni";

export interface Reference {
  /** The directory of the executables. */
  readonly directory: string;
  readonly version: string;
  /** Why it is not the wanted version; empty if it is. */
  readonly note: string;
}

/** Finds the reference plugins, fetching them at the first call. Throws if the machine has none and can get none. */
export async function findReference(): Promise<Reference> {
  const unpacked = join(repository, ".cache/reference", WANTED);
  const directory = join(unpacked, "usr/lib/cni");
  try {
    if (!(await exists(join(directory, "bridge"))))
      await unpackBundles(RELEASE, [{ target: unpacked, packages: [PACKAGE], wanted: WANTED }]);
    return { directory, version: WANTED, note: "" };
  } catch (error) {
    if (!(await exists(join(INSTALLED, "bridge")))) throw error;
    const cause = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    return { directory: INSTALLED, version: await installedVersion(), note: `${WANTED} could not be had: ${cause}` };
  }
}

/** The version of the installed package, without Debian's suffix; the executables themselves do not know theirs. */
async function installedVersion(): Promise<string> {
  const { stdout } = await execa("dpkg-query", ["-W", PACKAGE], { reject: false });
  return stdout?.split("\t")[1]?.split(/[+~-]/)[0] ?? "of unknown version";
}

if (process.argv[1] === import.meta.filename) {
  const found = await findReference();
  console.log(`${found.version}\t${found.directory}\t${found.note}`);
}
