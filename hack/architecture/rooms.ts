/** The rooms of the house, lowest first: a file uses files of its own room and of rooms below. rooms.test.ts holds that. */
import { readdirSync } from "node:fs";
import { join } from "node:path";

export interface Room {
  /** A folder, or the files that are meant. */
  readonly path: string;
  /** What it holds, for the picture. */
  readonly holds: string;
}

/** Rooms of one row do not know each other. */
export const ROWS: readonly (readonly Room[])[] = [
  [{ path: "lib/*.ts", holds: "errors, texts, lists" }],
  [
    { path: "lib/sys", holds: "system calls, in C" },
    { path: "lib/ip", holds: "addresses, ranges, MACs: pure" },
  ],
  [{ path: "lib/host", holds: "namespaces, sysctls, locks, files, programs" }],
  [
    { path: "lib/cni", holds: "the protocol: the life of a call" },
    { path: "lib/netlink", holds: "messages to the kernel, its numbers" },
    { path: "lib/loop", holds: "descriptors, timers, signals" },
  ],
  [
    { path: "lib/filter", holds: "rules, records, backends" },
    { path: "lib/install", holds: "the installer" },
    { path: "lib/kubernetes", holds: "the client of the API server" },
  ],
  [
    { path: "lib/state", holds: "kinds of object, and the engine" },
    { path: "lib/overlay", holds: "the nodes of a cluster" },
  ],
  [{ path: "lib/attachment", holds: "what plugins share" }],
  foldersIn("ipam"),
  [{ path: "ipam/*.ts", holds: "what IPAM would give" }],
  foldersIn("plugins"),
  [
    { path: "plugins/*.ts", holds: "the plugins' executable" },
    { path: "agent", holds: "the agent's executable" },
  ],
];

/** A room for each plugin. */
function foldersIn(path: string): readonly Room[] {
  return readdirSync(join(import.meta.dirname, "../..", path), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ path: `${path}/${name}`, holds: "" }))
    .toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** The room of a file; null for one that is in none. */
export function roomOf(file: string): string | null {
  const folder = file.slice(0, file.lastIndexOf("/"));
  for (const { path } of ROWS.flat()) {
    if (path.endsWith("/*.ts") ? folder === path.slice(0, -5) : `${folder}/`.startsWith(`${path}/`)) return path;
  }
  return null;
}

/** Whether a room may use another one. */
export function mayUse(room: string, other: string): boolean {
  const row = (path: string): number => ROWS.findIndex((rooms) => rooms.some((one) => one.path === path));
  return room === other || row(room) > row(other);
}
