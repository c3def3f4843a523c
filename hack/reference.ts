/**
 * The reference plugins to compare with: version 1.9.1, from a later Debian release than most machines run, unpacked into
 * .cache/reference; where that cannot be had, the ones the machine has installed. `node hack/reference.ts` prints where
 * they are.
 */
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { execa } from "execa";

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
    if (!(await exists(join(directory, "bridge")))) await fetchInto(unpacked);
    return { directory, version: WANTED, note: "" };
  } catch (error) {
    if (!(await exists(join(INSTALLED, "bridge")))) throw error;
    const cause = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    return { directory: INSTALLED, version: await installedVersion(), note: `${WANTED} could not be had: ${cause}` };
  }
}

/**
 * Downloads the package with apt, which checks the archive's signature and the package's checksum, and unpacks it. apt
 * works on a package index and cache of its own here: the machine's are left as they are.
 */
async function fetchInto(target: string): Promise<void> {
  const work = `${target}.new`;
  await rm(work, { recursive: true, force: true });
  await mkdir(join(work, "state/lists/partial"), { recursive: true });
  await mkdir(join(work, "cache/archives/partial"), { recursive: true });
  await writeFile(join(work, "sources.list"), `deb ${await mirror()} ${RELEASE} main\n`);
  const apt = (...command: string[]) =>
    execa(
      "apt-get",
      [
        ...["-q", "-o", `Dir::State=${work}/state`, "-o", "Dir::State::status=/var/lib/dpkg/status"],
        ...["-o", `Dir::Cache=${work}/cache`, "-o", `Dir::Etc::sourcelist=${work}/sources.list`],
        ...["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root"],
        ...command,
      ],
      { cwd: work, stdin: "ignore", timeout: 300_000 },
    );
  try {
    await apt("-o", "APT::Update::Error-Mode=any", "update");
    await apt("download", PACKAGE);
    const archive = (await readdir(work)).find((name) => name.endsWith(".deb"));
    if (archive === undefined) throw new Error(`apt-get download ${PACKAGE} left no package`);
    if (!archive.includes(`_${WANTED}`)) throw new Error(`${RELEASE} has ${archive} now, not ${WANTED}`);
    await execa("dpkg-deb", ["-x", archive, "unpacked"], { cwd: work });
    await rm(target, { recursive: true, force: true });
    await rename(join(work, "unpacked"), target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The address of the Debian mirror that this machine's own package sources name. */
async function mirror(): Promise<string> {
  const { stdout } = await execa("apt-get", [
    ...["indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
  ]);
  for (const line of stdout.split("\n")) {
    const [origin, component, address] = line.split(" ");
    if (origin === "Debian" && component === "main" && address !== undefined) return address;
  }
  throw new Error("this machine's package sources name no Debian mirror");
}

/** The version of the installed package, without Debian's suffix; the executables themselves do not know theirs. */
async function installedVersion(): Promise<string> {
  const { stdout } = await execa("dpkg-query", ["-W", PACKAGE], { reject: false });
  return stdout?.split("\t")[1]?.split(/[+~-]/)[0] ?? "of unknown version";
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

if (process.argv[1] === import.meta.filename) {
  const found = await findReference();
  console.log(`${found.version}\t${found.directory}\t${found.note}`);
}
