/** Running another program until it ends. Its input and output are files in memory, so nothing can block on a pipe. */
import { textAt } from "../lists.ts";
import { EAGAIN, EINTR, ENOMEM, ETXTBSY, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { isInterrupted, isTakingBack, throwIfInterrupted } from "./interrupt.ts";
import { readWhole } from "./io.ts";

/** How a program ended. */
export interface Outcome {
  /** Its exit status; 256 + the signal that ended it; the negative error number if it could not be started. */
  readonly status: number;
  /** What it printed. */
  readonly output: Uint8Array;
  readonly errors: Uint8Array;
}

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
/** A program file that is being written is busy for a moment (ETXTBSY): 50 tries, 100 ms apart. */
const BUSY_TRIES = 50;
const BUSY_PAUSE_US = 100_000;
const SIGNAL_CHECK_MS = 100;
/**
 * How long a program may take to undo its work after a signal that was passed on, then to end after SIGTERM, and then to end
 * after SIGKILL.
 */
const GRACE_MS = 10_000;
const KILLED = 256 + sys.SIGKILL;

/**
 * Runs a program until it ends. A signal that this process gets meanwhile is passed on to it.
 * @param path the executable file
 * @param list its arguments, at most 14
 * @param inherit whether it gets the environment of this process; otherwise it gets none
 * @param input what it reads from its standard input
 * @throws CniError 11 if interrupted; SystemError if the machine lacks memory or processes
 */
export function runProgram(path: string, list: readonly string[], inherit: boolean, input: Uint8Array): Outcome {
  throwIfInterrupted();
  const files: number[] = [];
  try {
    for (let i = 0; i < 3; i += 1) files.push(sys.must(sys.memfd(), "make a file in memory"));
    const [standardInput = 0, output = 1, errors = 2] = files;
    sys.must(sys.pwrite(standardInput, input, 0), "write a program's input");
    const pid = start(path, list, inherit, standardInput, output, errors);
    const status = pid < 0 ? pid : wait(pid);
    throwIfInterrupted();
    return { status, output: contents(output, path), errors: contents(errors, path) };
  } finally {
    for (const file of files) sys.close(file);
  }
}

/** The end of a program in words: "failed with exit status 2". */
export function howItEnded(status: number): string {
  return status >= 256 ? `was ended by signal ${status - 256}` : `failed with exit status ${status}`;
}

/** The first line of what a program printed. */
export function firstLine(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes.subarray(0, 1024)).trim();
  return textAt(text.split("\n"), 0);
}

function start(
  path: string,
  list: readonly string[],
  inherit: boolean,
  input: number,
  output: number,
  errors: number,
): number {
  const ended = new TextEncoder().encode(list.map((argument) => `${argument}\0`).join(""));
  for (let attempt = 1; ; attempt += 1) {
    const pid = sys.spawn(path, ended, inherit, input, output, errors);
    if (pid === -EAGAIN || pid === -ENOMEM) throw new SystemError(-pid, `start ${path}`);
    if (pid !== -ETXTBSY || attempt >= BUSY_TRIES) return pid;
    throwIfInterrupted();
    sys.sleepUs(BUSY_PAUSE_US);
  }
}

/**
 * Waits for a program. A signal to this process is passed on once, as SIGTERM, so that the program can undo its work. If it
 * does not end then it is killed; if it does not end even so, it is left alone. The timer interrupts the wait again if a
 * signal arrives just before the wait begins.
 */
function wait(pid: number): number {
  const isLast = isTakingBack();
  let told = 0;
  let deadline = isLast ? sys.clockMs(sys.CLOCK_MONOTONIC) + GRACE_MS : 0;
  sys.alarmMs(SIGNAL_CHECK_MS);
  try {
    for (;;) {
      if ((isLast || isInterrupted()) && sys.clockMs(sys.CLOCK_MONOTONIC) >= deadline) {
        if (told === 2) return KILLED;
        sys.kill(pid, told === 0 ? sys.SIGTERM : sys.SIGKILL);
        told += 1;
        deadline = sys.clockMs(sys.CLOCK_MONOTONIC) + GRACE_MS;
      }
      const status = sys.waitpid(pid);
      if (status >= 0) return status;
      if (status !== -EINTR) throw new SystemError(-status, "wait for a program");
    }
  } finally {
    sys.alarmMs(0);
  }
}

/** The program shares the offset of the file, so the file is opened again, through /proc, and read from its beginning. */
function contents(fd: number, name: string): Uint8Array {
  const reader = sys.must(sys.open(`/proc/self/fd/${fd}`, sys.O_RDONLY), `read what ${name} printed`);
  try {
    return readWhole(reader, MAX_OUTPUT_BYTES, `what ${name} printed`);
  } finally {
    sys.close(reader);
  }
}
