/** System calls of a process that waits for many things at once. As in sys.ts, each returns its result or the negative error number; the C side is loop.c. */

declare function sys_poll_many(descriptors: Uint8Array, count: number, milliseconds: number): number;
declare function sys_hold(mask: number): number;
declare function sys_signalfd(mask: number): number;
declare function sys_inotify_init(): number;
declare function sys_inotify_add_watch(fd: number, path: string, mask: number): number;
declare function sys_report_crashes(): number;
declare function sys_return_memory(): void;

/** What poll(2) tells whether it was asked for or not. */
export const POLLERR = 8;
export const POLLHUP = 16;
export const POLLNVAL = 32;

/** Bytes of a `struct pollfd`: descriptor (i32), events asked for (i16), events that have happened (i16). */
export const POLLFD_SIZE = 8;

export const SIGHUP = 1;
export const SIGINT = 2;

/** Bytes of a `struct signalfd_siginfo`, which begins with the signal's number (u32). */
export const SIGNAL_SIZE = 128;

/* Events of inotify(7). */
export const IN_CLOSE_WRITE = 0x8;
export const IN_MOVED_FROM = 0x40;
export const IN_MOVED_TO = 0x80;
export const IN_CREATE = 0x100;
export const IN_DELETE = 0x200;
export const IN_DELETE_SELF = 0x400;
export const IN_MOVE_SELF = 0x800;
export const IN_UNMOUNT = 0x2000;
export const IN_Q_OVERFLOW = 0x4000;
export const IN_IGNORED = 0x8000;
export const IN_ONLYDIR = 0x0100_0000;

/**
 * Waits until something has happened on a descriptor, and writes what into the buffer (poll(2)).
 * @param descriptors `count` times POLLFD_SIZE bytes
 * @param milliseconds -1 for as long as it takes
 * @returns on how many; 0 after the time
 */
export function pollMany(descriptors: Uint8Array, count: number, milliseconds: number): number {
  return sys_poll_many(descriptors, count, milliseconds);
}

/** The bit of a signal in the masks of `holdSignals` and `signalDescriptor`. */
export function signalBit(signal: number): number {
  return (1 << (signal - 1)) >>> 0;
}

/**
 * From now on these signals do nothing but stay pending, also in the first process of a container, which would ignore them.
 * Programs that this process starts inherit that.
 */
export function holdSignals(mask: number): number {
  return sys_hold(mask);
}

/** A descriptor, non-blocking, from which held signals are read: SIGNAL_SIZE bytes each (signalfd(2)). */
export function signalDescriptor(mask: number): number {
  return sys_signalfd(mask);
}

/** A descriptor, non-blocking, from which changes of watched directories are read (inotify(7)). */
export function inotify(): number {
  return sys_inotify_init();
}

/** Watches a file or directory: a number for it. */
export function inotifyWatch(fd: number, path: string, mask: number): number {
  return sys_inotify_add_watch(fd, path, mask);
}

/** From now on a crash writes a line to standard error before it ends the process, and a write to a closed pipe fails (EPIPE). */
export function reportCrashes(): number {
  return sys_report_crashes();
}

/** From now on blocks of memory above 16 KiB go back to the kernel when they are freed: for a process that lives long. */
export function returnMemory(): void {
  sys_return_memory();
}
