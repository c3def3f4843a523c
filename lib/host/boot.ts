/** Which boot this is, and how long ago it began. Notes of an earlier boot say nothing about the present state. */
import * as sys from "../sys/sys.ts";
import { readText } from "./io.ts";

/** The kernel's name for this boot, a random UUID (Documentation/admin-guide/sysctl/kernel.rst, "random"); "" without /proc. */
export function bootId(): string {
  return readText("/proc/sys/kernel/random/boot_id") ?? "";
}

/** Milliseconds since boot, suspended time included. Changes of the wall clock do not affect it. */
export function sinceBootMs(): number {
  return sys.clockMs(sys.CLOCK_BOOTTIME);
}

/** A time of the wall clock as milliseconds since boot; negative if it was before the boot. */
export function sinceBootAt(wallMs: number): number {
  return sinceBootMs() - (sys.clockMs(sys.CLOCK_REALTIME) - wallMs);
}
