/** Which boot this is, and how long ago it began: what was written in another one says nothing about what is now. */
import * as sys from "../sys/sys.ts";
import { readText } from "./io.ts";

/** The kernel's name for this boot, a random UUID (Documentation/admin-guide/sysctl/kernel.rst, "random"); "" without /proc. */
export function bootId(): string {
  return readText("/proc/sys/kernel/random/boot_id") ?? "";
}

/** Milliseconds since boot, suspended time included; no change of the wall clock moves it. */
export function sinceBootMs(): number {
  return sys.clockMs(sys.CLOCK_BOOTTIME);
}

/** The milliseconds since boot at a moment of the wall clock, negative if that was before the boot. */
export function sinceBootAt(wallMs: number): number {
  return sinceBootMs() - (sys.clockMs(sys.CLOCK_REALTIME) - wallMs);
}
