/**
 * The records of what attachments have in the packet filter: files on a file system in memory, since the packet filter does
 * not outlive a reboot either. One directory for each network namespace that plugins run in; whoever has it open in this
 * way holds its lock, which also orders all changes to the packet filter.
 */
import { existsAt, listNames, readTextAt, writeTextAt } from "../host/directory.ts";
import { LOCK_DEADLINE_MS, lockExclusive } from "../host/lock.ts";
import { identify } from "../host/namespace.ts";
import { openOrMakeState, openRun, openState, RUN_DIRECTORY as ROOT } from "../host/state-directory.ts";
import { ENOENT, isForbidden, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { type FilterOwner, type FilterRecord, formatRecord, parseRecord, recordName } from "./record.ts";

const TEMPORARY = "new";
/** A pod with hundreds of ports has some ten kilobytes. */
const MAX_RECORD_BYTES = 1 << 20;

export class RecordStore {
  readonly #directory: number;
  readonly #name: string;
  #mayBeEmpty: boolean;

  private constructor(directory: number, name: string, mayBeEmpty: boolean) {
    this.#directory = directory;
    this.#name = name;
    this.#mayBeEmpty = mayBeEmpty;
  }

  /**
   * Opens this network namespace's records and waits for their lock.
   * @param make whether the directory is made if there is none; otherwise null is returned then
   * @throws SystemError; CniError 11 if another process holds the lock for too long
   */
  static open(make: boolean): RecordStore | null {
    const name = directoryName();
    for (;;) {
      const directory = make ? made(name) : existing(name);
      if (directory < 0) return null;
      try {
        lockExclusive(directory, `${ROOT}/${name}`, LOCK_DEADLINE_MS);
        /* A program of iptables goes on when the call that has started it is killed: nobody else's turn comes before its end. */
        sys.must(sys.bequeath(directory), `keep ${ROOT}/${name} locked`);
        /* The one who had the lock may have removed the directory with its last record. */
        if ((sys.fstat(directory)?.links ?? 0) > 0) return new RecordStore(directory, name, make);
      } catch (error) {
        sys.close(directory);
        throw error;
      }
      sys.close(directory);
    }
  }

  /** Opens and locks the records as `open` does, made or not; null where there are none and none can be made. */
  static openWhereAllowed(): RecordStore | null {
    try {
      return RecordStore.open(true);
    } catch (error) {
      if (!(error instanceof SystemError) || !isForbidden(error.errno)) throw error;
      return RecordStore.open(false);
    }
  }

  /** STATUS: whether records can be kept. @throws SystemError; CniError 5, 11 */
  static requireWritable(): void {
    RecordStore.open(true)?.close();
  }

  /** Whether an owner has a record, without waiting for anybody. */
  static has(owner: FilterOwner): boolean {
    return existsAt(sys.AT_FDCWD, `${ROOT}/${directoryName()}/${recordName(owner)}`);
  }

  /** Gives the lock back. A directory without records is removed. */
  close(): void {
    if (this.#mayBeEmpty) {
      const root = openRun(false);
      if (root >= 0) sys.unlinkat(root, this.#name, sys.AT_REMOVEDIR);
      sys.close(root);
    }
    sys.close(this.#directory);
  }

  /** The record under a file's name; null if there is none that can be read. */
  get(name: string): FilterRecord | null {
    const text = readTextAt(this.#directory, name, MAX_RECORD_BYTES);
    return text === null ? null : parseRecord(text);
  }

  /** @throws SystemError; then nothing has changed */
  put(record: FilterRecord): void {
    const name = recordName(record.owner);
    writeTextAt(
      this.#directory,
      TEMPORARY,
      name,
      formatRecord(record),
      `the record ${ROOT}/${this.#name}/${name}`,
      true,
    );
    this.#mayBeEmpty = false;
  }

  /** Removes a record if it is there. @throws SystemError */
  drop(owner: FilterOwner): void {
    const name = recordName(owner);
    const done = sys.unlinkat(this.#directory, name, 0);
    this.#mayBeEmpty = true;
    if (done < 0 && done !== -ENOENT) throw new SystemError(-done, `remove ${ROOT}/${this.#name}/${name}`);
  }

  /** Removes what a call that was killed had begun to write. */
  tidy(): void {
    if (sys.unlinkat(this.#directory, TEMPORARY, 0) >= 0) this.#mayBeEmpty = true;
  }

  /** All records that can be read, those made first coming first. */
  all(): FilterRecord[] {
    const records: FilterRecord[] = [];
    for (const name of listNames(this.#directory)) {
      const record = name === TEMPORARY ? null : this.get(name);
      if (record !== null && recordName(record.owner) === name) records.push(record);
    }
    return records.sort((a, b) => a.timeMs - b.timeMs);
  }
}

/** The directory's name within ROOT: the number of the network namespace that the process is in. */
function directoryName(): string {
  return `net-${identify("/proc/self/ns/net").inode}`;
}

function existing(name: string): number {
  const root = openRun(false);
  if (root < 0) return root;
  try {
    return openState(root, name, `${ROOT}/${name}`);
  } finally {
    sys.close(root);
  }
}

function made(name: string): number {
  const root = openRun(true);
  try {
    return openOrMakeState(root, name, `${ROOT}/${name}`);
  } finally {
    sys.close(root);
  }
}
