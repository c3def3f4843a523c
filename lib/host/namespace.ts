/** Network namespaces: opening one by path, identifying it, running an action in it (namespaces(7), setns(2)). */
import { CniError, INVALID_NETNS } from "../errors.ts";
import { ENOENT, errnoText, isShortage, SystemError } from "../sys/errno.ts";
import * as network from "../sys/network.ts";
import * as sys from "../sys/sys.ts";
import { clip, hexNumber } from "../text.ts";

/* linux/magic.h */
const NSFS_MAGIC = 0x6e736673;
const CLONE_NEWNET = 0x40000000;

/** Which namespace it is: device and inode, 0 if they are not known, and the path where it was found. */
export interface NamespaceIdentity {
  readonly path: string;
  readonly device: number;
  readonly inode: number;
}

export const NO_NAMESPACE: NamespaceIdentity = { path: "", device: 0, inode: 0 };

/** Identifies what lies at a path now; NO_NAMESPACE if nothing does. */
export function identify(path: string): NamespaceIdentity {
  /* Records hold the path in one line. */
  const status = path === "" || path.includes("\n") ? null : sys.fstatat(sys.AT_FDCWD, path, 0);
  return status === null ? NO_NAMESPACE : { path, device: status.device, inode: status.inode };
}

/** An open namespace. Device and inode together identify it among all that exist now. */
export interface Namespace {
  readonly fd: number;
  readonly path: string;
  readonly device: number;
  readonly inode: number;
}

/**
 * Opens the network namespace at a path; the caller closes its `fd`.
 * @throws CniError 8 if there is none: nothing at the path, or something else; SystemError if it cannot be looked at
 */
export function openNamespace(path: string): Namespace {
  const fd = sys.open(path, sys.O_RDONLY | sys.O_NONBLOCK);
  if (fd < 0) {
    if (isShortage(-fd)) throw new SystemError(-fd, `open netns "${clip(path)}"`);
    const hint = fd === -ENOENT ? "the container is gone, or the runtime passed a wrong CNI_NETNS" : "";
    throw new CniError(INVALID_NETNS, `failed to open netns "${clip(path)}": ${errnoText(-fd)}`, hint);
  }
  const magic = sys.fstatfsType(fd);
  const type = magic === NSFS_MAGIC ? network.namespaceType(fd) : 0;
  for (const result of [magic, type]) {
    if (result >= 0 || !isShortage(-result)) continue;
    sys.close(fd);
    throw new SystemError(-result, `look at netns "${clip(path)}"`);
  }
  const status = sys.fstat(fd);
  if (magic !== NSFS_MAGIC || status === null) {
    sys.close(fd);
    throw new CniError(
      INVALID_NETNS,
      `failed to open netns "${clip(path)}": unknown FS magic on "${clip(path)}": ${hexNumber(Math.max(0, magic))}`,
      "the path exists but is no network namespace: nothing is mounted there (any more)",
    );
  }
  if (type !== CLONE_NEWNET) {
    sys.close(fd);
    throw new CniError(INVALID_NETNS, `failed to open netns "${clip(path)}": it is a namespace of another kind`);
  }
  return { fd, path, device: status.device, inode: status.inode };
}

/** Opens the namespace at a path if there is one; null for "", a missing path, a plain file, a dead one. */
export function tryOpenNamespace(path: string): Namespace | null {
  if (path === "") return null;
  try {
    return openNamespace(path);
  } catch (error) {
    if (error instanceof CniError) return null;
    throw error;
  }
}

/** Whether a namespace is the one that this process is in. */
export function isOwnNamespace(namespace: Namespace): boolean {
  const own = sys.fstatat(sys.AT_FDCWD, "/proc/self/ns/net", 0);
  return own !== null && own.device === namespace.device && own.inode === namespace.inode;
}

/**
 * Runs an action with the process in another network namespace, and returns to its own in any case. Sockets and files below
 * /proc/sys/net that are opened meanwhile stay in that namespace.
 * @throws CniError 8 if the namespace cannot be entered, and whatever the action throws
 */
export function inNamespace<T>(namespace: Namespace, action: () => T): T {
  const home = sys.must(sys.open("/proc/self/ns/net", sys.O_RDONLY), "open /proc/self/ns/net");
  try {
    const entered = network.setns(namespace.fd, CLONE_NEWNET);
    if (entered < 0) {
      throw new CniError(INVALID_NETNS, `cannot enter netns "${clip(namespace.path)}": ${errnoText(-entered)}`);
    }
    try {
      return action();
    } finally {
      goHome(home);
    }
  } finally {
    sys.close(home);
  }
}

/** Runs an action with the process in a new network namespace, which is deleted afterwards. @throws SystemError, and whatever the action throws */
export function inNewNamespace(action: () => void): void {
  const home = sys.must(sys.open("/proc/self/ns/net", sys.O_RDONLY), "open /proc/self/ns/net");
  try {
    sys.must(network.unshare(CLONE_NEWNET), "make a network namespace");
    try {
      action();
    } finally {
      goHome(home);
    }
  } finally {
    sys.close(home);
  }
}

/** Tries more than once: what has to be undone after a failure is in the home namespace. @throws SystemError */
function goHome(home: number): void {
  let result = -1;
  for (let attempt = 0; attempt < 3 && result < 0; attempt += 1) result = network.setns(home, CLONE_NEWNET);
  sys.must(result, "return to the plugin's own network namespace");
}
