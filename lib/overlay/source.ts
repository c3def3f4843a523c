/** Getting the peers from where the configuration says they are, and telling cheaply whether they may have changed. */
import { listNames } from "../host/directory.ts";
import { readAll } from "../host/io.ts";
import { errnoText, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { PeerTable } from "./peer-table.ts";
import { type PeerList, PeersUnknown, type Reject } from "./peers.ts";
import { parsePeersFile } from "./peers-file.ts";
import { readRecord } from "./record.ts";
import type { PeerSource } from "./settings.ts";

/** 100,000 peers with names and networks of both families. */
const MAX_FILE_BYTES = 32 * 1024 * 1024;
const MAX_RECORD_BYTES = 16_384;

/** A list, and the identity of what it was read from. */
export interface ReadPeers {
  readonly list: PeerList;
  readonly identity: string;
}

/** What identifies the list as it is now, without reading it; "" if there is none. */
export function identityOf(source: PeerSource): string {
  if (source.file !== "") return statusText(sys.fstatat(sys.AT_FDCWD, source.file, 0));
  if (source.directory === "") return "inline";
  const directory = sys.open(source.directory, sys.O_RDONLY | sys.O_DIRECTORY);
  if (directory < 0) return "";
  try {
    return namesIn(directory)
      .map((name) => `${name} ${statusText(sys.fstatat(directory, name, 0))}`)
      .join("\n");
  } finally {
    sys.close(directory);
  }
}

function statusText(status: sys.FileStatus | null): string {
  return status === null ? "" : `${status.device} ${status.inode} ${status.size} ${status.mtimeNs}`;
}

/** A list of nobody. */
export const NOBODY: PeerList = { generation: 0, force: false, peers: new PeerTable("", 0), rejects: [] };

/** Reads the peers. @throws PeersUnknown if they cannot be told now */
export function readPeers(source: PeerSource): ReadPeers {
  if (source.file !== "") return readFile(source.file);
  if (source.directory !== "") return readDirectory(source.directory);
  return { list: source.inline ?? NOBODY, identity: "inline" };
}

function readFile(path: string): ReadPeers {
  const fd = opened(sys.open(path, sys.O_RDONLY | sys.O_NONBLOCK), path);
  try {
    /* Of the open file: another one may take its place meanwhile. */
    const status = sys.fstat(fd);
    const bytes = contents(fd, path, MAX_FILE_BYTES, status?.size ?? 0);
    return { list: parsePeersFile(bytes, path), identity: statusText(status) };
  } finally {
    sys.close(fd);
  }
}

function readDirectory(path: string): ReadPeers {
  const directory = opened(sys.open(path, sys.O_RDONLY | sys.O_DIRECTORY), path);
  try {
    const peers = new PeerTable("", 0);
    const rejects: Reject[] = [];
    const identities: string[] = [];
    for (const name of namesIn(directory)) {
      const place = `${path}/${name}`;
      const fd = opened(sys.openat(directory, name, sys.O_RDONLY | sys.O_NONBLOCK, 0), place);
      try {
        identities.push(`${name} ${statusText(sys.fstat(fd))}`);
        const { peer, reject } = readRecord(contents(fd, place, MAX_RECORD_BYTES, 0), place);
        if (peer !== null) peers.add(peer, 0);
        if (reject !== null) rejects.push(reject);
      } finally {
        sys.close(fd);
      }
    }
    return { list: { generation: 0, force: false, peers, rejects }, identity: identities.join("\n") };
  } finally {
    sys.close(directory);
  }
}

/** The records' names in order. Those that begin with a dot are somebody's, half written. */
function namesIn(directory: number): string[] {
  return listNames(directory)
    .filter((name) => !name.startsWith("."))
    .sort();
}

function opened(fd: number, path: string): number {
  if (fd >= 0) return fd;
  throw new PeersUnknown(`cannot open ${path}: ${errnoText(-fd)}`);
}

/** @param size how long it may be expected to be */
function contents(fd: number, path: string, limit: number, size: number): Uint8Array {
  const bytes = readable(fd, path, limit, size);
  if (bytes.length > limit) throw new PeersUnknown(`${path} is longer than ${limit} bytes`);
  return bytes;
}

function readable(fd: number, path: string, limit: number, size: number): Uint8Array {
  try {
    return readAll(fd, limit, path, size);
  } catch (error) {
    if (error instanceof SystemError) throw new PeersUnknown(error.message);
    throw error;
  }
}
