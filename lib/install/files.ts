/**
 * The node's directories: executables and one configuration list, put in place so that whoever looks at any moment finds
 * a whole file, and so that nothing of others is touched. Nothing in them is reached through a symbolic link.
 */
import { CniError, CONFLICT, IO_FAILURE } from "../errors.ts";
import { openDirectory, readTextAt } from "../host/directory.ts";
import { readAll, warn, writeAll } from "../host/io.ts";
import { lockExclusive } from "../host/lock.ts";
import { fault } from "../host/state-directory.ts";
import { EINTR, ENOENT, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { isRendered } from "./conflist.ts";

/** The name under which a file is filled. A killed run may leave it behind; the next one begins with removing it. */
const TEMPORARY = ".podwire-install.new";
/** A further name of the executable, on its way over an old plugin. */
const LINK = ".podwire-install.link";

/** How long another installer is waited for. */
const LOCK_MS = 60_000;

/** The largest list, template or table that is read. */
const MAX_TEXT_BYTES = 1024 * 1024;
/** A list is longer than its template by the node's subnets. */
const MAX_LIST_BYTES = 2 * MAX_TEXT_BYTES;

/** What stands in every version of the executable, and so tells it from others. Never to be changed. */
const MARK = "podwire: one executable, many CNI plugins";

/**
 * Opens a directory of the node and takes its lock, so that two installers do not meet. No part of the path may be a
 * symbolic link: it would lead somewhere else than to what was mounted.
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
        "the node's directory is to be mounted there; made here, it would be gone with the container",
      );
    }
    fd = next;
  }
  /* No reason to refuse: some installers of clusters give these directories to a user of theirs. */
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

/** Puts this very executable into a directory under each of the names. @throws SystemError; then each name is as it was or new. */
export function installExecutable(directory: number, names: readonly string[]): void {
  const source = sys.must(sys.open("/proc/self/exe", sys.O_RDONLY), "open /proc/self/exe");
  try {
    copyToTemporary(directory, source);
    for (const name of names) {
      sys.unlinkat(directory, LINK, 0);
      if (sys.linkat(directory, TEMPORARY, LINK) < 0) {
        /* A file system without hard links: a copy for each name. */
        rename(directory, TEMPORARY, name);
        copyToTemporary(directory, source);
      } else {
        rename(directory, LINK, name);
      }
    }
    sys.must(sys.fsync(directory), "bring the directory to disk");
  } finally {
    sys.close(source);
    sys.unlinkat(directory, LINK, 0);
    sys.unlinkat(directory, TEMPORARY, 0);
  }
}

function rename(directory: number, from: string, to: string): void {
  sys.must(sys.renameat(directory, from, to, 0), `replace ${to}`);
}

/** A new file under the temporary name; what is there is removed and never written through. */
function createTemporary(directory: number): number {
  const gone = sys.unlinkat(directory, TEMPORARY, 0);
  if (gone < 0 && gone !== -ENOENT) throw new SystemError(-gone, `remove ${TEMPORARY}`);
  const flags = sys.O_WRONLY | sys.O_CREAT | sys.O_EXCL | sys.O_NOFOLLOW;
  return sys.must(sys.openat(directory, TEMPORARY, flags, 0o600), `create ${TEMPORARY}`);
}

/** Brings a file to disk before it gets its name: a name must not lead to a file that a power cut has emptied. */
function finish(fd: number, mode: number): void {
  sys.must(sys.fchmod(fd, mode), `set the mode of ${TEMPORARY}`);
  sys.must(sys.fsync(fd), `bring ${TEMPORARY} to disk`);
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
 * Removes those of the names that lead to a Podwire executable of whatever version, and returns them. Other files and
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
    /* Usually all names are one file, which then is read once. */
    const ours = inode === known || holdsMark(fd);
    sys.close(fd);
    if (!ours) continue;
    known = inode;
    sys.must(sys.unlinkat(directory, name, 0), `remove ${name}`);
    removed.push(name);
  }
  sys.must(sys.fsync(directory), "bring the directory to disk");
  return removed;
}

/** Opens what is a regular file; -1 for anything else. Device nodes are not even opened. */
function openRegular(directory: number, name: string): number {
  const status = sys.fstatat(directory, name, sys.AT_SYMLINK_NOFOLLOW);
  if (status === null || (status.mode & sys.S_IFMT) !== sys.S_IFREG) return -1;
  const fd = sys.openat(directory, name, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK, 0);
  return fd < 0 ? -1 : fd;
}

/** Whether the mark stands somewhere in an open file. */
function holdsMark(fd: number): boolean {
  const mark = new TextEncoder().encode(MARK);
  const buffer = new Uint8Array(65536);
  for (let position = 0; ; ) {
    const length = sys.pread(fd, buffer, position);
    if (length < mark.length) return false;
    if (includes(buffer.subarray(0, length), mark)) return true;
    /* What begins in this piece may end in the next. */
    position += length - mark.length + 1;
  }
}

function includes(bytes: Uint8Array, wanted: Uint8Array): boolean {
  for (let at = 0; at + wanted.length <= bytes.length; at += 1) {
    let same = 0;
    while (same < wanted.length && bytes[at + same] === wanted[same]) same += 1;
    if (same === wanted.length) return true;
  }
  return false;
}

/**
 * Writes the network's list. One that somebody else wrote is not replaced.
 * @throws CniError 102; SystemError; then the file is as it was
 */
export function writeConflist(directory: number, name: string, text: string): void {
  if (sys.fstatat(directory, name, sys.AT_SYMLINK_NOFOLLOW) !== null && !isOurList(directory, name)) {
    throw new CniError(
      CONFLICT,
      `${name} is there and was not written by podwire-install`,
      "remove it, or give another name with --conf-name",
    );
  }
  try {
    const fd = createTemporary(directory);
    try {
      writeAll(fd, new TextEncoder().encode(text), name);
      finish(fd, 0o644);
    } finally {
      sys.close(fd);
    }
    rename(directory, TEMPORARY, name);
    sys.must(sys.fsync(directory), "bring the directory to disk");
  } finally {
    sys.unlinkat(directory, TEMPORARY, 0);
  }
}

/** Removes the network's list if podwire-install wrote it; returns whether it did. @throws SystemError */
export function removeConflist(directory: number, name: string): boolean {
  sys.unlinkat(directory, TEMPORARY, 0);
  if (!isOurList(directory, name)) return false;
  sys.must(sys.unlinkat(directory, name, 0), `remove ${name}`);
  sys.must(sys.fsync(directory), "bring the directory to disk");
  return true;
}

function isOurList(directory: number, name: string): boolean {
  const fd = openRegular(directory, name);
  if (fd < 0) return false;
  sys.close(fd);
  const text = readTextAt(directory, name, MAX_LIST_BYTES);
  return text !== null && isRendered(text);
}

/** A file of the container's own: a template or a table, as a ConfigMap mounts it (through symbolic links). @throws SystemError; CniError 5 */
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
