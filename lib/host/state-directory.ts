/**
 * The plugins' own directories. Root acts on what is in them, so no other user may be able to write there. Each directory is
 * checked after it was opened: its owner is root or the user of this process, and no other user may write in it.
 */
import { CniError, IO_FAILURE } from "../errors.ts";
import { EEXIST, ELOOP, ENOENT, ENOTDIR, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";

/** For what is kept until the next boot: a file system in memory on every node. */
export const RUN_DIRECTORY = "/run/podwire";

const DIRECTORY = sys.O_RDONLY | sys.O_DIRECTORY;
/** For directories on the way to another one; needs no permission to read them. */
const WAY = sys.O_PATH | sys.O_DIRECTORY;
/** How often a directory is created again that another process keeps removing. */
const TRIES = 100;

/**
 * Opens a directory of the plugins' own.
 * @param at an open directory, itself checked
 * @param path the directory's path, for messages
 * @returns its descriptor; -1 if there is none of that name
 * @throws CniError 5 if another user could write in it; SystemError
 */
export function openState(at: number, name: string, path: string): number {
  return openChecked(at, name, path, false);
}

/** As `openState`, but follows a symbolic link of root's in a directory in which no other user can write. */
export function openLinkedState(at: number, name: string, path: string): number {
  return openChecked(at, name, path, true);
}

function openChecked(at: number, name: string, path: string, linked: boolean): number {
  const fd = sys.openat(at, name, DIRECTORY | sys.O_NOFOLLOW, 0);
  if (fd === -ENOENT) return -1;
  /* With O_DIRECTORY a symbolic link is reported as "not a directory". */
  const link = fd === -ENOTDIR ? linkIn(at, name) : null;
  if (link === null) return checked(sys.must(fd, `open ${path}`), path, false);
  if (!linked || !isOurs(link.owner) || fault(at, false) !== "") throw new SystemError(ELOOP, `open ${path}`);
  return checked(sys.must(sys.openat(at, name, DIRECTORY, 0), `open ${path}, a symbolic link`), path, false);
}

/** As `openState`, but makes the directory (mode 0700) if it is missing, also if another process removes it meanwhile. */
export function openOrMakeState(at: number, name: string, path: string): number {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const fd = openState(at, name, path);
    if (fd >= 0) return fd;
    makeAt(at, name, path);
  }
  throw new SystemError(ENOENT, `open ${path}`);
}

/**
 * Opens a directory that holds directories of the plugins' own. Symbolic links on the way are followed: they
 * belong to the configured path. What is missing is created (mode 0700) where no other user could replace it.
 * @param path absolute
 * @returns its descriptor, which serves to open what is in it; -1 if it is missing and must not be created
 * @throws CniError 5 if another user could replace what is in it; SystemError
 */
export function openParent(path: string, make: boolean): number {
  const fd = sys.open(path, WAY);
  if (fd >= 0) return checked(fd, path, true);
  if (fd !== -ENOENT) throw new SystemError(-fd, `open ${path}`);
  return make ? madeParent(path) : -1;
}

/** Opens RUN_DIRECTORY. @returns its descriptor; -1 if it is not there and not to be made. @throws CniError 5; SystemError */
export function openRun(make: boolean): number {
  const fd = openState(sys.AT_FDCWD, RUN_DIRECTORY, RUN_DIRECTORY);
  if (fd >= 0 || !make) return fd;
  const slash = RUN_DIRECTORY.lastIndexOf("/");
  const parent = openParent(RUN_DIRECTORY.slice(0, slash), true);
  try {
    return openOrMakeState(parent, RUN_DIRECTORY.slice(slash + 1), RUN_DIRECTORY);
  } finally {
    sys.close(parent);
  }
}

/**
 * Opens a file of the plugins' own that is written in place, and creates it if it is missing. A file that is not regular, or
 * has a second name (a hard link), is replaced: nothing is written to it.
 * @param access O_RDWR or O_WRONLY
 * @param what names the file in messages
 * @returns its descriptor, or the negative error number
 * @throws SystemError if it is a symbolic link
 */
