/**
 * Which attachments have ended without a DEL: those of an earlier boot, and those whose network namespace no longer exists.
 * In doubt an attachment is alive.
 */
import { textAt } from "../lists.ts";
import * as sys from "../sys/sys.ts";
import { isDigits } from "../text.ts";
import { sinceBootAt, sinceBootMs } from "./boot.ts";
import { listNames, openDirectory, readLargeText } from "./directory.ts";
import type { NamespaceIdentity } from "./namespace.ts";

/** What a record says about the life of an attachment. */
export interface Resident {
  readonly containerId: string;
  readonly netns: NamespaceIdentity;
  /** The boot in which it was attached; "" for one before this. */
  readonly boot: string;
  /** When that was, in milliseconds since that boot. */
  readonly timeMs: number;
}

/** The ADD of a younger attachment may still be running. */
export const GRACE_MS = 60_000;
/** Room for a million mounts: a namespace whose mount was not read would count as gone. */
const MAX_MOUNT_TABLE_BYTES = 256 * 1024 * 1024;

export type Liveness = "alive" | "dead" | "fresh";

/** Says whether attachments are alive. It keeps what it has read of the processes' namespaces, so use it for one call. */
export class LivenessTest {
  readonly #boot: string;
  readonly #nowMs = sinceBootMs();
  readonly #holders = new Map<string, Resident>();
  #namespaces = new Set<string>();
  #namespacesRead = false;

  constructor(boot: string) {
    this.#boot = boot;
  }

  /** Notes which attachment's namespace has a number now: the kernel uses the numbers of deleted namespaces again. */
  note(attachment: Resident): void {
    if (attachment.boot === this.#boot && isAtItsPath(attachment.netns)) {
      this.#holders.set(`${attachment.netns.inode}`, attachment);
    }
  }

  /** "fresh": dead by its namespace, but within the grace period. */
  of(attachment: Resident): Liveness {
    const { netns } = attachment;
    if (attachment.boot !== this.#boot) return "dead";
    if (netns.inode === 0 || isAtItsPath(netns) || this.#isUsed(attachment)) return "alive";
    return attachment.timeMs > this.#nowMs - GRACE_MS ? "fresh" : "dead";
  }

  /**
   * Whether a process is in the namespace or a mount holds it, unless the number is known to be that of another
   * container's, attached later. Without /proc everything is in use.
   */
  #isUsed(attachment: Resident): boolean {
    const inode = `${attachment.netns.inode}`;
    const holder = this.#holders.get(inode);
    if (holder !== undefined && holder.timeMs > attachment.timeMs) {
      /* A container may have several interfaces in one namespace, or was started again and got the number once more. */
      return holder.containerId === attachment.containerId && !isYounger(attachment);
    }
    if (!this.#namespacesRead) this.#namespaces = namespacesInUse();
    this.#namespacesRead = true;
    return this.#namespaces.size === 0 || (this.#namespaces.has(inode) && !isYounger(attachment));
  }
}

/**
 * Whether the number is known to be that of a namespace younger than the attachment: it is mounted, and its file was made
 * after the attachment was. (As long as a namespace is mounted its file stays the same.)
 */
function isYounger(attachment: Resident): boolean {
  const { inode } = attachment.netns;
  const mounts = readLargeText("/proc/self/mountinfo", MAX_MOUNT_TABLE_BYTES) ?? "";
  for (const line of mounts.split("\n")) {
    if (!line.includes(` net:[${inode}] `)) continue;
    const status = sys.fstatat(sys.AT_FDCWD, textAt(line.split(" "), 4), 0);
    if (status === null || status.inode !== inode) continue;
    return sinceBootAt(Number(status.mtimeNs / 1_000_000n)) > attachment.timeMs;
  }
  return false;
}

function isAtItsPath(netns: NamespaceIdentity): boolean {
  const status = netns.inode === 0 ? null : sys.fstatat(sys.AT_FDCWD, netns.path, 0);
  return status !== null && status.inode === netns.inode && status.device === netns.device;
}

/**
 * The inode numbers of the network namespaces that a process is in or that are mounted in any process's mount namespace
 * (/proc/PID/ns, /proc/PID/mountinfo). Empty if that cannot be told.
 */
function namespacesInUse(): Set<string> {
  const found = new Set<string>();
  const tables = new Set<string>();
  const proc = openDirectory(sys.AT_FDCWD, "/proc");
  if (proc < 0) return found;
  try {
    for (const pid of listNames(proc)) {
      if (!isDigits(pid)) continue;
      addNamespaces(sys.readlink(`/proc/${pid}/ns/net`) ?? "", found);
      const mounts = sys.readlink(`/proc/${pid}/ns/mnt`) ?? "";
      if (mounts === "" || tables.has(mounts)) continue;
      tables.add(mounts);
      addNamespaces(readLargeText(`/proc/${pid}/mountinfo`, MAX_MOUNT_TABLE_BYTES) ?? "", found);
    }
  } finally {
    sys.close(proc);
  }
  return found;
}

/** Adds every number N of "net:[N]" in a text. */
function addNamespaces(text: string, found: Set<string>): void {
  const opening = "net:[";
  for (let at = text.indexOf(opening); at >= 0; at = text.indexOf(opening, at + 1)) {
    const end = text.indexOf("]", at);
    if (end > at) found.add(text.slice(at + opening.length, end));
  }
}
