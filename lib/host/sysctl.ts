/** Kernel settings below /proc/sys. Those of the network are the ones of the namespace the process is in. */

import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { errnoText } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { readText } from "./io.ts";

/** The file of a setting: ["net", "ipv4", "ip_forward"]. Parts are file names, so interface names may hold dots. */
export function sysctlPath(parts: readonly string[]): string {
  return `/proc/sys/${parts.join("/")}`;
}

/** The value of a setting; null if the kernel lacks it. */
export function readSysctl(parts: readonly string[]): string | null {
  return readText(sysctlPath(parts));
}

/**
 * Writes a setting.
 * @returns false if the kernel lacks it
 * @throws CniError 100 if it is there but cannot be written
 */
export function writeSysctl(parts: readonly string[], value: string): boolean {
  const path = sysctlPath(parts);
  const fd = sys.open(path, sys.O_WRONLY);
  if (fd < 0) {
    if (sys.fstatat(sys.AT_FDCWD, path, 0) === null) return false;
    throw new CniError(KERNEL_REFUSED, `cannot set ${path} to ${value}: ${errnoText(-fd)}`);
  }
  const bytes = new TextEncoder().encode(value);
  const written = sys.write(fd, bytes, 0, bytes.length);
  sys.close(fd);
  if (written < 0) throw new CniError(KERNEL_REFUSED, `cannot set ${path} to ${value}: ${errnoText(-written)}`);
  return true;
}

/** Whether this kernel, in this namespace, has IPv6 at all. */
export function hasIpv6(): boolean {
  return sys.fstatat(sys.AT_FDCWD, "/proc/sys/net/ipv6", 0) !== null;
}
