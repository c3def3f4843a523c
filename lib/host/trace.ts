/**
 * `PODWIRE_DEBUG=1`: what a call does, line by line on standard error; `PODWIRE_DEBUG=/path`: at the end of that file. There is
 * a line for each message to and from the kernel, each file and setting that is written, and each decision. It begins with
 * the milliseconds since the first one.
 */
import * as sys from "../sys/sys.ts";

const STANDARD_ERROR = 2;
const OFF = -1;
const UNKNOWN = -2;

let output = UNKNOWN;
let beginning = 0;

/** Whether lines are wanted: asked before one is composed, which costs time. */
export function isTracing(): boolean {
  if (output === UNKNOWN) output = opened(sys.getenv("PODWIRE_DEBUG") ?? "");
  return output !== OFF;
}

/** Writes a line if lines are wanted. One that cannot be written is lost: a call does not fail for it. */
export function trace(line: string): void {
  if (!isTracing()) return;
  const elapsed = sys.clockMs(sys.CLOCK_MONOTONIC) - beginning;
  const bytes = new TextEncoder().encode(`${`${Math.round(elapsed)}`.padStart(5)} ms  ${line}\n`);
  sys.write(output, bytes, 0, bytes.length);
}

function opened(wanted: string): number {
  if (wanted === "" || wanted === "0") return OFF;
  beginning = sys.clockMs(sys.CLOCK_MONOTONIC);
  if (!wanted.startsWith("/")) return STANDARD_ERROR;
  const fd = sys.openat(sys.AT_FDCWD, wanted, sys.O_WRONLY | sys.O_CREAT | sys.O_APPEND | sys.O_NOFOLLOW, 0o600);
  return fd < 0 ? STANDARD_ERROR : fd;
}
