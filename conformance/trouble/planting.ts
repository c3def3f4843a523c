/** Things that are not what a plugin left under a name: by accident, or put there by somebody. */
import { link, mkdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";

export type Kind = keyof typeof KINDS;

/** What links lead to. */
const PRECIOUS = "precious";
const KINDS = {
  "an empty file": (path: string) => writeFile(path, ""),
  "a torn file": (path: string) => writeFile(path, "\0\0\0\0\0\0\0\0"),
  "a file of a terabyte": async (path: string) => {
    await writeFile(path, "");
    await truncate(path, 2 ** 40);
  },
  "a directory": (path: string) => mkdir(path),
  "a directory with a file": async (path: string) => {
    await mkdir(path);
    await writeFile(join(path, "file"), "");
  },
  "a link": (path: string, target: string) => symlink(target, path),
  "a link to nothing": (path: string, target: string) => symlink(`${target}.missing`, path),
  "a link to itself": (path: string) => symlink(path, path),
  "a second name of a file": (path: string, target: string) => link(target, path),
  "a pipe": (path: string) => execa("mkfifo", [path]),
  "a socket": (path: string) => {
    const program = "import os, socket, sys; os.chdir(sys.argv[1]); socket.socket(socket.AF_UNIX).bind(sys.argv[2])";
    return execa("python3", ["-c", program, join(path, ".."), path.slice(path.lastIndexOf("/") + 1)]);
  },
  "a device that never ends": (path: string) => execa("mknod", [path, "c", "1", "5"]),
} as const;

export const ALL_KINDS = Object.keys(KINDS) as Kind[];

/** Puts something in the place of what is there. @param target a file that links lead to, which is made */
export async function plant(kind: Kind, path: string, target: string): Promise<void> {
  await writeFile(target, PRECIOUS);
  await rm(path, { recursive: true, force: true });
  await KINDS[kind](path, target);
}

/** Whether the target of links is as it was, and nothing was made where links to nothing lead. */
export async function isUntouched(target: string): Promise<boolean> {
  const made = await readFile(`${target}.missing`).catch(() => null);
  return made === null && (await readFile(target, "utf8")) === PRECIOUS;
}
