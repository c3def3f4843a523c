/**
 * System calls for files, time, signals and processes; network.ts has those for sockets and namespaces. Each function makes
 * one call and returns its result, or the negative error number; `must` turns that into an exception where failure is not an
 * expected result. The C side is sys.c and signals.c, and sys.json is the manifest that binds the two. Only lib/sys uses them.
 */
import { isShortage, SystemError } from "./errno.ts";

declare function sys_openat(directory: number, path: string, flags: number, mode: number): number;
declare function sys_close(fd: number): number;
declare function sys_read(fd: number, buffer: Uint8Array, offset: number, length: number): number;
declare function sys_write(fd: number, buffer: Uint8Array, offset: number, length: number): number;
declare function sys_pread(fd: number, buffer: Uint8Array, position: number): number;
declare function sys_pwrite(fd: number, buffer: Uint8Array, position: number): number;
declare function sys_fstat(fd: number, out: Uint8Array): number;
declare function sys_fstatat(directory: number, path: string, flags: number, out: Uint8Array): number;
declare function sys_fstatfs_type(fd: number): number;
declare function sys_renameat(directory: number, from: string, to: string, flags: number): number;
declare function sys_linkat(directory: number, from: string, to: string): number;
declare function sys_unlinkat(directory: number, path: string, flags: number): number;
declare function sys_mkdirat(directory: number, path: string, mode: number): number;
declare function sys_ftruncate(fd: number, size: number): number;
declare function sys_fchmod(fd: number, mode: number): number;
declare function sys_fsync(fd: number): number;
declare function sys_bequeath(fd: number): number;
declare function sys_set_mtime(fd: number, seconds: number): number;
declare function sys_faccessat(directory: number, path: string, mode: number): number;
declare function sys_readlinkat(directory: number, path: string, buffer: Uint8Array): number;
declare function sys_getdents(fd: number, buffer: Uint8Array): number;
declare function sys_flock(fd: number, operation: number): number;
declare function sys_poll(fd: number, events: number, milliseconds: number): number;
declare function sys_clock_ms(clock: number): number;
declare function sys_sleep_us(microseconds: number): number;
declare function sys_catch_signals(): number;
declare function sys_caught_signal(): number;
declare function sys_hold_signals(): number;
declare function sys_wait_signal(): number;
declare function sys_alarm_ms(milliseconds: number): number;
declare function sys_getenv(name: string, buffer: Uint8Array): number;
declare function sys_setenv(name: string, value: string): number;
declare function sys_effective_user(): number;
declare function sys_random(): number;
declare function sys_memfd(): number;
declare function sys_spawn(
  path: string,
  list: Uint8Array,
  inherit: number,
  input: number,
  output: number,
  errors: number,
): number;
declare function sys_waitpid(pid: number): number;
declare function sys_kill(pid: number, signal: number): number;
declare function sys_exit(status: number): number;

/** The directory descriptor that stands for the working directory (linux/fcntl.h). */
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const RENAME_NOREPLACE = 1;

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_PATH = 0o10000000;
/* O_DIRECTORY and O_NOFOLLOW have other values on arm64 than on x86-64; `process.arch` tells them apart. */
export const O_DIRECTORY = process.arch === "arm64" ? 0o40000 : 0o200000;
export const O_NOFOLLOW = process.arch === "arm64" ? 0o100000 : 0o400000;

export const W_OK = 2;

export const LOCK_EX = 2;
export const LOCK_NB = 4;

export const POLLIN = 1;
export const POLLOUT = 4;

export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
/** Time since boot, suspended time included: comparable within one boot whatever happens to the wall clock. */
export const CLOCK_BOOTTIME = 7;

export const SIGKILL = 9;
export const SIGTERM = 15;

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_ISVTX = 0o1000;
/** S_IWGRP | S_IWOTH */
export const OTHERS_WRITE = 0o022;

/** Part of the result of stat(2). `mtimeNs` is wall-clock time in nanoseconds since 1970. */
export interface FileStatus {
  readonly device: number;
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly owner: number;
}