export function openOwnFile(directory: number, name: string, access: number, what: string): number {
  const flags = access | sys.O_CREAT | sys.O_NOFOLLOW | sys.O_NONBLOCK;
  const fd = sys.openat(directory, name, flags, 0o600);
  if (fd === -ELOOP) throw new SystemError(ELOOP, `open ${what}`);
  if (fd < 0 || isSole(fd)) return fd;
  sys.close(fd);
  sys.unlinkat(directory, name, 0);
  return sys.openat(directory, name, flags | sys.O_EXCL, 0o600);
}

/** Whether an open file is regular and has no second name: then writing to it changes no other file. */
export function isSole(fd: number): boolean {
  const status = sys.fstat(fd);
  return status !== null && (status.mode & sys.S_IFMT) === sys.S_IFREG && status.links === 1;
}

/**
 * Why another user could change what is in an open directory; "" if none could.
 * @param sticky whether it does if others may write there but not replace what is not theirs, as in /tmp
 */
export function fault(directory: number, sticky: boolean): string {
  const status = sys.fstat(directory);
  if (status === null) return "it cannot be looked at";
  const { owner, mode } = status;
  const othersWrite = (mode & sys.OTHERS_WRITE) !== 0 && !(sticky && (mode & sys.S_ISVTX) !== 0);
  if (isOurs(owner) && !othersWrite) return "";
  return `it belongs to user ${owner} and has mode 0${octal(mode & 0o7777)}`;
}

function checked(fd: number, path: string, sticky: boolean): number {
  const found = fault(fd, sticky);
  if (found === "") return fd;
  sys.close(fd);
  throw new CniError(
    IO_FAILURE,
    `${path} is open to others: ${found}`,
    `expected: root's, and writable for root alone. Others may have put something there that root would act upon: look at what is in it, remove that, then chown root ${path} && chmod go-w ${path}`,
  );
}

function isOurs(owner: number): boolean {
  return owner === 0 || owner === sys.effectiveUser();
}

function madeParent(path: string): number {
  let at = sys.must(sys.open("/", WAY), "open /");
  let above = "";
  for (const name of path.split("/")) {
    if (name === "") continue;
    const place = `${above}/${name}`;
    const next = openOrMakeWay(at, name, above, place);
    sys.close(at);
    at = next;
    above = place;
  }
  return checked(at, path, true);
}

/** Opens a part of a path. What exists is not changed, so a read-only directory on the way does not matter. */
function openOrMakeWay(at: number, name: string, above: string, place: string): number {
  try {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const fd = sys.openat(at, name, WAY, 0);
      if (fd >= 0) return fd;
      if (fd !== -ENOENT) throw new SystemError(-fd, `open ${place}`);
      if (linkIn(at, name) !== null) throw new SystemError(ENOENT, `open ${place}, a symbolic link`);
      const found = fault(at, true);
      if (found !== "") return checked(at, above === "" ? "/" : above, true);
      makeAt(at, name, place);
    }
  } catch (error) {
    sys.close(at);
    throw error;
  }
  throw new SystemError(ENOENT, `open ${place}`);
}

function makeAt(at: number, name: string, path: string): void {
  const made = sys.mkdirat(at, name, 0o700);
  if (made < 0 && made !== -EEXIST) throw new SystemError(-made, `make directory ${path}`);
}

/** The symbolic link of a name; null if there is none. */
function linkIn(at: number, name: string): sys.FileStatus | null {
  const status = sys.fstatat(at, name, sys.AT_SYMLINK_NOFOLLOW);
  return status !== null && (status.mode & sys.S_IFMT) === sys.S_IFLNK ? status : null;
}

function octal(mode: number): string {
  const digits = [(mode >> 9) & 7, (mode >> 6) & 7, (mode >> 3) & 7, mode & 7];
  return digits.map((digit) => `${digit}`).join("");
}
