/**
 * Files in a directory that is held open. Symbolic links are not followed. A file appears under its name complete or not at
 * all. Nothing waits for the disk.
 */

import {
  EEXIST,
  EINVAL,
  EIO,
  EISDIR,
  ELOOP,
  ENOENT,
  ENOTDIR,
  ENXIO,
  ESPIPE,
  isShortage,
  SystemError,
} from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { readAll, readWhole, writeAll } from "./io.ts";
import { isTracing, trace } from "./trace.ts";

/** Nearly all files fit into this many bytes. */
const SMALL_FILE = 4096;

const DIRECTORY = sys.O_RDONLY | sys.O_DIRECTORY;

/**
 * Opens a directory; its last component must not be a symbolic link.
 * @param at the directory that a relative path starts from
 * @returns its descriptor; -1 if there is none of that name
 * @throws SystemError
 */
export function openDirectory(at: number, path: string): number {
  const fd = sys.openat(at, path, DIRECTORY | sys.O_NOFOLLOW, 0);
  if (fd === -ENOENT) return -1;
  /* With O_DIRECTORY a symbolic link is reported as "not a directory". */
  if (fd === -ENOTDIR && isLink(at, path)) throw new SystemError(ELOOP, `open ${path}`);
  return sys.must(fd, `open ${path}`);
}

/** The names in a directory without "." and "..", in no order (getdents64(2)). */
export function listNames(directory: number): string[] {
  const names: string[] = [];
  const fd = sys.must(sys.openat(directory, ".", DIRECTORY, 0), "list a directory");
  try {
    const buffer = new Uint8Array(65536);
    const view = new DataView(buffer.buffer);
    for (;;) {
      const length = sys.must(sys.getdents(fd, buffer), "list a directory");
      if (length === 0) return names;
      for (let at = 0; at + 19 < length; ) {
        const next = at + view.getUint16(at + 16, true);
        let end = at + 19;
        while (end < next && buffer[end] !== 0) end += 1;
        const name = new TextDecoder().decode(buffer.subarray(at + 19, end));
        if (name !== "." && name !== "..") names.push(name);
        at = next;
      }
    }
  } finally {
    sys.close(fd);
  }
}

/**
 * The text of a file; null if there is none, "" if it is not a regular file (a symbolic link, a directory, a pipe) or longer
 * than `limit` bytes. It is never cut.
 * @throws SystemError
 */
export function readTextAt(directory: number, name: string, limit: number): string | null {
  const fd = sys.openat(directory, name, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK, 0);
  if (fd === -ENOENT) return null;
  if (fd === -ELOOP || fd === -ENXIO) return "";
  sys.must(fd, `open ${name}`);
  try {
    let buffer = new Uint8Array(SMALL_FILE);
    let length = sys.pread(fd, buffer, 0);
    if (length === SMALL_FILE) {
      const size = regularSize(fd);
      if (size > limit) return "";
      buffer = new Uint8Array(size + 1);
      length = sys.pread(fd, buffer, 0);
    }
    /* Not null for a file that cannot be read now: its owner would be forgotten. */
    if (length === -EISDIR || length === -ESPIPE) return "";
    sys.must(length, `read ${name}`);
    return length > limit ? "" : new TextDecoder().decode(buffer.subarray(0, length));
  } finally {
    sys.close(fd);
  }
}

/** The length of an open file; infinite if it is not a regular file. */
function regularSize(fd: number): number {
  const status = sys.fstat(fd);
  if (status === null || (status.mode & sys.S_IFMT) !== sys.S_IFREG) return Number.POSITIVE_INFINITY;
  return status.size;
}

/** What `readableTextAt` returns instead of a text. */
export const UNREADABLE = "\u0000";

/** `readTextAt`, but UNREADABLE if the disk or a security module does not let the file be read. */
export function readableTextAt(directory: number, name: string, limit: number): string | null {
  try {
    return readTextAt(directory, name, limit);
  } catch (error) {
    if (!(error instanceof SystemError) || (isShortage(error.errno) && error.errno !== EIO)) throw error;
    return UNREADABLE;
  }
}

/** Writes a new file that no other process sees half written; false if there is one of that name. @throws SystemError */
export function createTextAt(directory: number, name: string, text: string): boolean {
  const fd = createAt(directory, name);
  if (fd === -EEXIST) return false;
  sys.must(fd, `create ${name}`);
  try {
    writeAll(fd, new TextEncoder().encode(text), name);
    return true;
  } finally {
    sys.close(fd);
  }
}

/**
 * Writes a file under a temporary name, then renames it.
 * @param what names the file in messages: "the lease /var/lib/..."
 * @param replace whether a file of that name is replaced; otherwise it stays, and the result is false
 * @throws SystemError; then nothing has changed
 */
export function writeTextAt(
  directory: number,
  temporary: string,
  name: string,
  text: string,
  what: string,
  replace: boolean,
): boolean {
  if (isTracing()) trace(`write ${what}: ${text.length} characters`);
  let fd = createAt(directory, temporary);
  if (fd === -EEXIST) {
    /* Left by a call that was killed, or put there by another user: it is removed, and nothing is written to it. */
    sys.unlinkat(directory, temporary, 0);
    fd = createAt(directory, temporary);
  }
  sys.must(fd, `write ${what}, as ${temporary}`);
  let done = -1;
  try {
    writeAll(fd, new TextEncoder().encode(text), what);
    done = moveAt(directory, temporary, name, replace);
    return done !== -EEXIST && sys.must(done, `write ${what}`) >= 0;
  } finally {
    sys.close(fd);
    if (done < 0) sys.unlinkat(directory, temporary, 0);
  }
}

function createAt(directory: number, name: string): number {
  return sys.openat(directory, name, sys.O_WRONLY | sys.O_CREAT | sys.O_EXCL | sys.O_NOFOLLOW, 0o600);
}

function moveAt(directory: number, from: string, to: string, replace: boolean): number {
  if (replace) return sys.renameat(directory, from, to, 0);
  const moved = sys.renameat(directory, from, to, sys.RENAME_NOREPLACE);
  if (moved !== -EINVAL) return moved;
  /* The file system lacks RENAME_NOREPLACE. The caller's lock excludes other calls between the check and the rename. */
  return existsAt(directory, to) ? -EEXIST : sys.renameat(directory, from, to, 0);
}

/** Whether there is anything under a name. */
export function existsAt(directory: number, name: string): boolean {
  return sys.fstatat(directory, name, sys.AT_SYMLINK_NOFOLLOW) !== null;
}

function isLink(at: number, path: string): boolean {
  const status = sys.fstatat(at, path, sys.AT_SYMLINK_NOFOLLOW);
  return status !== null && (status.mode & sys.S_IFMT) === sys.S_IFLNK;
}

/** A file of any size as text; null if there is none, or none that may be read. @throws SystemError, EFBIG if it is longer; CniError 11 if interrupted */
export function readLargeText(path: string, limit: number): string | null {
  return readOpened(path, (fd) => readWhole(fd, limit, path));
}

/** The first part of a file, somewhat more than `limit` bytes if it is longer; null as above. @throws as above */
export function readBeginning(path: string, limit: number): string | null {
  return readOpened(path, (fd) => readAll(fd, limit, path));
}

function readOpened(path: string, read: (fd: number) => Uint8Array): string | null {
  const fd = sys.openToRead(path);
  if (fd < 0) return null;
  try {
    return new TextDecoder().decode(read(fd));
  } finally {
    sys.close(fd);
  }
}
