/**
 * Debian packages that are only unpacked: programs of this or of a later Debian release to test and to compare with,
 * without installing anything. apt downloads them, which checks the archive's signature and the packages' checksums.
 */
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { execa } from "execa";

/** Debian's name for this machine's architecture or another one: "arm64"; empty for this machine's. */
export type Architecture = string;

/** Packages of one release that belong into one directory. */
export interface Bundle {
  /** Where to; what is there already is replaced. */
  readonly target: string;
  readonly packages: readonly string[];
  /** What they depend on, and that in turn, is taken too where its name matches; only what is named, if left out. */
  readonly following?: RegExp;
  /** What the version of the first package must begin with; anything if left out. */
  readonly wanted?: string;
}

/** The file in an unpacked bundle that says which versions it holds: a line `package version` each. */
export const VERSIONS_FILE = "versions.txt";

/**
 * Downloads bundles of one Debian release and unpacks them. apt works on a package index and cache of its own here: the
 * machine's are left as they are. Throws if a package cannot be had.
 * @param release Debian's name for it: "bookworm"
 * @param architecture of the packages
 */
export async function unpackBundles(
  release: string,
  bundles: readonly Bundle[],
  architecture: Architecture = "",
): Promise<void> {
  if (bundles[0] === undefined) return;
  await mkdir(dirname(bundles[0].target), { recursive: true });
  const work = await mkdtemp(join(dirname(bundles[0].target), `${release}.new-`));
  try {
    const apt = await ownApt(work, release, architecture);
    await apt("-o", "APT::Update::Error-Mode=any", "update");
    for (const bundle of bundles) await unpack(apt, work, release, bundle);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Runs an option and arguments of apt-get, or of apt-cache for "show": what it prints. */
type Apt = (...command: string[]) => Promise<string>;

async function ownApt(work: string, release: string, architecture: Architecture): Promise<Apt> {
  await mkdir(join(work, "state/lists/partial"), { recursive: true });
  await mkdir(join(work, "cache/archives/partial"), { recursive: true });
  await writeFile(join(work, "sources.list"), `deb ${await mirror()} ${release} main\n`);
  const foreign = [`APT::Architecture=${architecture}`, `APT::Architectures::=${architecture}`];
  return async (...command) => {
    const { stdout } = await execa(
      command[0] === "show" ? "apt-cache" : "apt-get",
      [
        ...(architecture === "" ? [] : foreign.flatMap((option) => ["-o", option])),
        ...["-q", "-o", `Dir::State=${work}/state`, "-o", "Dir::State::status=/var/lib/dpkg/status"],
        ...["-o", `Dir::Cache=${work}/cache`, "-o", `Dir::Etc::sourcelist=${work}/sources.list`],
        ...["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root"],
        ...command,
      ],
      { cwd: work, stdin: "ignore", timeout: 300_000 },
    );
    return stdout;
  };
}

/** The names of packages and of those they depend on, whole chains of them, whose names match. */
async function withDependencies(apt: Apt, packages: readonly string[], following: RegExp): Promise<string[]> {
  const names = [...packages];
  for (const name of names) {
    const depends = /^Depends: (.*)$/m.exec(await apt("show", name))?.[1] ?? "";
    for (const part of depends.split(/[,|]/)) {
      const other = part.trim().split(/[\s(:]/)[0] ?? "";
      if (following.test(other) && !names.includes(other)) names.push(other);
    }
  }
  return names;
}

async function unpack(apt: Apt, work: string, release: string, bundle: Bundle): Promise<void> {
  const { packages, following } = bundle;
  const names = following === undefined ? packages : await withDependencies(apt, packages, following);
  await apt("download", ...names);
  const archives = (await readdir(work)).filter((name) => name.endsWith(".deb"));
  const versions = new Map<string, string>();
  for (const archive of archives) {
    const { stdout } = await execa("dpkg-deb", ["--field", archive, "Package", "Version"], { cwd: work });
    const [name, version] = stdout.split("\n").map((line) => line.split(": ")[1]);
    if (name !== undefined && version !== undefined) versions.set(name, version);
    await execa("dpkg-deb", ["-x", archive, "unpacked"], { cwd: work });
    await rm(join(work, archive));
  }
  for (const name of names) if (!versions.has(name)) throw new Error(`apt-get download ${name} left no package`);
  const [first] = packages;
  const version = versions.get(first ?? "");
  if (bundle.wanted !== undefined && !version?.startsWith(bundle.wanted))
    throw new Error(`${release} has ${first} ${version} now, not ${bundle.wanted}`);
  const text = [...versions].map(([name, number]) => `${name} ${number}\n`).join("");
  await writeFile(join(work, "unpacked", VERSIONS_FILE), text);
  await rm(bundle.target, { recursive: true, force: true });
  await rename(join(work, "unpacked"), bundle.target);
}

/** The address of the Debian mirror that this machine's own package sources name. */
export async function mirror(): Promise<string> {
  const { stdout } = await execa("apt-get", [
    ...["indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
  ]);
  for (const line of stdout.split("\n")) {
    const [origin, component, address] = line.split(" ");
    if (origin === "Debian" && component === "main" && address !== undefined) return address;
  }
  throw new Error("this machine's package sources name no Debian mirror");
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