/**
 * Returns the result of a system call, or throws a SystemError if it is a negative error number.
 * @param action what was attempted, for the message: `open /proc/self/ns/net`
 */
export function must(result: number, action: string): number {
  if (result < 0) throw new SystemError(-result, action);
  return result;
}

export function openat(directory: number, path: string, flags: number, mode: number): number {
  return sys_openat(directory, path, flags, mode);
}

export function open(path: string, flags: number): number {
  return sys_openat(AT_FDCWD, path, flags, 0);
}

export function close(fd: number): void {
  if (fd >= 0) sys_close(fd);
}

export function read(fd: number, buffer: Uint8Array, offset: number, length: number): number {
  return sys_read(fd, buffer, offset, length);
}

export function write(fd: number, buffer: Uint8Array, offset: number, length: number): number {
  return sys_write(fd, buffer, offset, length);
}

export function pread(fd: number, buffer: Uint8Array, position: number): number {
  return sys_pread(fd, buffer, position);
}

export function pwrite(fd: number, buffer: Uint8Array, position: number): number {
  return sys_pwrite(fd, buffer, position);
}

/* One buffer serves every stat: the executables have one thread. */
const statusBuffer = new Uint8Array(64);

function statusOf(): FileStatus {
  const view = new DataView(statusBuffer.buffer);
  const word = (index: number): number =>
    view.getUint32(index * 8, true) + view.getUint32(index * 8 + 4, true) * 0x1_0000_0000;
  return {
    device: word(0),
    inode: word(1),
    mode: word(2),
    links: word(3),
    size: word(4),
    mtimeNs: view.getBigUint64(40, true),
    owner: word(6),
  };
}

/** fstat(2); null for a descriptor that is not open. @throws SystemError on an I/O error or a shortage */
export function fstat(fd: number): FileStatus | null {
  return found(sys_fstat(fd, statusBuffer), "an open file");
}

/** fstatat(2); null if there is no such file. `flags` may hold AT_SYMLINK_NOFOLLOW. @throws SystemError on an I/O error or a shortage */
export function fstatat(directory: number, path: string, flags: number): FileStatus | null {
  return found(sys_fstatat(directory, path, flags, statusBuffer), path);
}

function found(result: number, path: string): FileStatus | null {
  if (result < 0 && isShortage(-result)) throw new SystemError(-result, `look at ${path}`);
  return result < 0 ? null : statusOf();
}

/**
 * Opens a file for reading; negative if it is missing or must not be read. It does not block: a pipe without a writer is empty.
 * @throws SystemError on an I/O error or a shortage
 */
export function openToRead(path: string): number {
  const fd = open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0 && isShortage(-fd)) throw new SystemError(-fd, `open ${path}`);
  return fd;
}

/** The magic number of the file system an open file lies in (linux/magic.h), or the negative error number. */
export function fstatfsType(fd: number): number {
  return sys_fstatfs_type(fd);
}

export function renameat(directory: number, from: string, to: string, flags: number): number {
  return sys_renameat(directory, from, to, flags);
}

/** Gives a file of the directory a second name in it; a symbolic link is not followed. */
export function linkat(directory: number, from: string, to: string): number {
  return sys_linkat(directory, from, to);
}

export function unlinkat(directory: number, path: string, flags: number): number {
  return sys_unlinkat(directory, path, flags);
}

export function mkdirat(directory: number, path: string, mode: number): number {
  return sys_mkdirat(directory, path, mode);
}

export function ftruncate(fd: number, size: number): number {
  return sys_ftruncate(fd, size);
}

export function fchmod(fd: number, mode: number): number {
  return sys_fchmod(fd, mode);
}

/** Waits until an open file or directory is on the disk. */
export function fsync(fd: number): number {
  return sys_fsync(fd);
}

/** Lets programs that are started from now on inherit an open file. A lock on it is then held until they have ended, too. */
export function bequeath(fd: number): number {
  return sys_bequeath(fd);
}

