/**
 * The real programs that the suites here run: Debian's packages, unpacked below .cache/clients. Nothing is installed, so no
 * service is started or enabled, and the machine stays as it is. `node conformance/clients/programs.ts` fetches what is
 * missing and tells what there is.
 */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { exists, unpackBundles, VERSIONS_FILE } from "../../hack/debian.ts";
import { findReference } from "../../hack/reference.ts";

const repository = resolve(import.meta.dirname, "../..");
export const cache = join(repository, ".cache/clients");

/** What `programs` can hold, and where it comes from. The first package is the one whose version is told. */
const BUNDLES = {
  containerd16: { release: "bookworm", packages: ["containerd"] },
  containerd21: { release: "forky", packages: ["containerd"] },
  /* The libraries are those that a Debian without them would lack; the oldest release's, so that they run anywhere. */
  podman: {
    release: "bookworm",
    packages: [
      ...["podman", "conmon", "golang-github-containers-common"],
      ...["libgpgme11", "libassuan0", "libsubid4", "libdevmapper1.02.1", "libseccomp2", "libglib2.0-0", "libffi8"],
    ],
  },
  buildah: {
    release: "bookworm",
    packages: [
      ...["buildah", "golang-github-containers-common", "golang-github-containers-image"],
      ...["libgpgme11", "libassuan0", "libsubid4", "libdevmapper1.02.1", "libseccomp2"],
    ],
  },
  runc: { release: "bookworm", packages: ["runc", "libseccomp2"] },
  plugins11: { release: "bookworm", packages: ["containernetworking-plugins"] },
  libcni11: { release: "bookworm", packages: ["golang-github-appc-cni-dev"] },
  libcni13: { release: "forky", packages: ["golang-github-appc-cni-dev"] },
  go: { release: "forky", packages: ["golang-1.26-go", "golang-1.26-src"] },
} as const;

export type ProgramName = keyof typeof BUNDLES;
const NAMES = Object.keys(BUNDLES) as ProgramName[];

export interface Program {
  /** Where the package's files are, as if it were the root directory; empty if it could not be had. */
  readonly root: string;
  /** The package's version; empty if it could not be had. */
  readonly version: string;
}

/** Fetches what is missing. Returns why something could not be had, a line for each release; empty if all is there. */
export async function fetchPrograms(): Promise<string[]> {
  const failures: string[] = [];
  const note = (what: string) => (error: Error) => {
    failures.push(`${what}: ${error.message.split("\n")[0]}`);
  };
  const releases = [...new Set(NAMES.map((name) => BUNDLES[name].release))];
  await Promise.all([
    ...releases.map(async (release) => {
      const missing: ProgramName[] = [];
      for (const name of NAMES)
        if (BUNDLES[name].release === release && !(await exists(join(cache, name, VERSIONS_FILE)))) missing.push(name);
      if (missing.length === 0) return;
      console.log(`fetching from Debian ${release}: ${missing.map((name) => BUNDLES[name].packages[0]).join(", ")}`);
      const bundles = missing.map((name) => ({ target: join(cache, name), packages: BUNDLES[name].packages }));
      await unpackBundles(release, bundles).catch(note(missing.join(", ")));
    }),
    findReference().catch(note("reference plugins")),
  ]);
  return failures;
}

/** A program as it was unpacked. */
export async function program(name: ProgramName): Promise<Program> {
  const root = join(cache, name);
  const text = await readFile(join(root, VERSIONS_FILE), "utf8").catch(() => "");
  const line = text.split("\n").find((entry) => entry.startsWith(`${BUNDLES[name].packages[0]} `));
  return line === undefined ? { root: "", version: "" } : { root, version: upstream(line.split(" ")[1] ?? "") };
}

/** Where the libraries of a program are that was only unpacked, as LD_LIBRARY_PATH has them. */
export function librariesOf({ root }: Program): string {
  const machine = `${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu`;
  return [join(root, "usr/lib", machine), join(root, "lib", machine)].join(":");
}

/** A Debian version without epoch, Debian's revision, and the mark of repacked sources: "2.1.9". */
export function upstream(version: string): string {
  return version.replace(/^\d+:/, "").replace(/[-+~].*$/, "");
}

if (process.argv[1] === import.meta.filename) {
  for (const line of await fetchPrograms()) console.error(line);
  for (const name of NAMES) console.log(`${name}\t${(await program(name)).version || "not to be had"}`);
  const { version, note } = await findReference();
  console.log(`reference\t${version}\t${note}`);
}
