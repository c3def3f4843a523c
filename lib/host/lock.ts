/** Lock files (flock(2)): one deadline for all locks of a call, and which process holds a lock. */
import { CniError, TRY_AGAIN_LATER } from "../errors.ts";
import { EAGAIN, EINTR, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { hexNumber } from "../text.ts";
import { throwIfInterrupted } from "./interrupt.ts";
import { readText } from "./io.ts";
import { trace } from "./trace.ts";

/** Longer than any call holds a lock, shorter than runtimes wait for a plugin. */
export const LOCK_DEADLINE_MS = 20_000;

/** Each lock is waited for at least this long: the undoing after a deadline needs locks, too. */
const LEAST_MS = 500;

/** How often a waiting call checks its deadline and signals. It gets the lock at once when it is free. */
const TICK_MS = 100;

/** How long this process has waited for locks so far. */
let waitedMs = 0;

/** For a process that outlives a call: from now on locks are waited for as at the start. */
export function forgetWaits(): void {
  waitedMs = 0;
}

/**
 * Takes the exclusive lock on an open file. It is released when the file is closed or the process ends.
 * @param path the file's path, for messages
 * @param deadlineMs how long this process may wait for all its locks together
 * @throws CniError 11 if another process still holds it then, naming that process, or if interrupted
 */
export function lockExclusive(fd: number, path: string, deadlineMs: number): void {
  const first = sys.flock(fd, sys.LOCK_EX | sys.LOCK_NB);
  if (first >= 0) return;
  if (first !== -EAGAIN) throw new SystemError(-first, `lock ${path}`);
  trace(`wait for the lock of ${path}`);
  const begin = sys.clockMs(sys.CLOCK_MONOTONIC);
  const end = begin + Math.max(LEAST_MS, deadlineMs - waitedMs);
  sys.alarmMs(TICK_MS);
  try {
    for (;;) {
      const result = sys.flock(fd, sys.LOCK_EX);
      if (result >= 0) return;
      if (result !== -EINTR) throw new SystemError(-result, `lock ${path}`);
      throwIfInterrupted();
      const now = sys.clockMs(sys.CLOCK_MONOTONIC);
      if (now >= end) throw lockHeld(fd, path, Math.round(now - begin));
    }
  } finally {
    sys.alarmMs(0);
    waitedMs += sys.clockMs(sys.CLOCK_MONOTONIC) - begin;
  }
}

function lockHeld(fd: number, path: string, spentMs: number): CniError {
  const pid = holderOf(fd);
  const name = pid > 0 ? (readText(`/proc/${pid}/comm`) ?? "") : "";
  const holder =
    pid > 0 ? `process ${pid}${name === "" ? "" : ` (${name})`}` : "a process that cannot be seen from here";
  return new CniError(
    TRY_AGAIN_LATER,
    `${path} is locked by ${holder}`,
    `waited ${Math.round(spentMs / 1000)} s; nothing was changed. If that process hangs, end it: the lock goes with it`,
  );
}

/** The pid that holds a flock on the file, from /proc/locks (proc(5)); 0 if it is not listed there. */
function holderOf(fd: number): number {
  const status = sys.fstat(fd);
  const table = readText("/proc/locks");
  if (status === null || table === null) return 0;
  /* `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`; waiting processes have "->" after the number. */
  const file = `${deviceText(status.device)}:${status.inode}`;
  for (const line of table.split("\n")) {
    const fields = line.split(" ").filter((field) => field !== "");
    if (fields[1] === "FLOCK" && fields[5] === file) return parseInt(fields[4] ?? "0", 10);
  }
  return 0;
}

/** A device number as /proc/locks has it, "major:minor" in hex; the number is glibc's encoding (makedev(3)). */
function deviceText(device: number): string {
  const low = device % 0x1_0000_0000;
  const major = (low >>> 8) & 0xfff;
  const minor = (low & 0xff) | ((low >>> 12) & 0xfff00);
  return `${hexNumber(major).padStart(2, "0")}:${hexNumber(minor).padStart(2, "0")}`;
}
