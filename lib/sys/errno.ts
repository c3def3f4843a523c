/** Error numbers of Linux (include/uapi/asm-generic/errno-base.h and errno.h) and the error class that carries one. */

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
const ENOEXEC = 8;
const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
const EXDEV = 18;
export const ENODEV = 19;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
const ENFILE = 23;
export const EMFILE = 24;
export const ETXTBSY = 26;
export const EFBIG = 27;
export const ENOSPC = 28;
export const ESPIPE = 29;
const EROFS = 30;
const ERANGE = 34;
const ENAMETOOLONG = 36;
export const ELOOP = 40;
export const EXFULL = 54;
/** nf_tables: the ruleset has changed since the generation that the request names. */
export const ERESTART = 85;
export const EOPNOTSUPP = 95;
export const EAFNOSUPPORT = 97;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
const ENETDOWN = 100;
export const ENETUNREACH = 101;
export const EHOSTUNREACH = 113;
/** A connection is being made; not an error. */
export const EINPROGRESS = 115;
export const EDQUOT = 122;
export const ENOBUFS = 105;
export const ESRCH = 3;

const TEXTS: readonly (readonly [number, string])[] = [
  [EPERM, "operation not permitted"],
  [ENOENT, "no such file or directory"],
  [ESRCH, "no such process or entry"],
  [EINTR, "interrupted"],
  [EIO, "input/output error"],
  [ENXIO, "no such device or address"],
  [ENOEXEC, "not an executable file of this machine"],
  [EBADF, "bad file descriptor"],
  [EAGAIN, "resource temporarily unavailable"],
  [ENOMEM, "out of memory"],
  [EACCES, "permission denied"],
  [EBUSY, "device or resource busy"],
  [EEXIST, "already exists"],
  [EXDEV, "not on the same file system"],
  [ENODEV, "no such device"],
  [ENOTDIR, "not a directory"],
  [EISDIR, "is a directory"],
  [EFBIG, "too large"],
  [EINVAL, "invalid argument"],
  [ENFILE, "too many open files in the system"],
  [EMFILE, "too many open files"],
  [ETXTBSY, "text file busy"],
  [ENOSPC, "no space left on device"],
  [EROFS, "read-only file system"],
  [ERANGE, "out of range"],
  [ENAMETOOLONG, "name too long"],
  [ELOOP, "is a symbolic link"],
  [EXFULL, "exchange full"],
  [ERESTART, "changed meanwhile"],
  [EOPNOTSUPP, "not supported"],
  [EAFNOSUPPORT, "address family not supported"],
  [EADDRINUSE, "address in use"],
  [EADDRNOTAVAIL, "address not available"],
  [ENETDOWN, "network is down"],
  [ENETUNREACH, "network is unreachable"],
  [EHOSTUNREACH, "no route to host"],
  [ENOBUFS, "no buffer space available"],
  [EDQUOT, "disk quota exceeded"],
];

/** What an error number means in words; "error 123" for one that is not in the table. */
export function errnoText(errno: number): string {
  for (const [number, text] of TEXTS) {
    if (number === errno) return text;
  }
  return `error ${errno}`;
}

/** What a person can do about a failure of a file system; "" if the error text is enough. */
export function adviceFor(errno: number): string {
  if (errno === ENOSPC) return "the file system has no room or no inodes left: see df and df -i";
  if (errno === EFBIG) return "if it was being written: the runtime limits the size of files (ulimit -f, LimitFSIZE=)";
  if (errno === EROFS) return "see dmesg for an error of the disk, then mount the file system for writing again";
  return errno === ELOOP ? "no symbolic link is followed there: look who made it, and remove it" : "";
}

/** Whether an error number means an I/O error or a shortage of the system, and says nothing about the file itself. */
export function isShortage(errno: number): boolean {
  return errno === EIO || errno === ENOMEM || errno === EMFILE || errno === ENFILE || errno === EINTR;
}

/** Whether the same request may well succeed a moment later: the caller gets code 11. */
export function isTransient(errno: number): boolean {
  return (
    errno === EAGAIN || errno === EINTR || errno === ENOMEM || errno === ENOBUFS || errno === EMFILE || errno === ENFILE
  );
}

/** Whether an error number means that nothing can be written in this place, now or later. */
export function isForbidden(errno: number): boolean {
  return errno === EROFS || errno === EACCES || errno === EPERM;
}

/** A system call that failed: `errno` is positive, the message is "<action>: <what the number means>". */
export class SystemError extends Error {
  readonly errno: number;

  constructor(errno: number, action: string) {
    super(`${action}: ${errnoText(errno)}`);
    this.name = "SystemError";
    this.errno = errno;
  }
}
