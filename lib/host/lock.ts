/** Waiting for lock files (flock(2)), all together no longer than one deadline, and telling who holds them. */
import { CniError, TRY_AGAIN_LATER } from "../errors.ts";
import { EAGAIN, EINTR, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { hexNumber } from "../text.ts";
import { throwIfInterrupted } from "./interrupt.ts";
import { readText } from "./io.ts";

/** Longer than any call holds a lock, shorter than runtimes wait for a plugin. */
export const LOCK_DEADLINE_MS = 20_000;

/** So long at least each lock is waited for: what is taken back after a deadline needs locks, too. */
const LEAST_MS = 500;

/** How often a waiting call looks at its deadline and at signals. The lock itself is handed over at once. */
const TICK_MS = 100;

/** What this process has waited for locks so far. */
let waitedMs = 0;

/**
 * Takes the exclusive lock on an open file; closing the file, or the process's end, gives it back.
 * @param path the file's path, for messages
 * @param deadlineMs for how long all locks together are waited for in the life of this process
 * @throws CniError 11 if another process still holds it then, naming that process, or if interrupted
 */
export function lockExclusive(fd: number, path: string, deadlineMs: number): void {
  const first = sys.flock(fd, sys.LOCK_EX | sys.LOCK_NB);
  if (first >= 0) return;
  if (first !== -EAGAIN) throw new SystemError(-first, `lock ${path}`);
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

/** The pid that holds a flock on the file, from /proc/locks (proc(5)); 0 if that does not tell. */
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
