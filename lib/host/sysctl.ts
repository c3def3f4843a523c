/** Kernel settings below /proc/sys. Network settings are those of the network namespace of the process. */

import { CniError, IO_FAILURE, KERNEL_REFUSED } from "../errors.ts";
import { EISDIR, ENOENT, ENOSPC, ENOTDIR, errnoText, isForbidden, isShortage, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { readAll, warn } from "./io.ts";
import { isTracing, trace } from "./trace.ts";

let root = "/proc/sys";

/**
 * Has settings read and written elsewhere: a container's own /proc/sys is read-only, but the node's net/ may be mounted at another
 * place. Settings are those of the process's network namespace there, too.
 * @param path absolute, in place of /proc/sys
 * @throws CniError 5 if there is no net/ in it: every setting would seem to be one that the kernel lacks
 */
export function setSysctlRoot(path: string): void {
  if (sys.fstatat(sys.AT_FDCWD, `${path}/net`, 0) === null)
    throw new CniError(IO_FAILURE, `${path}/net does not exist`, "mount the node's /proc/sys/net there");
  root = path;
}

/** The file of a setting: ["net", "ipv4", "ip_forward"]. Parts are file names, so interface names may hold dots. */
export function sysctlPath(parts: readonly string[]): string {
  return `${root}/${parts.join("/")}`;
}

/** The value of a setting; null if the kernel lacks it. @throws SystemError if the system is short of something */
export function readSysctl(parts: readonly string[]): string | null {
  const fd = sys.openToRead(sysctlPath(parts));
  if (fd < 0) return null;
  try {
    return currentValue(fd);
  } finally {
    sys.close(fd);
  }
}

/**
 * Sets a setting, unless it has the value already: some settings take the lock of all links, and /proc/sys may be
 * read-only.
 * @returns false if the kernel lacks the setting
 * @throws CniError 100 if it is there but cannot be written; SystemError if the system is short of something
 */
export function ensureSysctl(parts: readonly string[], value: string): boolean {
  const path = sysctlPath(parts);
  const fd = sys.open(path, sys.O_RDWR);
  if (fd < 0) {
    const found = readSysctl(parts);
    if (found === null || found === value) return found !== null;
    throw refusedSysctl(path, value, -fd);
  }
  /* At position 0 both times: the kernel refuses numbers written anywhere else (sysctl_writes_strict). */
  let written = 0;
  try {
    const found = currentValue(fd);
    if (isTracing()) trace(`${path} is ${found}${found === value ? "" : `, set it to ${value}`}`);
    if (found !== value) written = sys.pwrite(fd, new TextEncoder().encode(value), 0);
  } finally {
    sys.close(fd);
  }
  if (written < 0) throw refusedSysctl(path, value, -written);
  return true;
}

/**
 * As `ensureSysctl`, for a setting that a pod can do without: if the kernel refuses it, as with a read-only /proc/sys, a
 * message goes to standard error. A shortage is an error all the same: the runtime's next try may succeed.
 * @param loss what is missing without it, for that message
 * @returns whether it has the value, or the kernel lacks it
 */
export function preferSysctl(parts: readonly string[], value: string, loss: string): boolean {
  try {
    ensureSysctl(parts, value);
    return true;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    warn(`${error.message}; going on without it: ${loss}\n`);
    return false;
  }
}

/** The value of a setting that is there but cannot be read: net.ipv4.route.flush. */
export const HIDDEN = "\u0000";

/** Lists of ports are the longest values. */
const MAX_VALUE_BYTES = 65536;

/**
 * The parts of a setting's path below /proc/sys: "net/core/somaxconn". Null if it is no path of a network setting, or leads
 * anywhere else.
 */
export function netSysctlParts(path: string): string[] | null {
  const parts = path.split("/");
  if (parts.length < 2 || parts[0] !== "net" || path.length > MAX_PATH) return null;
  for (const part of parts) if (part === "" || part === "." || part === "..") return null;
  for (let i = 0; i < path.length; i += 1) {
    const unit = path.charCodeAt(i);
    if (unit <= 0x20 || unit === 0x7f) return null;
  }
  return parts;
}

/** More than any setting's path has. */
const MAX_PATH = 255;

/**
 * The whole value of a setting as the kernel prints it, without white space around; HIDDEN if it cannot be read; null if the
 * kernel lacks it. As `sysctl -n KEY`.
 * @throws SystemError
 */
export function sysctlValue(parts: readonly string[]): string | null {
  const path = sysctlPath(parts);
  const fd = sys.openToRead(path);
  if (fd === -ENOENT || fd === -ENOTDIR) return null;
  if (fd < 0 && isForbidden(-fd)) return HIDDEN;
  sys.must(fd, `open ${path}`);
  try {
    return new TextDecoder().decode(readAll(fd, MAX_VALUE_BYTES, path)).trim();
  } catch (error) {
    if (error instanceof SystemError && error.errno === EISDIR) return null;
    throw error;
  } finally {
    sys.close(fd);
  }
}

/** Whether two texts are one value: the kernel prints a tab between numbers where people write a space. */
export function isSameSetting(one: string, other: string): boolean {
  return wordsOf(one) === wordsOf(other);
}

function wordsOf(text: string): string {
  return text
    .split("\t")
    .join(" ")
    .split("\n")
    .join(" ")
    .split(" ")
    .filter((word) => word !== "")
    .join(" ");
}

/**
 * Sets a setting that must have the value afterwards, as `sysctl -w KEY=VALUE`. One that has it already is not written: /proc/sys
 * may be read-only.
 * @throws CniError 100 if the kernel lacks the setting or refuses the value; SystemError
 */
export function requireSysctl(parts: readonly string[], value: string): void {
  const path = sysctlPath(parts);
  const found = sysctlValue(parts);
  if (found === null) throw missingSysctl(parts);
  if (found !== HIDDEN && isSameSetting(found, value)) return;
  if (isTracing()) trace(`${path} is ${found === HIDDEN ? "not readable" : found}, set it to ${value}`);
  const fd = sys.open(path, sys.O_WRONLY);
  if (fd < 0) throw refusedSysctl(path, value, -fd);
  /* With a newline: an empty value would otherwise be no write at all. */
  const bytes = new TextEncoder().encode(`${value}\n`);
  let written = 0;
  try {
    written = sys.pwrite(fd, bytes, 0);
  } finally {
    sys.close(fd);
  }
  if (written < 0) throw refusedSysctl(path, value, -written);
  /* A list of numbers that is too long is taken as far as there is room for it. */
  if (written < bytes.length && !isSameSetting(sysctlValue(parts) ?? "", value)) {
    throw new CniError(KERNEL_REFUSED, `cannot set ${path} to ${value}: the kernel took only the beginning of it`);
  }
}

/** A shortage of the system says nothing about the setting: another try may succeed. */
function refusedSysctl(path: string, value: string, errno: number): Error {
  const isShort = isShortage(errno) || errno === ENOSPC;
  return isShort ? new SystemError(errno, `set ${path} to ${value}`) : cannotSet(path, value, errno);
}

/** The error for a setting that the kernel, or this namespace, lacks. */
export function missingSysctl(parts: readonly string[]): CniError {
  return new CniError(
    KERNEL_REFUSED,
    `there is no setting ${sysctlPath(parts)}`,
    "the kernel lacks it, has it only outside of network namespaces, or the module that brings it is not loaded: see sysctl -a in the container's network namespace",
  );
}

/** Whether a setting may be written: not where /proc/sys is read-only. */
export function isWritable(parts: readonly string[]): boolean {
  const fd = sys.open(sysctlPath(parts), sys.O_RDWR);
  if (fd >= 0) sys.close(fd);
  return fd >= 0;
}

function currentValue(fd: number): string {
  const buffer = new Uint8Array(64);
  const length = sys.pread(fd, buffer, 0);
  if (length < 0 && isShortage(-length)) throw new SystemError(-length, "read a kernel setting");
  return length <= 0 ? "" : new TextDecoder().decode(buffer.subarray(0, length)).trim();
}

function cannotSet(path: string, value: string, errno: number): CniError {
  return new CniError(KERNEL_REFUSED, `cannot set ${path} to ${value}: ${errnoText(errno)}`);
}

/** Whether this kernel, in this namespace, has IPv6 at all. */
export function hasIpv6(): boolean {
  return sys.fstatat(sys.AT_FDCWD, "/proc/sys/net/ipv6", 0) !== null;
}
