/** Calls of the executables under strace, which kills them at a system call or makes that call fail. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type CallOptions, call } from "../../testbed/call.ts";
import type { Faulty } from "./bench.ts";

/** The nth call of a name: strace counts the calls of each name by themselves. */
export interface Point {
  readonly name: string;
  readonly n: number;
  /** The call as strace shows it. */
  readonly line: string;
}

/** What happens at a point: "signal=KILL", "error=EIO". */
export type Effect = string;

export interface Traced extends Faulty {
  /** strace's lines, a system call each. */
  readonly lines: readonly string[];
}

/** Errors that calls of a name can have; names that are not here are told in NEVER_FAIL, or get what `errorsOf` says. */
const ERRORS: Readonly<Record<string, readonly string[]>> = {
  openat: ["EMFILE", "EIO", "ENOMEM"],
  open: ["EMFILE", "EIO", "ENOMEM"],
  read: ["EIO", "EINTR"],
  write: ["EIO", "ENOSPC", "EINTR"],
  pwrite64: ["EIO", "ENOSPC"],
  sendto: ["ENOMEM", "ENOBUFS", "EPERM", "EINTR"],
  sendmsg: ["ENOMEM", "ENOBUFS", "EPERM", "EINTR"],
  recvfrom: ["ENOBUFS", "ENOMEM", "EINTR"],
  recvmsg: ["ENOBUFS", "ENOMEM", "EINTR"],
  socket: ["EMFILE", "ENOMEM", "EPERM"],
  bind: ["ENOMEM", "EBUSY"],
  setns: ["EPERM", "ENOMEM"],
  fsync: ["EIO", "ENOSPC"],
  fdatasync: ["EIO", "ENOSPC"],
  renameat: ["EIO", "ENOSPC", "EBUSY"],
  renameat2: ["EIO", "ENOSPC", "EBUSY"],
  linkat: ["EIO", "ENOSPC"],
  unlinkat: ["EIO", "EBUSY", "EPERM"],
  mkdirat: ["EIO", "ENOSPC", "EPERM"],
  ftruncate: ["EIO", "ENOSPC"],
  flock: ["EINTR", "ENOMEM"],
  poll: ["EINTR", "ENOMEM"],
  ppoll: ["EINTR", "ENOMEM"],
  clone: ["ENOMEM"],
  fork: ["ENOMEM"],
  vfork: ["ENOMEM"],
  pipe2: ["EMFILE"],
  wait4: ["EINTR"],
};

/**
 * Calls that the kernel does not refuse when they are made rightly, and what the runtime starts and ends with. close is
 * among them: whatever it answers the file is closed, but not where strace answers in the kernel's place.
 */
const NEVER_FAIL: readonly string[] = [
  ...["execve", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "getpid", "gettid", "getuid", "geteuid"],
  ...["clock_gettime", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "exit", "exit_group", "munmap"],
  ...["mprotect", "madvise", "close", "kill", "tkill", "alarm", "setitimer", "umask", "prlimit64"],
];

/** Calls that change nothing outside the process: killed at one, a plugin leaves what it leaves if killed at the next. */
const INNER: readonly string[] = [
  ...["mmap", "munmap", "mremap", "brk", "mprotect", "madvise", "arch_prctl", "set_tid_address", "clock_gettime"],
  ...["rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "setitimer", "alarm", "getpid", "gettid"],
  ...["fstat", "fstatfs", "stat", "lstat", "newfstatat", "readlink", "readlinkat", "access", "faccessat", "faccessat2"],
  ...["read", "pread64", "getdents64", "lseek", "socket", "socketpair", "setsockopt", "recvfrom", "recvmsg", "poll"],
  ...["fcntl", "ioctl", "setns", "flock", "close", "getcwd", "geteuid", "getuid", "memfd_create"],
];

/** Whether a call may change what others see. */
export function isOuter(point: Point): boolean {
  if (point.name === "openat" || point.name === "open") return point.line.includes("O_CREAT");
  return !INNER.includes(point.name);
}

export function errorsOf(point: Point): readonly string[] {
  if (NEVER_FAIL.includes(point.name)) return [];
  return ERRORS[point.name] ?? (["mmap", "brk", "mremap"].includes(point.name) ? ["ENOMEM"] : ["EIO"]);
}

/** The calls of a trace one by one, without the program's start. */
export function pointsOf(lines: readonly string[]): Point[] {
  const seen = new Map<string, number>();
  const points: Point[] = [];
  for (const line of lines) {
    const name = line.slice(0, line.indexOf("("));
    const n = (seen.get(name) ?? 0) + 1;
    seen.set(name, n);
    if (name !== "execve") points.push({ name, n, line });
  }
  return points;
}

/** strace's options for an effect at a point. */
export function injection(point: Point, effect: Effect): string[] {
  return ["-e", `trace=${point.name}`, "-e", `inject=${point.name}:${effect}:when=${point.n}`];
}

/** Calls a plugin under strace. @param directory for the trace */
export async function callTraced(
  directory: string,
  options: CallOptions,
  inject: readonly string[] = [],
): Promise<Traced> {
  const log = join(directory, "trace");
  const through = ["/usr/bin/strace", "-o", log, ...inject];
  const result = await call({ ...options, through });
  const text = await readFile(log, "utf8");
  return {
    ...result,
    lines: text.split("\n").filter((line) => /^\w+\(/.test(line)),
    met: /INJECTED|killed by SIGKILL/.test(text),
    over: null,
  };
}
