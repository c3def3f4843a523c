/** What archives and images hold: an executable under the plugins' names, by hard links, the agent, and the licences. */
import { execFileSync } from "node:child_process";
import type { Architecture } from "./oci.ts";
import { licenseText, type Project, repository } from "./parts.ts";
import type { Member } from "./tar.ts";

export const ARCHITECTURES: readonly Architecture[] = ["amd64", "arm64"];

/** An executable under its names in a directory ("./", "opt/cni/bin/"): the first is the file, the others are links to it. */
export function executables(directory: string, names: readonly string[], executable: Buffer): Member[] {
  const [first = "", ...others] = names.map((name) => directory + name);
  return [
    { name: first, mode: 0o755, data: executable },
    ...others.map((name) => ({ name, mode: 0o755, link: first })),
  ];
}

export async function license(project: Project, name: string): Promise<Member> {
  return { name, mode: 0o644, data: Buffer.from(await licenseText(project)) };
}

/**
 * The date that everything released bears, in seconds since 1970: SOURCE_DATE_EPOCH if it is set
 * (https://reproducible-builds.org/specs/source-date-epoch/), else the last commit's, else 1980, which every format can tell.
 */
export function sourceDate(): number {
  const wanted = process.env.SOURCE_DATE_EPOCH ?? "";
  if (/^\d+$/.test(wanted)) return Number(wanted);
  try {
    const list = ["log", "-1", "--format=%ct"];
    return Number(
      execFileSync("git", list, { cwd: repository, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    );
  } catch {
    return 315_532_800;
  }
}