/** Sets the modification time of an open file or directory, in whole seconds since 1970. */
export function setMtime(fd: number, seconds: number): number {
  return sys_set_mtime(fd, seconds);
}

/** Whether the process may do what `mode` (W_OK) says: 0, or a negative error number (EROFS, EACCES). */
export function faccessat(directory: number, path: string, mode: number): number {
  return sys_faccessat(directory, path, mode);
}

/** The target of a symbolic link, or null. */
export function readlink(path: string): string | null {
  const buffer = new Uint8Array(4096);
  const length = sys_readlinkat(AT_FDCWD, path, buffer);
  return length < 0 ? null : new TextDecoder().decode(buffer.subarray(0, length));
}

export function getdents(fd: number, buffer: Uint8Array): number {
  return sys_getdents(fd, buffer);
}

export function flock(fd: number, operation: number): number {
  return sys_flock(fd, operation);
}

/** The effective user ID of the process, 0 for root. */
export function effectiveUser(): number {
  return sys_effective_user();
}

/** Waits until one of `events` (POLLIN, POLLOUT) can be done: 1, or 0 after `milliseconds`. */
export function poll(fd: number, events: number, milliseconds: number): number {
  return sys_poll(fd, events, milliseconds);
}

/** The clock's reading in milliseconds. */
export function clockMs(clock: number): number {
  return sys_clock_ms(clock);
}

export function sleepUs(microseconds: number): void {
  sys_sleep_us(microseconds);
}

/** From now on SIGTERM, SIGINT, SIGHUP, SIGQUIT and SIGXCPU do not end the process; `caughtSignal` reports them. */
export function catchSignals(): void {
  sys_catch_signals();
}

/** The last signal caught, 0 for none. */
export function caughtSignal(): number {
  return sys_caught_signal();
}

/** From now on SIGTERM, SIGINT and SIGHUP stay pending for `waitSignal`, also in the first process of a container, which would ignore them. */
export function holdSignals(): void {
  sys_hold_signals();
}

/** Sleeps until one of the held signals is pending, and returns its number. */
export function waitSignal(): number {
  return sys_wait_signal();
}

/** Interrupts blocking calls every `milliseconds` from now on (EINTR); 0 stops that. */
export function alarmMs(milliseconds: number): void {
  sys_alarm_ms(milliseconds);
}

/** The value of an environment variable; null if it is not set. The runtime's `process.env` copies all of them each time. */
export function getenv(name: string): string | null {
  let buffer = new Uint8Array(512);
  let length = sys_getenv(name, buffer);
  if (length > buffer.length) {
    buffer = new Uint8Array(length);
    length = sys_getenv(name, buffer);
  }
  return length < 0 ? null : new TextDecoder().decode(buffer.subarray(0, length));
}

export function setenv(name: string, value: string): number {
  return sys_setenv(name, value);
}

/** 32 random bits from the kernel, without a system call: the same in each call of one process (AT_RANDOM, getauxval(3)). */
export function random(): number {
  return sys_random();
}

/** An anonymous file in memory: its descriptor, or the negative error number. */
export function memfd(): number {
  return sys_memfd();
}

/**
 * Starts a program: its pid, or the negative error number.
 * @param list its arguments behind the first, which is `path`: at most 14, each ended by a NUL
 * @param inherit whether it gets this process's environment; otherwise it gets none
 */
export function spawn(
  path: string,
  list: Uint8Array,
  inherit: boolean,
  input: number,
  output: number,
  errors: number,
): number {
  return sys_spawn(path, list, inherit ? 1 : 0, input, output, errors);
}

/** Waits for a child: its exit status, or 256 + the number of the signal that ended it. */
export function waitpid(pid: number): number {
  return sys_waitpid(pid);
}

export function kill(pid: number, signal: number): number {
  return sys_kill(pid, signal);
}

/** Ends the process at once. Nothing is flushed: no output is buffered. */
export function exit(status: number): void {
  sys_exit(status);
}
