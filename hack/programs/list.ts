/**
 * The programs that tests and tools may start: what hack/need.sh installs, and what every Debian has (base.txt). A machine
 * has many more, and a test that uses one of those fails on the next machine; so a run finds no others on its PATH.
 */
import { mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const repository = resolve(import.meta.dirname, "../..");

/** Tests and tools do without these where they are missing, and say so. */
const OPTIONAL = ["git", "systemd-analyze"];

/** A line of hack/need.sh. */
export interface Need {
  readonly purposes: readonly string[];
  readonly package: string;
  /** Names or absolute paths. */
  readonly programs: readonly string[];
}

/** The table in the text of hack/need.sh. */
export function parseNeeds(text: string): Need[] {
  const table = /<<-END\n(.*?)\n\tEND\n/s.exec(text)?.[1] ?? "";
  return table.split("\n").map((line) => {
    const [purposes = "", name = "", ...programs] = line.trim().split(/\s+/);
    return { purposes: purposes.split(","), package: name, programs };
  });
}

export async function needs(): Promise<Need[]> {
  return parseNeeds(await readFile(join(repository, "hack/need.sh"), "utf8"));
}

/** What every machine has: base.txt. */
export async function basePrograms(): Promise<string[]> {
  const lines = (await readFile(join(import.meta.dirname, "base.txt"), "utf8")).split("\n");
  return lines.filter((line) => !line.startsWith("#")).flatMap((line) => line.split(" ").filter((name) => name !== ""));
}

/** The names of all programs that may be started for these purposes. */
export async function listedPrograms(purposes: readonly string[]): Promise<Set<string>> {
  const table = (await needs()).filter((need) => need.purposes.some((purpose) => purposes.includes(purpose)));
  return new Set([...(await basePrograms()), ...OPTIONAL, ...table.flatMap(({ programs }) => programs)]);
}

/**
 * From here on this process and those that it starts find only listed programs by PATH, beside the repository's own. Returns
 * what ends that.
 * @param purposes of hack/need.sh
 */
export async function restrictPath(purposes: readonly string[]): Promise<() => Promise<void>> {
  const before = process.env.PATH ?? "";
  const directories = before.split(":").filter((path) => path.startsWith("/"));
  const own = directories.filter((path) => path.startsWith(`${repository}/`));
  const listed = await listedPrograms(purposes);
  const links = await mkdtemp(join(tmpdir(), `pwt-${process.pid}-programs-`));
  const linked = new Set<string>();
  for (const directory of directories.filter((path) => !own.includes(path))) {
    const there = (await readdir(directory).catch(() => [] as string[])).filter((name) => listed.has(name));
    for (const name of there.filter((one) => !linked.has(one))) {
      linked.add(name);
      await symlink(join(directory, name), join(links, name));
    }
  }
  process.env.PATH = [...own, links].join(":");
  return async () => {
    process.env.PATH = before;
    await rm(links, { recursive: true, force: true });
  };
}
