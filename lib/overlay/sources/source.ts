/** What every source of peers has. A new one is a file of this folder, and a case in sources.ts. */
import { readAll } from "../../host/io.ts";
import { errnoText, SystemError } from "../../sys/errno.ts";
import type { FileStatus } from "../../sys/sys.ts";
import { PeerTable } from "../peer-table.ts";
import { type PeerList, PeersUnavailable } from "../peers.ts";

/** A list, and the identity of what it was read from. */
export interface ReadPeers {
  readonly list: PeerList;
  readonly identity: string;
}

export abstract class PeerSource {
  /** The option of the configuration that names it, and the option's value as text. The stamp changes with both. */
  readonly option: string;
  readonly value: string;

  constructor(option: string, value: string) {
    this.option = option;
    this.value = value;
  }

  /** What messages call it: a path; "" for peers in the configuration. */
  abstract name(): string;

  /** Whether its lists have generations: a list that is older than the one in use is refused. */
  hasGenerations(): boolean {
    return false;
  }

  /** Identifies the list as it is now, without reading it; "" if there is none. The list has changed if the identity has. */
  abstract identity(): string;

  /** Reads the list. @throws PeersUnavailable if that is not possible now */
  abstract read(): ReadPeers;
}

export const EMPTY_LIST: PeerList = { generation: 0, force: false, peers: new PeerTable("", 0), rejects: [] };

/** A file's identity; "" if it does not exist. */
export function fileIdentity(status: FileStatus | null): string {
  return status === null ? "" : `${status.device} ${status.inode} ${status.size} ${status.mtimeNs}`;
}

/** The descriptor that an open returned. @throws PeersUnavailable if it failed */
export function opened(fd: number, path: string): number {
  if (fd >= 0) return fd;
  throw new PeersUnavailable(`cannot open ${path}: ${errnoText(-fd)}`);
}

/** What a file contains. @param expected its length, as far as known @throws PeersUnavailable */
export function contentsOf(fd: number, path: string, limit: number, expected: number): Uint8Array {
  const bytes = readable(fd, path, limit, expected);
  if (bytes.length > limit) throw new PeersUnavailable(`${path} is longer than ${limit} bytes`);
  return bytes;
}

function readable(fd: number, path: string, limit: number, expected: number): Uint8Array {
  try {
    return readAll(fd, limit, path, expected);
  } catch (error) {
    if (error instanceof SystemError) throw new PeersUnavailable(error.message);
    throw error;
  }
}
