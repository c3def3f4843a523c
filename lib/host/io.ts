/** Reading and writing whole streams and small files. */
import { EAGAIN, EFBIG, EINTR, isShortage, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { throwIfInterrupted } from "./interrupt.ts";

const STANDARD_INPUT = 0;
const STANDARD_OUTPUT = 1;
const STANDARD_ERROR = 2;
/** A pipe that is ready takes this many bytes without blocking (PIPE_BUF, pipe(7)). */
const PIPE_BUF = 4096;
/** How long a reader may take for what is printed at the end, or on standard error. */
const PATIENCE_MS = 1000;
const TICK_MS = 100;

/**
 * Reads a stream to its end, or until it holds more than `limit` bytes: then the bytes returned are more than `limit`.
 * @param size how many bytes are expected; 0 if that is not known
 * @throws SystemError; CniError 11 if interrupted
 */
export function readAll(fd: number, limit: number, name: string, size = 0): Uint8Array {
  /* One byte more: the read that finds the end needs room. */
  let buffer = new Uint8Array(size > 0 && size <= limit ? size + 1 : 8192);
  let length = 0;
  while (length <= limit) {
    if (length === buffer.length) {
      const larger = new Uint8Array(buffer.length * 2);
      larger.set(buffer);
      buffer = larger;
    }
    const count = sys.read(fd, buffer, length, buffer.length - length);
    if (count === -EINTR) throwIfInterrupted();
    else if (count === -EAGAIN && fd === STANDARD_INPUT) waitFor(fd, sys.POLLIN);
    else if (count < 0) throw new SystemError(-count, `read ${name}`);
    else if (count === 0) break;
    else length += count;
  }
  return buffer.subarray(0, length);
}

/** Reads a stream to its end. @throws SystemError, EFBIG if it is longer than `limit` bytes; CniError 11 if interrupted */
export function readWhole(fd: number, limit: number, name: string): Uint8Array {
  const bytes = readAll(fd, limit, name);
  if (bytes.length > limit) throw new SystemError(EFBIG, `read ${name} beyond ${limit} bytes`);
  return bytes;
}

/** Writes all bytes to a file. @throws SystemError */
export function writeAll(fd: number, bytes: Uint8Array, name: string): void {
  let done = 0;
  while (done < bytes.length) {
    const count = sys.write(fd, bytes, done, bytes.length - done);
    if (count === -EINTR) continue;
    done += sys.must(count, `write ${name}`);
  }
}

let printed = false;
let unheard = false;

/**
 * Writes a text to standard output, and waits for its reader.
 * @throws SystemError; CniError 11 if interrupted. Then a part may have been written: see `hasPrinted`
 */
export function print(text: string): void {
  const bytes = new TextEncoder().encode(text);
  let done = 0;
  while (done < bytes.length) {
    const count = sys.write(STANDARD_OUTPUT, bytes, done, bytes.length - done);
    if (count > 0) printed = true;
    if (count === -EAGAIN) waitFor(STANDARD_OUTPUT, sys.POLLOUT);
    else if (count !== -EINTR) done += sys.must(count, "write standard output");
    if (done < bytes.length) throwIfInterrupted();
  }
}

/** Waits for the other end of a stream, also if another process has made it non-blocking. */
function waitFor(fd: number, events: number): void {
  sys.poll(fd, events, TICK_MS);
  throwIfInterrupted();
}

/** Whether anything was written to standard output: then nothing more may be written. */
export function hasPrinted(): boolean {
  return printed;
}

/** Writes a text to standard output, unless something was written there before or the reader does not read soon. */
export function printLast(text: string): void {
  if (!hasPrinted()) writeSoon(STANDARD_OUTPUT, new TextEncoder().encode(text));
}

/** Writes a message to standard error, as far as it is read. */
export function warn(text: string): void {
  warnBytes(new TextEncoder().encode(text));
}

/** `warn` with a text as bytes. */
export function warnBytes(bytes: Uint8Array): void {
  if (!unheard && !writeSoon(STANDARD_ERROR, bytes)) unheard = true;
}

/**
 * Undoes something after a failure. A second failure goes to standard error: an exception would hide the first cause.
 * @param what for that message: a phrase that follows "cannot"
 */
export function quietly(what: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    warn(`cannot ${what}: ${error.message}\n`);
  }
}

/** Writes what the reader takes soon; false if that is not all. */
function writeSoon(fd: number, bytes: Uint8Array): boolean {
  const end = sys.clockMs(sys.CLOCK_MONOTONIC) + PATIENCE_MS;
  let done = 0;
  while (done < bytes.length) {
    const left = end - sys.clockMs(sys.CLOCK_MONOTONIC);
    if (left <= 0) return false;
    const ready = sys.poll(fd, sys.POLLOUT, left);
    if (ready === -EINTR || ready === 0) continue;
    const count = sys.write(fd, bytes, done, Math.min(bytes.length - done, PIPE_BUF));
    if (count < 0 && count !== -EINTR) return false;
    if (count > 0) done += count;
  }
  return true;
}

/**
 * The text of a small file of the kernel or the system, without surrounding white space; null if it cannot be read.
 * @throws SystemError if the system is short of something
 */
export function readText(path: string): string | null {
  const fd = sys.openToRead(path);
  if (fd < 0) return null;
  try {
    return new TextDecoder().decode(readAll(fd, 65536, path)).trim();
  } catch (error) {
    if (error instanceof SystemError && !isShortage(error.errno)) return null;
    throw error;
  } finally {
    sys.close(fd);
  }
}
