/** Changes of files in a directory as events of the loop. */
import { EAGAIN } from "../sys/errno.ts";
import {
  IN_CLOSE_WRITE,
  IN_CREATE,
  IN_DELETE,
  IN_DELETE_SELF,
  IN_IGNORED,
  IN_MOVE_SELF,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  IN_ONLYDIR,
  IN_Q_OVERFLOW,
  IN_UNMOUNT,
  inotify,
  inotifyWatch,
} from "../sys/loop.ts";
import { close, must, POLLIN, read } from "../sys/sys.ts";
import { decodeUtf8 } from "../text.ts";
import { type Loop, Watched } from "./loop.ts";

const CHANGES = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE;
const GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED;

/** Bytes of a `struct inotify_event` before its name: watch (i32), mask, cookie, length of the name (u32 each). */
const HEAD = 16;
/** Many events, and at least one with the longest name. */
const BUFFER = 4096;

export abstract class DirectoryHandler {
  /** A file of this name was made, written to its end, moved here or away, or removed. */
  abstract changed(name: string): void;
  /** More has happened than the kernel could tell: look at all files. */
  abstract overflowed(): void;
  /** The directory was removed, moved away or unmounted. It is watched no more. */
  abstract gone(): void;
}

/** One change: what happened, and the file's name; "" for the directory itself. */
export interface Change {
  readonly mask: number;
  readonly name: string;
}

/** Watches a directory from the time it is made. */
export class DirectoryWatch extends Watched {
  readonly #loop: Loop;
  readonly #handler: DirectoryHandler;
  #fd = -1;
  readonly #buffer = new Uint8Array(BUFFER);

  /** @throws SystemError if there is no such directory, or no more watches are to be had */
  constructor(loop: Loop, path: string, handler: DirectoryHandler) {
    super();
    this.#loop = loop;
    this.#handler = handler;
    const fd = must(inotify(), "open a descriptor for changes of files");
    const watch = inotifyWatch(fd, path, CHANGES | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
    if (watch < 0) close(fd);
    must(watch, `watch ${path}`);
    this.#fd = fd;
    loop.watch(fd, POLLIN, this);
  }

  override ready(_events: number): void {
    const length = read(this.#fd, this.#buffer, 0, BUFFER);
    if (length === -EAGAIN) return;
    must(length, "read changes of files");
    for (const { mask, name } of changesIn(this.#buffer, length)) {
      if (this.#fd < 0) return;
      if ((mask & IN_Q_OVERFLOW) !== 0) this.#handler.overflowed();
      else if ((mask & GONE) !== 0) {
        this.close();
        this.#handler.gone();
      } else this.#handler.changed(name);
    }
  }

  /** Nothing is told from now on. */
  close(): void {
    if (this.#fd < 0) return;
    this.#loop.unwatch(this.#fd);
    close(this.#fd);
    this.#fd = -1;
  }
}

/** The changes that the kernel has written into the first `length` bytes of a buffer. */
export function changesIn(buffer: Uint8Array, length: number): Change[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset);
  const changes: Change[] = [];
  let at = 0;
  while (at + HEAD <= length) {
    const end = at + HEAD + view.getUint32(at + 12, true);
    if (end > length) break;
    let nul = at + HEAD;
    while (nul < end && view.getUint8(nul) !== 0) nul += 1;
    changes.push({ mask: view.getUint32(at + 4, true), name: decodeUtf8(buffer.subarray(at + HEAD, nul)) });
    at = end;
  }
  return changes;
}
