/** Kernel settings below /proc/sys. Network settings are those of the network namespace of the process. */

import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { errnoText, isShortage, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { warn } from "./io.ts";
import { isTracing, trace } from "./trace.ts";

/** The file of a setting: ["net", "ipv4", "ip_forward"]. Parts are file names, so interface names may hold dots. */
function sysctlPath(parts: readonly string[]): string {
  return `/proc/sys/${parts.join("/")}`;
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
 * @throws CniError 100 if it is there but cannot be written
 */
export function ensureSysctl(parts: readonly string[], value: string): boolean {
  const path = sysctlPath(parts);
  const fd = sys.open(path, sys.O_RDWR);
  if (fd < 0) {
    const found = readSysctl(parts);
    if (found === null || found === value) return found !== null;
    throw cannotSet(path, value, -fd);
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
  if (written < 0) throw cannotSet(path, value, -written);
  return true;
}

/**
 * As `ensureSysctl`, for a setting that a pod can do without: if it cannot be written, as with a read-only /proc/sys, a
 * message goes to standard error.
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
