/**
 * Writes executables and one configuration list into the node's directories. A reader finds a complete file at any moment.
 * Files of others are not touched, and no symbolic link is followed.
 */
import { CniError, CONFLICT, IO_FAILURE } from "../errors.ts";
import { openDirectory, readTextAt } from "../host/directory.ts";
import { readAll, warn, writeAll } from "../host/io.ts";
import { lockExclusive } from "../host/lock.ts";
import { fault } from "../host/state-directory.ts";
import { EINTR, ENOENT, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { isRendered } from "./conflist.ts";

/** The temporary name of a file that is being written. A killed run may leave it behind; the next run removes it. */
const TEMPORARY = ".podwire-install.new";
/** The temporary name of a hard link that is about to replace an old plugin. */
const LINK = ".podwire-install.link";

/** How long to wait for another installer. */
const LOCK_MS = 60_000;

/** The largest list, template or table that is read. */
const MAX_TEXT_BYTES = 1024 * 1024;
/** A list is its template and the node's subnets. */
const MAX_LIST_BYTES = 2 * MAX_TEXT_BYTES;

/** A text that every version of the executable contains and other executables do not. It must never change. */
const SIGNATURE = "podwire: one executable, many CNI plugins";

/**
 * Opens a directory of the node and locks it against other installers. No part of the path may be a symbolic link: it could
 * lead out of the mounted directory.
 * @param path absolute, without "." and ".." (see `isPlainPath`)
 * @throws CniError 5 if it does not exist; SystemError; CniError 11 if another installer keeps the lock
 */
export function openNodeDirectory(path: string): number {
  let fd = openDirectory(sys.AT_FDCWD, "/");
  for (const part of path.slice(1).split("/")) {
    const next = openPart(fd, part, path);
    sys.close(fd);
    if (next < 0) {
      throw new CniError(
        IO_FAILURE,
        `${path} does not exist`,
        "mount the node's directory there; a directory made here would be lost with the container",
      );
    }
    fd = next;
  }
  /* Only a warning: some cluster installers give these directories to a user of their own. */
  const found = fault(fd, false);
  if (found !== "") warn(`${path}: ${found}: whoever can write there can replace what root runs\n`);
  lockExclusive(fd, path, LOCK_MS);
  return fd;
}

function openPart(directory: number, part: string, path: string): number {
  try {
    return openDirectory(directory, part);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new SystemError(error.errno, `open ${path} at "${part}"`);
  }
}

/** Installs this executable in a directory under each of the names. @throws SystemError; then each name is old or new, and complete */
export function installExecutable(directory: number, names: readonly string[]): void {
  const source = sys.must(sys.open("/proc/self/exe", sys.O_RDONLY), "open /proc/self/exe");
  try {
    copyToTemporary(directory, source);
    for (const name of names) {
      sys.unlinkat(directory, LINK, 0);
      if (sys.linkat(directory, TEMPORARY, LINK) < 0) {
        /* The file system has no hard links: each name gets a copy. */
        rename(directory, TEMPORARY, name);
        copyToTemporary(directory, source);
      } else {
        rename(directory, LINK, name);
      }
    }
    sys.must(sys.fsync(directory), "flush the directory to disk");
  } finally {
    sys.close(source);
    sys.unlinkat(directory, LINK, 0);
    sys.unlinkat(directory, TEMPORARY, 0);
  }
}

function rename(directory: number, from: string, to: string): void {
  sys.must(sys.renameat(directory, from, to, 0), `replace ${to}`);
}

/** Creates the temporary file. An existing one is removed and not written to: it may be a link. */
function createTemporary(directory: number): number {
  const gone = sys.unlinkat(directory, TEMPORARY, 0);
  if (gone < 0 && gone !== -ENOENT) throw new SystemError(-gone, `remove ${TEMPORARY}`);
  const flags = sys.O_WRONLY | sys.O_CREAT | sys.O_EXCL | sys.O_NOFOLLOW;
  return sys.must(sys.openat(directory, TEMPORARY, flags, 0o600), `create ${TEMPORARY}`);
}

/** Flushes a file to disk before it gets its name. Otherwise a power cut could leave an empty file of that name. */
function finish(fd: number, mode: number): void {
  sys.must(sys.fchmod(fd, mode), `set the mode of ${TEMPORARY}`);
  sys.must(sys.fsync(fd), `flush ${TEMPORARY} to disk`);
}

function copyToTemporary(directory: number, source: number): void {
  const target = createTemporary(directory);
  try {
    const buffer = new Uint8Array(65536);
    for (let position = 0; ; ) {
      const length = sys.pread(source, buffer, position);
      if (length === -EINTR) continue;
      if (sys.must(length, "read /proc/self/exe") === 0) break;
      writeAll(target, buffer.subarray(0, length), TEMPORARY);
      position += length;
    }
    finish(target, 0o755);
  } finally {
    sys.close(target);
  }
}

/**
 * Removes the Podwire executables, of any version, that have one of the names, and returns these names. Other files and
 * symbolic links stay.
 * @throws SystemError
 */
export function removeExecutables(directory: number, names: readonly string[]): string[] {
  sys.unlinkat(directory, LINK, 0);
  sys.unlinkat(directory, TEMPORARY, 0);
  const removed: string[] = [];
  let known = -1;
  for (const name of names) {
    const fd = openRegular(directory, name);
    if (fd < 0) continue;
    const inode = sys.fstat(fd)?.inode ?? -1;
    /* Usually all names are hard links of one file, which is read once. */
    const ours = inode === known || hasSignature(fd);
    sys.close(fd);
    if (!ours) continue;
    known = inode;
    sys.must(sys.unlinkat(directory, name, 0), `remove ${name}`);
    removed.push(name);
  }
  sys.must(sys.fsync(directory), "flush the directory to disk");
  return removed;
}

/** Opens a regular file; -1 for anything else. Device nodes are not opened: that could have an effect. */
function openRegular(directory: number, name: string): number {
  const status = sys.fstatat(directory, name, sys.AT_SYMLINK_NOFOLLOW);
  if (status === null || (status.mode & sys.S_IFMT) !== sys.S_IFREG) return -1;
  const fd = sys.openat(directory, name, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK, 0);
  return fd < 0 ? -1 : fd;
}

/** Whether an open file contains the signature. */
function hasSignature(fd: number): boolean {
  const signature = new TextEncoder().encode(SIGNATURE);
  const buffer = new Uint8Array(65536);
  for (let position = 0; ; ) {
    const length = sys.pread(fd, buffer, position);
    if (length < signature.length) return false;
    if (includes(buffer.subarray(0, length), signature)) return true;
    /* The signature may begin in this piece and end in the next. */
    position += length - signature.length + 1;
  }
}

function includes(bytes: Uint8Array, part: Uint8Array): boolean {
  for (let at = 0; at + part.length <= bytes.length; at += 1) {
    let same = 0;
    while (same < part.length && bytes[at + same] === part[same]) same += 1;
    if (same === part.length) return true;
  }
  return false;
}

/**
 * Writes the configuration list. A list that podwire-install did not write is not replaced.
 * @throws CniError 102; SystemError; then the file is as it was
 */
export function writeConflist(directory: number, name: string, text: string): void {
  if (sys.fstatat(directory, name, sys.AT_SYMLINK_NOFOLLOW) !== null && !isOurList(directory, name)) {
    throw new CniError(
      CONFLICT,
      `${name} exists and was not written by podwire-install`,
      "remove it, or choose another name with --conf-name",
    );
  }
  writeReadable(directory, name, text);
}

/** Writes a file that all users may read; a reader finds the old or the new one. @throws SystemError; then the file is as it was */
export function writeReadable(directory: number, name: string, text: string): void {
  try {
    const fd = createTemporary(directory);
    try {
      writeAll(fd, new TextEncoder().encode(text), name);
      finish(fd, 0o644);
    } finally {
      sys.close(fd);
    }
    rename(directory, TEMPORARY, name);
    sys.must(sys.fsync(directory), "flush the directory to disk");
  } finally {
    sys.unlinkat(directory, TEMPORARY, 0);
  }
}

/** Removes the configuration list if podwire-install wrote it; returns whether it was removed. @throws SystemError */
export function removeConflist(directory: number, name: string): boolean {
  sys.unlinkat(directory, TEMPORARY, 0);
  if (!isOurList(directory, name)) return false;
  sys.must(sys.unlinkat(directory, name, 0), `remove ${name}`);
  sys.must(sys.fsync(directory), "flush the directory to disk");
  return true;
}

function isOurList(directory: number, name: string): boolean {
  const fd = openRegular(directory, name);
  if (fd < 0) return false;
  sys.close(fd);
  const text = readTextAt(directory, name, MAX_LIST_BYTES);
  return text !== null && isRendered(text);
}

/** Reads a template or a table of the container. Symbolic links are followed, as a ConfigMap has them. @throws SystemError; CniError 5 */
export function readInput(path: string): Uint8Array {
  const fd = sys.must(sys.open(path, sys.O_RDONLY), `open ${path}`);
  try {
    const bytes = readAll(fd, MAX_TEXT_BYTES, path);
    if (bytes.length > MAX_TEXT_BYTES) throw new CniError(IO_FAILURE, `${path} is larger than ${MAX_TEXT_BYTES} bytes`);
    return bytes;
  } finally {
    sys.close(fd);
  }
}
