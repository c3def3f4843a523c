/**
 * The records of what attachments have in the packet filter: files on a file system in memory, since the packet filter does
 * not outlive a reboot either. There is a directory for each network namespace that plugins run in. An open store holds the
 * directory's lock, which orders all changes to the packet filter.
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
import { type FilterOwner, type FilterRecord, formatElement, isRecordName, ownerText, recordName } from "./record.ts";
import { withoutInvalid } from "./record-check.ts";
import { formatFilterRecord, parseFilterRecord, type ReadRecord } from "./record-text.ts";

const TEMPORARY = "new";
/** Enough for the largest configuration: a port takes at least 37 bytes there, and with iptables at most 900 bytes here. */
const MAX_RECORD_BYTES = 32 * MAX_CONFIG_BYTES;

/** A record, or what can be made out of a damaged one. */
export interface KeptRecord {
  /** The file's name, which follows from the owner. The owner in a damaged record may be wrong. */
  readonly name: string;
  readonly record: FilterRecord;
}

export class RecordStore {
  readonly #directory: number;
  readonly #name: string;
  readonly #incomplete = new Set<string>();
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
        /* A program of iptables keeps running when the call that started it is killed: it must hold the lock, too. */
        sys.must(sys.bequeath(directory), `keep ${ROOT}/${name} locked`);
        /* The call that held the lock may have removed the directory with its last record. */
        if ((sys.fstat(directory)?.links ?? 0) > 0) return new RecordStore(directory, name, make);
      } catch (error) {
        sys.close(directory);
        throw error;
      }
      sys.close(directory);
    }
  }

  /** As `open`, made if that is allowed; null if there is no directory and none may be made. */
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

  /** Whether an owner has a record. Does not wait for the lock. */
  static has(owner: FilterOwner): boolean {
    return existsAt(sys.AT_FDCWD, `${ROOT}/${directoryName()}/${recordName(owner)}`);
  }

  /** Whether a record of the same elements is kept, undamaged. Does not wait for the lock, and reports nothing. */
  static keeps(record: FilterRecord): boolean {
    const path = `${ROOT}/${directoryName()}/${recordName(record.owner)}`;
    const text = readTextAt(sys.AT_FDCWD, path, MAX_RECORD_BYTES);
    const read = text === null ? null : parseFilterRecord(text);
    if (read === null || !read.intact || recordName(read.record.owner) !== recordName(record.owner)) return false;
    return read.record.elements.map(formatElement).join() === record.elements.map(formatElement).join();
  }

  /** Releases the lock. Removes the directory if it has no records. */
  close(): void {
    if (this.#mayBeEmpty) {
      const root = openRun(false);
      if (root >= 0) sys.unlinkat(root, this.#name, sys.AT_REMOVEDIR);
      sys.close(root);
    }
    sys.close(this.#directory);
  }

  /** The record under a file's name; null if there is none or it is damaged. What is wrong with it is reported once. */
  get(name: string): FilterRecord | null {
    const read = this.#read(name);
    return read?.intact ? read.record : null;
  }

  /** Whether a record that was read may not have all that its attachment has in the packet filter. */
  isIncomplete(name: string): boolean {
    return this.#incomplete.has(name);
  }

  /** What can be read from a file; null for nothing. */
  #read(name: string): ReadRecord | null {
    const text = readTextAt(this.#directory, name, MAX_RECORD_BYTES);
    if (text === null) return null;
    const read = parseFilterRecord(text);
    const named = read !== null && recordName(read.record.owner) === name;
    if (read === null || !named) {
      this.#warnOnce(name, "is damaged, or of a later version of Podwire: it is left out");
      return read === null ? null : { ...read, intact: false };
    }
    if (!read.hasChecksum) this.#incomplete.add(name);
    const unknownLines = [...read.unknownLines];
    const record = withoutInvalid(read.record, unknownLines);
    const [first] = unknownLines;
    if (!read.intact) this.#warnOnce(name, `of ${ownerText(record.owner)} is damaged: it is left out`);
    else if (first !== undefined) {
      this.#warnOnce(
        name,
        `of ${ownerText(record.owner)} has ${unknownLines.length} lines that are left out, such as "${first}"`,
      );
    }
    return { ...read, record, unknownLines };
  }

  #warnOnce(name: string, what: string): void {
    this.#incomplete.add(name);
    const path = `${ROOT}/${this.#name}/${name}`;
    if (warned.has(path)) return;
    warned.add(path);
    warn(`the record ${path} ${what}; DEL and ADD its container to make it again\n`);
  }

  /** @throws SystemError, or CniError 7 if it could not be read again; then nothing has changed */
  put(record: FilterRecord): void {
    const name = recordName(record.owner);
    const text = formatFilterRecord(record);
    /* A UTF-16 code unit takes at most three bytes in UTF-8. */
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
    /* A directory in the place of a record is not ours. */
    if (done < 0 && done !== -ENOENT && done !== -EISDIR)
      throw new SystemError(-done, `remove ${ROOT}/${this.#name}/${name}`);
  }

  /** Removes the temporary file of a call that was killed. */
  tidy(): void {
    if (sys.unlinkat(this.#directory, TEMPORARY, 0) >= 0) this.#mayBeEmpty = true;
  }

  /** All records that are not damaged, the oldest first. */
  all(): FilterRecord[] {
    return this.madeBy("");
  }

  /** As `all`, but only a plugin's, unless it is "". */
  madeBy(plugin: string): FilterRecord[] {
    return this.#records(plugin, (read) => read.intact).map(({ record }) => record);
  }

  /** The damaged records: their owners, and perhaps their ports, can be read. */
  damaged(): KeptRecord[] {
    return this.#records("", (read) => !read.intact);
  }

  #records(plugin: string, isChosen: (read: ReadRecord) => boolean): KeptRecord[] {
    const records: KeptRecord[] = [];
    for (const name of listNames(this.#directory)) {
      if (plugin !== "" && !name.endsWith(`.${plugin}`)) continue;
      const read = isRecordName(name) ? this.#read(name) : null;
      if (read !== null && isChosen(read)) records.push({ name, record: read.record });
    }
    return records.sort((a, b) => a.record.timeMs - b.record.timeMs);
  }
}

/** The paths of records that this call has warned of. */
const warned = new Set<string>();

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
