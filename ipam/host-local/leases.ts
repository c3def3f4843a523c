/**
 * The lease directory of a network, `<dataDir>/<network>`: one file for each lease, named after its address, and
 * last_reserved_ip.N. The reference plugin reads and writes the same files.
 *
 * A change to a lease changes the directory's modification time; see order.ts for its use.
 */

import { isValidName } from "../../lib/cni/environment.ts";
import { sinceBootAt } from "../../lib/host/boot.ts";
import { existsAt, listNames, readableTextAt, UNREADABLE, writeTextAt } from "../../lib/host/directory.ts";
import { NO_NAMESPACE } from "../../lib/host/namespace.ts";
import { openOwnFile } from "../../lib/host/state-directory.ts";
import { type Address, formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { textAt } from "../../lib/lists.ts";
import { EISDIR, ENOENT } from "../../lib/sys/errno.ts";
import * as sys from "../../lib/sys/sys.ts";
import { type Attachment, type Owner, ownsLease, UNKNOWN_OWNER } from "./attachment.ts";

/** A container ID and an interface name fit. A longer file is not read. */
const MAX_LEASE_BYTES = 512;
/** After this many lookups of single addresses the directory is listed instead. */
const MAX_LOOKUPS = 64;
const TEMPORARY = ".new";

export class Leases {
  /** The directory's path, for messages. */
  readonly path: string;
  readonly #directory: number;
  readonly #boot: string;
  #lookups = 0;
  #names = new Set<string>();
  #namesRead = false;

  /**
   * @param path the directory's path
   * @param directory its descriptor, which `close` closes
   * @param boot the ID of this boot
   */
  constructor(path: string, directory: number, boot: string) {
    this.path = path;
    this.#directory = directory;
    this.#boot = boot;
  }

  close(): void {
    sys.close(this.#directory);
  }

  /** Forgets the list of names: another process may have changed the directory. */
  forgetNames(): void {
    this.#namesRead = false;
    this.#lookups = 0;
  }

  /** Opens the lock file, creating it if it is missing. @returns its descriptor, or the negative error number */
  openLock(): number {
    return sys.openat(this.#directory, "lock", sys.O_RDWR | sys.O_CREAT | sys.O_NOFOLLOW, 0o600);
  }

  has(address: Address): boolean {
    this.#lookups += 1;
    if (!this.#namesRead && this.#lookups <= MAX_LOOKUPS) return existsAt(this.#directory, formatAddress(address));
    return this.names().has(formatAddress(address));
  }

  /** The addresses of all leases. */
  names(): Set<string> {
    if (this.#namesRead) return this.#names;
    this.#names = new Set<string>();
    for (const name of listNames(this.#directory)) {
      if (isLeaseName(name)) this.#names.add(name);
    }
    this.#namesRead = true;
    return this.#names;
  }

  /** Who holds an address; null if there is no lease or its file names no owner; UNKNOWN_OWNER if the file cannot be read. */
  owner(address: string): Owner | null {
    const text = readableTextAt(this.#directory, address, MAX_LEASE_BYTES);
    return text === UNREADABLE ? UNKNOWN_OWNER : parseLease(text ?? "");
  }

  /** The attachment of a lease that has no record: one address, and the age of the lease file. */
  unrecorded(owner: Owner, address: string): Attachment {
    const timeMs = Math.floor(this.#timeMs(address));
    return { owner, netns: NO_NAMESPACE, boot: timeMs < 0 ? "" : this.#boot, timeMs, addresses: [address] };
  }

  /** When a lease was created, in milliseconds since boot; negative if before this boot. */
  #timeMs(address: string): number {
    const status = sys.fstatat(this.#directory, address, sys.AT_SYMLINK_NOFOLLOW);
    return status === null ? 0 : sinceBootAt(Number(status.mtimeNs / 1_000_000n));
  }

  /** Creates a lease; false if the address has one. @throws SystemError */
  create(address: string, owner: Owner): boolean {
    const what = `the lease ${this.path}/${address}`;
    return writeTextAt(this.#directory, TEMPORARY, address, formatLease(owner), what, false);
  }

  /** Removes a lease of the owner, or one whose owner cannot be told. @returns whether a lease was removed. @throws SystemError */
  remove(address: string, owner: Owner): boolean {
    const holder = this.owner(address);
    if (holder !== null && holder !== UNKNOWN_OWNER && !ownsLease(owner, holder)) return false;
    const removed = sys.unlinkat(this.#directory, address, 0);
    if (removed === -ENOENT || removed === -EISDIR) return false;
    sys.must(removed, `remove ${this.path}/${address}`);
    this.#names.delete(address);
    return true;
  }

  /** Removes a file that is named like a lease but names no owner. */
  removeInvalid(address: string): void {
    sys.unlinkat(this.#directory, address, 0);
  }

  /** Removes the file of an unfinished `create`, which the reference plugin would read as a lease. */
  removeTemporary(): void {
    sys.unlinkat(this.#directory, TEMPORARY, 0);
  }

  /** The address that was allocated last from the range set of that number; null if it is not known. */
  lastReserved(setNumber: number): Address | null {
    return parseAddress((readableTextAt(this.#directory, `last_reserved_ip.${setNumber}`, 64) ?? "").trim());
  }

  /**
   * Writes last_reserved_ip.N for the reference plugin. It is written in place: ext4 flushes a file to disk that was
   * truncated to nothing and written again.
   */
  setLastReserved(setNumber: number, address: string): void {
    const name = `last_reserved_ip.${setNumber}`;
    const fd = openOwnFile(this.#directory, name, sys.O_WRONLY, `${this.path}/${name}`);
    /* The file is only a hint, so ADD does not fail without it. */
    if (fd < 0) return;
    sys.pwrite(fd, new TextEncoder().encode(address), 0);
    sys.ftruncate(fd, address.length);
    sys.close(fd);
  }

  /** The directory's modification time in nanoseconds; "" if it cannot be read. */
  modified(): string {
    const status = sys.fstat(this.#directory);
    return status === null ? "" : `${status.mtimeNs}`;
  }

  /** Sets the directory's modification time, in seconds since 1970. */
  setModified(seconds: number): void {
    sys.setMtime(this.#directory, seconds);
  }
}

/** The text of a lease file, as the reference plugin writes it. */
export function formatLease(owner: Owner): string {
  return owner.ifname === "" ? owner.containerId : `${owner.containerId}\r\n${owner.ifname}`;
}

/** The owner that the text of a lease file names; null if the text is empty, damaged or no lease. */
export function parseLease(text: string): Owner | null {
  const lines = text.trim().split("\n");
  const containerId = textAt(lines, 0).trim();
  const ifname = textAt(lines, 1).trim();
  return lines.length > 2 || !isValidName(containerId) ? null : { containerId, ifname };
}

/** Whether a file name is an address in its printed form, as lease files have it. */
export function isLeaseName(name: string): boolean {
  const address = parseAddress(name);
  return address !== null && formatAddress(address) === name;
}
