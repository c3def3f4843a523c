/** Builds the Go program here over one version of libcni, with Debian's Go, into the cache beside the packages. */
import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { exists } from "../../../hack/debian.ts";
import { cache, program } from "../programs.ts";

export type LibcniName = "libcni11" | "libcni13";

/**
 * Returns the path of the executable; builds it if the sources or libcni have changed.
 * @throws if Go or this libcni could not be had, or the build fails
 */
export async function buildAttach(libcni: LibcniName): Promise<string> {
  const library = await program(libcni);
  const go = await program("go");
  if (library.version === "" || go.version === "") throw new Error("Debian's Go or libcni could not be had");
  const sources = (await readdir(import.meta.dirname)).filter((name) => name.endsWith(".go")).sort();
  const hash = createHash("sha256").update(`${library.version} ${go.version}`);
  for (const name of sources) hash.update(await readFile(join(import.meta.dirname, name)));
  const prefix = `attach-${libcni}-`;
  const executable = join(cache, prefix + hash.digest("hex").slice(0, 12));
  if (await exists(executable)) return executable;
  for (const name of await readdir(cache)) if (name.startsWith(prefix)) await rm(join(cache, name), { force: true });
  const root = join(go.root, "usr/lib/go-1.26");
  await execa(join(root, "bin/go"), ["build", "-tags", libcni, "-trimpath", "-o", executable, "."], {
    cwd: import.meta.dirname,
    extendEnv: false,
    env: {
      PATH: "/usr/bin:/bin",
      GOROOT: root,
      GOPATH: join(library.root, "usr/share/gocode"),
      GO111MODULE: "off",
      GOTOOLCHAIN: "local",
      GOCACHE: join(cache, "go-build"),
      GOFLAGS: "",
      CGO_ENABLED: "0",
    },
    timeout: 300_000,
  });
  return executable;
}
