/**
 * The records of what attachments have in the packet filter: files on a file system in memory, since the packet filter does
 * not outlive a reboot either. One directory for each network namespace that plugins run in; whoever has it open in this
 * way holds its lock, which also orders all changes to the packet filter.
 */
import { MAX_CONFIG_BYTES } from "../cni/config.ts";
import { CniError, INVALID_CONFIG } from "../errors.ts";
import { existsAt, listNames, readTextAt, writeTextAt } from "../host/directory.ts";
import { warn } from "../host/io.ts";
import { LOCK_DEADLINE_MS, lockExclusive } from "../host/lock.ts";
import { identify } from "../host/namespace.ts";
import { openOrMakeState, openRun, openState, RUN_DIRECTORY as ROOT } from "../host/state-directory.ts";
import { EISDIR, ENOENT, isForbidden, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { type FilterOwner, type FilterRecord, isRecordName, ownerText, recordName } from "./record.ts";
import { fitting } from "./record-check.ts";
import { formatRecord, parseRecord, type ReadRecord } from "./record-text.ts";

const TEMPORARY = "new";
/** Room for all that a configuration can ask for: a port of 37 bytes there has less than 900 bytes here, with iptables. */
const MAX_RECORD_BYTES = 32 * MAX_CONFIG_BYTES;

/** A record, or what can be made out of a damaged one. */
export interface KeptRecord {
  /** The file's name, which follows from the true owner: the one in a damaged record may be another. */
  readonly name: string;
  readonly record: FilterRecord;
}

export class RecordStore {
  readonly #directory: number;
  readonly #name: string;
  readonly #unfit = new Set<string>();
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

  /** The record under a file's name; null if there is none, or none that can be relied on. What is wrong is told once. */
  get(name: string): FilterRecord | null {
    const read = this.#read(name);
    return read?.sound ? read.record : null;
  }

  /** Whether the file under a name, when it was read, was not for sure all that its attachment has. */
  isUnfit(name: string): boolean {
    return this.#unfit.has(name);
  }

  /** What can be made out of a file; null for nothing. */
  #read(name: string): ReadRecord | null {
    const text = readTextAt(this.#directory, name, MAX_RECORD_BYTES);
    if (text === null) return null;
    const read = parseRecord(text);
    const named = read !== null && recordName(read.record.owner) === name;
    if (read === null || !named) {
      this.#tell(name, "is damaged, or of a later version of Podwire: it is left out");
      return read === null ? null : { ...read, sound: false };
    }
    if (!read.summed) this.#unfit.add(name);
    const strange = [...read.strange];
    const record = fitting(read.record, strange);
    const [first] = strange;
    if (!read.sound) this.#tell(name, `of ${ownerText(record.owner)} is damaged: it is left out`);
    else if (first !== undefined) {
      this.#tell(
        name,
        `of ${ownerText(record.owner)} has ${strange.length} lines that are left out, such as "${first}"`,
      );
    }
    return { ...read, record, strange };
  }

  #tell(name: string, what: string): void {
    this.#unfit.add(name);
    const path = `${ROOT}/${this.#name}/${name}`;
    if (told.has(path)) return;
    told.add(path);
    warn(`the record ${path} ${what}; DEL and ADD its container to make it again\n`);
  }

  /** @throws SystemError, or CniError 7 if it could not be read again; then nothing has changed */
  put(record: FilterRecord): void {
    const name = recordName(record.owner);
    const text = formatRecord(record);
    /* UTF-8 has at most three bytes for each of a text's units. */
    if (text.length > MAX_RECORD_BYTES / 3 && new TextEncoder().encode(text).length > MAX_RECORD_BYTES) {
      throw new CniError(
        INVALID_CONFIG,
        `${ownerText(record.owner)} asks for more than can be recorded`,
        `its record has ${text.length} bytes of at most ${MAX_RECORD_BYTES}; publish fewer ports`,
      );
    }
    writeTextAt(this.#directory, TEMPORARY, name, text, `the record ${ROOT}/${this.#name}/${name}`, true);
    this.#mayBeEmpty = false;
  }

  /** Removes a record if it is there. @throws SystemError */
  drop(owner: FilterOwner): void {
    const name = recordName(owner);
    const done = sys.unlinkat(this.#directory, name, 0);
    this.#mayBeEmpty = true;
    /* A directory in the place of a record is somebody's, and stays. */
    if (done < 0 && done !== -ENOENT && done !== -EISDIR)
      throw new SystemError(-done, `remove ${ROOT}/${this.#name}/${name}`);
  }

  /** Removes what a call that was killed had begun to write. */
  tidy(): void {
    if (sys.unlinkat(this.#directory, TEMPORARY, 0) >= 0) this.#mayBeEmpty = true;
  }

  /** All records that can be relied on, those made first coming first. */
  all(): FilterRecord[] {
    return this.#records((read) => read.sound).map(({ record }) => record);
  }

  /** The damaged ones: their owners, and perhaps their ports. */
  doubtful(): KeptRecord[] {
    return this.#records((read) => !read.sound);
  }

  #records(chosen: (read: ReadRecord) => boolean): KeptRecord[] {
    const records: KeptRecord[] = [];
    for (const name of listNames(this.#directory)) {
      const read = isRecordName(name) ? this.#read(name) : null;
      if (read !== null && chosen(read)) records.push({ name, record: read.record });
    }
    return records.sort((a, b) => a.record.timeMs - b.record.timeMs);
  }
}

/** The records of which this call has told what is wrong with them. */
const told = new Set<string>();

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
