/** Reading and writing whole streams and small files. */
import { EFBIG, EINTR, isShortage, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { throwIfInterrupted } from "./interrupt.ts";

/**
 * Reads a stream to its end, or until it holds more than `limit` bytes: then the bytes returned are more than `limit`.
 * @param size how many bytes are expected; 0 if that is not known
 * @throws SystemError; CniError 11 if interrupted
 */
export function readAll(fd: number, limit: number, name: string, size = 0): Uint8Array {
  /* One more, so that there is room to find the end in. */
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

/** Writes all bytes. @throws SystemError */
export function writeAll(fd: number, bytes: Uint8Array, name: string): void {
  let done = 0;
  while (done < bytes.length) {
    const count = sys.write(fd, bytes, done, bytes.length - done);
    if (count === -EINTR) continue;
    done += sys.must(count, `write ${name}`);
  }
}

/** Tells people something on standard error; whether anybody listens does not matter. */
export function warn(text: string): void {
  const bytes = new TextEncoder().encode(text);
  sys.write(2, bytes, 0, bytes.length);
}

/**
 * The text of a small file of the kernel's or the system's, without surrounding white space; null if it cannot be read.
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
