/**
 * The files of what attachments had before they were tuned: `<dataDir>/<containerID>_<ifname>.json`, as in the reference suite.
 * Nothing in the directory is acted upon if another user could write there.
 */
import { CniError, CONFLICT, INVALID_CONFIG } from "../errors.ts";
import { existsAt, listNames, readTextAt, writeTextAt } from "../host/directory.ts";
import { warn } from "../host/io.ts";
import { LOCK_DEADLINE_MS, lockExclusive } from "../host/lock.ts";
import { openLinkedState, openOrMakeState, openParent } from "../host/state-directory.ts";
import { EISDIR, ENOENT, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { type FormerRecord, formatFormer, isSameAttachment, parseFormer } from "./former.ts";
import type { Attachment } from "./names.ts";

const TEMPORARY = "new";
const SUFFIX = ".json";
const MAX_RECORD_BYTES = 1024 * 1024;

export class FormerStore {
  readonly #directory: number;
  readonly #path: string;
  #isLocked = false;

  private constructor(directory: number, path: string) {
    this.#directory = directory;
    this.#path = path;
  }

  /**
   * Opens the directory. Symbolic links on the way to it are followed, and one in its place if it is root's.
   * @param path absolute
   * @param make whether what is missing is made (mode 0700); otherwise null is returned then
   * @throws CniError 5 if another user could write in it; SystemError
   */
  static open(path: string, make: boolean): FormerStore | null {
    const slash = path.lastIndexOf("/");
    const [above, name] = [slash === 0 ? "/" : path.slice(0, slash), path.slice(slash + 1)];
    const parent = openParent(above, make);
    if (parent < 0) return null;
    try {
      const found = openLinkedState(parent, name, path);
      const directory = found < 0 && make ? openOrMakeState(parent, name, path) : found;
      return directory < 0 ? null : new FormerStore(directory, path);
    } finally {
      sys.close(parent);
    }
  }

  close(): void {
    sys.close(this.#directory);
  }

  /** The path of an attachment's file. */
  pathOf(attachment: Attachment): string {
    return `${this.#path}/${nameOf(attachment)}`;
  }

  /** Whether there is anything under the name of an attachment's file. */
  has(attachment: Attachment): boolean {
    return existsAt(this.#directory, nameOf(attachment));
  }

  /**
   * The record of an attachment; null if there is none, or it is damaged, which is reported.
   * @throws CniError 102 if the file is another attachment's: "a_b" with "c" and "a" with "b_c" are one name; SystemError
   */
  get(attachment: Attachment): FormerRecord | null {
    const record = this.#read(nameOf(attachment));
    const origin = record === null ? null : record.origin;
    if (origin === null || nameOf(origin.attachment) !== nameOf(attachment)) return record;
    const { containerId, ifname } = origin.attachment;
    if (containerId === attachment.containerId && ifname === attachment.ifname) return record;
    throw new CniError(
      CONFLICT,
      `${this.pathOf(attachment)} is the record of container ${containerId} ${ifname}`,
      "the names of both containers and interfaces make the same file name; give one of the interfaces another name",
    );
  }

  #read(name: string): FormerRecord | null {
    const text = readTextAt(this.#directory, name, MAX_RECORD_BYTES);
    if (text === null) return null;
    const record = parseFormer(text);
    const origin = record === null ? null : record.origin;
    if (record !== null && (origin === null || nameOf(origin.attachment) === name)) return record;
    warn(`the record ${this.#path}/${name} is damaged: what it was written for is not restored\n`);
    return null;
  }

  /** Writes the record of an attachment, in place of one that is there. @throws SystemError; CniError 11, 7 if it is too long */
  put(attachment: Attachment, record: FormerRecord): void {
    const path = this.pathOf(attachment);
    const text = formatFormer(record);
    if (new TextEncoder().encode(text).length > MAX_RECORD_BYTES) {
      throw new CniError(INVALID_CONFIG, `too many sysctls: ${path} would have more than ${MAX_RECORD_BYTES} bytes`);
    }
    this.#lock();
    writeTextAt(this.#directory, TEMPORARY, nameOf(attachment), text, `the record ${path}`, true);
  }

  /** Removes an attachment's record if it is there. @throws SystemError */
  drop(attachment: Attachment): void {
    this.#remove(nameOf(attachment));
  }

  /** Removes what a call left that was killed. @throws SystemError; CniError 11 */
  tidy(): void {
    if (!existsAt(this.#directory, TEMPORARY)) return;
    this.#lock();
    this.#remove(TEMPORARY);
  }

  /** The attachments of a network that have records but are not to be kept. */
  stale(network: string, keep: readonly Attachment[]): Attachment[] {
    const found: Attachment[] = [];
    for (const name of listNames(this.#directory)) {
      const record = name.endsWith(SUFFIX) ? this.#read(name) : null;
      const origin = record === null ? null : record.origin;
      if (origin === null || origin.attachment.network !== network) continue;
      const { attachment } = origin;
      if (!keep.some((one) => isSameAttachment(one, attachment))) found.push(attachment);
    }
    return found;
  }

  #remove(name: string): void {
    const done = sys.unlinkat(this.#directory, name, 0);
    /* A directory in the place of a record is not ours. */
    if (done < 0 && done !== -ENOENT && done !== -EISDIR) throw new SystemError(-done, `remove ${this.#path}/${name}`);
  }

  /** The lock is for the temporary file alone: two calls write under its name. */
  #lock(): void {
    if (!this.#isLocked) lockExclusive(this.#directory, this.#path, LOCK_DEADLINE_MS);
    this.#isLocked = true;
  }
}

function nameOf({ containerId, ifname }: Attachment): string {
  return `${containerId}_${ifname}${SUFFIX}`;
}

/** The record of an attachment in a directory; null if there is none. @throws CniError 5, 102; SystemError */
export function readRecord(directory: string, attachment: Attachment): FormerRecord | null {
  const store = FormerStore.open(directory, false);
  if (store === null) return null;
  try {
    return store.get(attachment);
  } finally {
    store.close();
  }
}
