/** The files of a node that the agent writes: the list of peers on tmpfs, and the list of plugins for the container runtime. */
import { createHash } from "node:crypto";
import { readTextAt, writeTextAt } from "../lib/host/directory.ts";
import { openOrMakeState, openParent } from "../lib/host/state-directory.ts";
import { openNodeDirectory, removeConflist, writeConflist, writeReadable } from "../lib/install/files.ts";
import { PeersUnavailable } from "../lib/overlay/peers.ts";
import { parsePeersFile } from "../lib/overlay/peers-file.ts";
import { fileIdentity } from "../lib/overlay/sources/source.ts";
import * as sys from "../lib/sys/sys.ts";
import { headerLine, type PeersText } from "./peers-text.ts";

const PEERS = "peers.ndjson";
/** What the agent knows, see status-file.ts. */
export const STATUS = "status.json";
const TEMPORARY = "new";
/** 100,000 nodes. */
const MAX_PEERS_BYTES = 32 * 1024 * 1024;

/** The agent's own directory, on tmpfs: /run/podwire/agent. */
export class RunDirectory {
  readonly path: string;

  /** @param path absolute */
  constructor(path: string) {
    this.path = path;
  }

  get peersFile(): string {
    return `${this.path}/${PEERS}`;
  }

  /** Opens it, and makes it if it is missing. @throws CniError 5 if another user could write there; SystemError */
  open(): number {
    const slash = this.path.lastIndexOf("/");
    const parent = openParent(this.path.slice(0, slash), true);
    try {
      return openOrMakeState(parent, this.path.slice(slash + 1), this.path);
    } finally {
      sys.close(parent);
    }
  }
}

/** Removes the files that agents have written. @returns their names @throws SystemError; CniError 5 */
export function removeRunFiles(run: RunDirectory): string[] {
  const directory = run.open();
  try {
    const removed: string[] = [];
    for (const name of [PEERS, STATUS]) if (sys.unlinkat(directory, name, 0) >= 0) removed.push(name);
    return removed;
  } finally {
    sys.close(directory);
  }
}

/** The list of peers on tmpfs. It is written when its records change, each time with the next generation. */
export class PeersFile {
  readonly #run: RunDirectory;
  /** The hash of the records in the file, and which file that is: the text of thousands of nodes is not kept. */
  #digest = "";
  #identity = "";
  #generation = -1;

  constructor(run: RunDirectory) {
    this.#run = run;
  }

  /** Writes the list unless its records are those in the file. @returns whether it was written @throws SystemError */
  write(peers: PeersText): boolean {
    const text = peers.text();
    const digest = digestOf(text);
    const directory = this.#run.open();
    try {
      if (this.#generation < 0) this.#look(directory);
      if (digest === this.#digest && identityOf(directory) === this.#identity) return false;
      this.#generation += 1;
      writeTextAt(
        directory,
        TEMPORARY,
        PEERS,
        `${headerLine(this.#generation, peers.count)}${text}`,
        this.#run.peersFile,
        true,
      );
      this.#digest = digest;
      this.#identity = identityOf(directory);
      return true;
    } finally {
      sys.close(directory);
    }
  }

  /** Reads what an earlier agent has left. */
  #look(directory: number): void {
    this.#identity = identityOf(directory);
    const there = readTextAt(directory, PEERS, MAX_PEERS_BYTES);
    this.#generation = there === null ? 0 : generationIn(there, this.#run.peersFile);
    this.#digest = there === null ? "" : digestOf(there.slice(there.indexOf("\n") + 1));
  }
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function identityOf(directory: number): string {
  return fileIdentity(sys.fstatat(directory, PEERS, sys.AT_SYMLINK_NOFOLLOW));
}

/** The generation of a list; 0 for one that cannot be read, which the next one replaces by its "force". */
function generationIn(text: string, path: string): number {
  try {
    return parsePeersFile(new TextEncoder().encode(text), path).generation;
  } catch (error) {
    if (error instanceof PeersUnavailable) return 0;
    throw error;
  }
}

/** Writes a file that other users may read, as collectors of metrics do, under a temporary name first. @throws SystemError; CniError 5 */
export function writePublic(path: string, text: string): void {
  const slash = path.lastIndexOf("/");
  const directory = openNodeDirectory(path.slice(0, slash));
  try {
    writeReadable(directory, path.slice(slash + 1), text);
  } finally {
    sys.close(directory);
  }
}

/** The list of plugins in the runtime's directory. */
export class ConflistFile {
  readonly #directory: string;
  readonly #name: string;

  /** @param directory as it is mounted here; absolute */
  constructor(directory: string, name: string) {
    this.#directory = directory;
    this.#name = name;
  }

  get path(): string {
    return `${this.#directory}/${this.#name}`;
  }

  /** Writes the list unless it is there. @returns whether it was written @throws CniError 5, 102; SystemError */
  write(text: string): boolean {
    const directory = openNodeDirectory(this.#directory);
    try {
      if (readTextAt(directory, this.#name, MAX_LIST_BYTES) === text) return false;
      writeConflist(directory, this.#name, text);
      return true;
    } finally {
      sys.close(directory);
    }
  }

  /** Removes the list if it is ours. @returns whether it was @throws CniError 5; SystemError */
  remove(): boolean {
    const directory = openNodeDirectory(this.#directory);
    try {
      return removeConflist(directory, this.#name);
    } finally {
      sys.close(directory);
    }
  }
}

const MAX_LIST_BYTES = 1024 * 1024;
