/**
 * The leases of one network on disk.
 *
 *   <dataDir>/<network>/             as the reference plugin has it: lock, one file for each lease, last_reserved_ip.N
 *   <dataDir>/.podwire/<network>/    our own: one record for each attachment, and the index of the allocation order
 *
 * Nothing waits for the disk: a lease means something only within the boot that made it. What a kill leaves half done is
 * found by the next call, because the lease directory's modification time is not the one that a complete call leaves.
 */
import { MAX_CONFIG_BYTES } from "../../lib/cni/config.ts";
import { bootId, sinceBootAt } from "../../lib/host/boot.ts";
import {
  createTextAt,
  existsAt,
  listNames,
  readableTextAt,
  UNREADABLE,
  writeTextAt,
} from "../../lib/host/directory.ts";
import { warn } from "../../lib/host/io.ts";
import { LOCK_DEADLINE_MS, lockExclusive } from "../../lib/host/lock.ts";
import { NO_NAMESPACE } from "../../lib/host/namespace.ts";
import {
  openLinkedState,
  openOrMakeState,
  openOwnFile,
  openParent,
  openState,
} from "../../lib/host/state-directory.ts";
import { type Address, formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { formatSpans, type Span } from "../../lib/ip/range.ts";
import { EDQUOT, EISDIR, ELOOP, ENOENT, ENOSPC, SystemError } from "../../lib/sys/errno.ts";
import * as sys from "../../lib/sys/sys.ts";
import {
  type Attachment,
  formatLease,
  formatRecord,
  isLeaseName,
  mayBeHeldBy,
  type Owner,
  parseLease,
  parseRecord,
  recordName,
  sameOwner,
  UNKNOWN_OWNER,
} from "./lease.ts";
import { formatIndex, Ground, INDEX_BYTES, type Lap, parseIndex, RING_CAPACITY } from "./order.ts";

/** A lease is a container ID and an interface name; a record adds a path and addresses. More is not read. */
const MAX_LEASE_BYTES = 512;
/** An address for each range set of a configuration, which has at least 27 bytes there and 46 here, and a path. */
const MAX_RECORD_BYTES = 2 * MAX_CONFIG_BYTES;
const RING_ENTRY_BYTES = 16;
/** After so many addresses looked at one by one the directory is read as a whole. */
const MAX_PROBES = 64;
const INDEX_NAME = "index";
const TEMPORARY = ".new";

/** An open lease directory, locked or not. Between two locks everything may have changed, so `lock` reads the index anew. */
export class Store extends Ground {
  /** The lease directory's path, for messages. */
  readonly path: string;
  readonly boot: string;
  readonly #leases: number;
  /** -1 if the directory is only the reference's so far, and this call is not to make any. */
  readonly #own: number;
  #lockFd = -1;
  #indexFd = -1;
  #laps: Lap[] = [];
  #changed = false;
  /** Something of the index or the records could not be written, as on a full disk: the next call begins anew. */
  #incomplete = false;
  #probes = 0;
  #names = new Set<string>();
  #namesRead = false;

  constructor(path: string, leases: number, own: number) {
    super();
    this.path = path;
    this.boot = bootId();
    this.#leases = leases;
    this.#own = own;
  }

  /** Whether every lease has a record. Otherwise the leases are all there is. */
  get complete(): boolean {
    return this.#own >= 0 && !this.#incomplete;
  }

  get laps(): Lap[] {
    return this.#laps;
  }

  /** The lap of a range set; null if the index knows none. */
  lapOf(spans: readonly Span[]): Lap | null {
    const name = formatSpans(spans);
    return this.#laps.find((lap) => formatSpans(lap.spans) === name) ?? null;
  }

  /**
   * Waits for the lock, then takes in what others have done to the directory since our last call.
   * @param adds whether leases are to be added; removing goes on where there is no room for a lock file that is missing
   */
  lock(adds: boolean): void {
    const path = `${this.path}/lock`;
    const flags = sys.O_RDWR | sys.O_CREAT | sys.O_NOFOLLOW;
    this.#lockFd = sys.openat(this.#leases, "lock", flags, 0o600);
    /* Nobody can add a lease meanwhile: that needs a file more. */
    if ((this.#lockFd === -ENOSPC || this.#lockFd === -EDQUOT) && !adds) this.#incomplete = true;
    else lockExclusive(sys.must(this.#lockFd, `open ${path}`), path, LOCK_DEADLINE_MS);
    if (this.#own < 0 || this.readIndex(true)) return;
    this.#laps = [];
    this.#changed = true;
    this.#adopt();
  }

  /**
   * Reads the index.
   * @returns whether it describes the directory as it is: written in this boot, and nobody else has been there since
   */
  readIndex(create: boolean): boolean {
    this.#namesRead = false;
    this.#probes = 0;
    if (this.#own < 0) return false;
    if (this.#indexFd < 0) {
      this.#indexFd = create
        ? openOwnFile(this.#own, INDEX_NAME, sys.O_RDWR, `the index of ${this.path}`)
        : sys.openat(this.#own, INDEX_NAME, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK, 0);
      if (this.#indexFd === -ELOOP) throw new SystemError(ELOOP, `open the index of ${this.path}`);
    }
    const buffer = new Uint8Array(INDEX_BYTES);
    const length = sys.pread(this.#indexFd, buffer, 0);
    const index = length <= 0 ? null : parseIndex(new TextDecoder().decode(buffer.subarray(0, length)));
    if (index === null || index.boot !== this.boot || index.mark !== this.#modified()) return false;
    this.#laps = index.laps;
    return true;
  }

  /** The index has changed and is to be written. */
  touch(): void {
    this.#changed = true;
  }

  /** Writes the index if anything has changed, and gives the lock back. */
  unlock(): void {
    if (this.#changed) this.#writeIndex();
    sys.close(this.#lockFd);
    this.#lockFd = -1;
  }

  close(): void {
    sys.close(this.#indexFd);
    sys.close(this.#lockFd);
    sys.close(this.#own);
    sys.close(this.#leases);
  }

  /** The file that holds the index is written in place: one page, whole or not at all. The directory's time comes last. */
  #writeIndex(): void {
    this.#changed = false;
    if (this.#incomplete) return;
    /*
     * Nobody else leaves a modification time in the past, whatever the clock's and the file system's grain: FAT counts
     * in two seconds.
     */
    const seconds = Math.floor(sys.clockMs(sys.CLOCK_REALTIME) / 2000) * 2 - 10;
    const text = formatIndex({ boot: this.boot, mark: `${seconds}000000000`, laps: this.#laps });
    if (sys.pwrite(this.#indexFd, new TextEncoder().encode(text), 0) > 0) sys.setMtime(this.#leases, seconds);
  }

  #modified(): string {
    const status = sys.fstat(this.#leases);
    return status === null ? "" : `${status.mtimeNs}`;
  }

  /* The ring of released addresses, behind the index's page. */

  get(slot: number, position: number, family: number): Address {
    const bytes = new Uint8Array(family === 4 ? 4 : RING_ENTRY_BYTES);
    sys.pread(this.#indexFd, bytes, ringOffset(slot, position));
    return { family: family === 4 ? 4 : 6, bytes };
  }

  put(slot: number, position: number, address: Address): void {
    const entry = new Uint8Array(RING_ENTRY_BYTES);
    entry.set(address.bytes);
    if (sys.pwrite(this.#indexFd, entry, ringOffset(slot, position)) < 0) this.#incomplete = true;
    this.#changed = true;
  }

  /* Leases */

  inUse(address: Address): boolean {
    this.#probes += 1;
    if (!this.#namesRead && this.#probes <= MAX_PROBES) return existsAt(this.#leases, formatAddress(address));
    return this.leaseNames().has(formatAddress(address));
  }

  /** The addresses of all leases. */
  leaseNames(): Set<string> {
    if (this.#namesRead) return this.#names;
    this.#names = new Set<string>();
    for (const name of listNames(this.#leases)) {
      if (isLeaseName(name)) this.#names.add(name);
    }
    this.#namesRead = true;
    return this.#names;
  }

  /** Who holds an address; null if nobody does, or the file does not tell; UNKNOWN_OWNER if it cannot be read. */
  leaseOwner(address: string): Owner | null {
    const text = readableTextAt(this.#leases, address, MAX_LEASE_BYTES);
    return text === UNREADABLE ? UNKNOWN_OWNER : parseLease(text ?? "");
  }

  /** When a lease was made, in milliseconds since boot; negative if before this boot. */
  leaseTimeMs(address: string): number {
    const status = sys.fstatat(this.#leases, address, sys.AT_SYMLINK_NOFOLLOW);
    return status === null ? 0 : sinceBootAt(Number(status.mtimeNs / 1_000_000n));
  }

  /** Makes a lease; false if the address has one. */
  putLease(address: string, owner: Owner): boolean {
    this.#changed = true;
    const what = `the lease ${this.path}/${address}`;
    return writeTextAt(this.#leases, TEMPORARY, address, formatLease(owner), what, false);
  }

  /** Removes a lease if the owner, or nobody that can be told, holds it; its address goes to the end of the queue. */
  dropLease(address: string, owner: Owner): void {
    const holder = this.leaseOwner(address);
    if (holder !== null && holder !== UNKNOWN_OWNER && !mayBeHeldBy(holder, owner)) return;
    const removed = sys.unlinkat(this.#leases, address, 0);
    if (removed === -ENOENT || removed === -EISDIR) return;
    sys.must(removed, `remove ${this.path}/${address}`);
    this.#changed = true;
    this.#names.delete(address);
    const parsed = parseAddress(address);
    if (parsed === null || this.#own < 0) return;
    for (const lap of this.#laps) {
      if (lap.holds(parsed)) lap.push(parsed, this);
    }
  }

  /** The address that was given last from the range set of that number; null if that is not known. */
  lastReserved(setNumber: number): Address | null {
    return parseAddress((readableTextAt(this.#leases, `last_reserved_ip.${setNumber}`, 64) ?? "").trim());
  }

  /** Notes it in the reference's way. In place: a truncation to nothing would make ext4 write to disk at once. */
  setLastReserved(setNumber: number, address: string): void {
    const name = `last_reserved_ip.${setNumber}`;
    const fd = openOwnFile(this.#leases, name, sys.O_WRONLY, `${this.path}/${name}`);
    /* It is a hint, and no reason to fail. */
    if (fd < 0) return;
    sys.pwrite(fd, new TextEncoder().encode(address), 0);
    sys.ftruncate(fd, address.length);
    sys.close(fd);
  }

  /* Records */

  /** The record of an attachment; null if there is none that can be read. */
  record(owner: Owner): Attachment | null {
    const found = this.recordNamed(recordName(owner));
    return found !== null && sameOwner(found.owner, owner) ? found : null;
  }

  recordNamed(name: string): Attachment | null {
    if (this.#own < 0) return null;
    const text = readableTextAt(this.#own, name, MAX_RECORD_BYTES);
    if (text === null) return null;
    const attachment = parseRecord(text);
    if (attachment === null) this.#incomplete = true;
    return attachment;
  }

  recordNames(): string[] {
    return this.#own < 0 ? [] : listNames(this.#own).filter((name) => name.length === 32);
  }

  putRecord(attachment: Attachment): void {
    const what = `the record of ${attachment.owner.containerId} for ${this.path}`;
    writeTextAt(this.#own, TEMPORARY, recordName(attachment.owner), formatRecord(attachment), what, true);
  }

  /** The same where there was none: nothing reads records without the lock, and if this is killed adoption begins anew. */
  #addRecord(attachment: Attachment): void {
    if (!createTextAt(this.#own, recordName(attachment.owner), formatRecord(attachment))) this.putRecord(attachment);
  }

  /** Removes the record that a call which was killed had begun to write. */
  tidy(): void {
    if (this.#own >= 0) sys.unlinkat(this.#own, TEMPORARY, 0);
  }

  dropRecord(name: string): void {
    sys.unlinkat(this.#own, name, 0);
  }

  /** Removes what an attachment holds, its record last: until then the call can be repeated. */
  release(attachment: Attachment): void {
    for (const address of attachment.addresses) this.dropLease(address, attachment.owner);
    if (this.#own < 0) return;
    if (this.#changed) this.#writeIndex();
    const name = recordName(attachment.owner);
    const removed = sys.unlinkat(this.#own, name, 0);
    /* A directory of that name is somebody else's. */
    if (removed < 0 && removed !== -ENOENT && removed !== -EISDIR)
      throw new SystemError(-removed, `remove the record ${name} of ${this.path}`);
  }

  /**
   * Gives every lease a record and every record a lease: for a directory that the reference plugin has written to, or a
   * call that was killed. A lease file that names nobody is removed: whoever wrote it holds no lease.
   */
  #adopt(): void {
    const holders = new Set<string>();
    let unread = false;
    /* The reference would take its content for a lease. */
    sys.unlinkat(this.#leases, TEMPORARY, 0);
    for (const address of this.leaseNames()) {
      const owner = this.leaseOwner(address);
      if (owner === null) {
        sys.unlinkat(this.#leases, address, 0);
        continue;
      }
      if (owner === UNKNOWN_OWNER) {
        this.#incomplete = true;
        unread = true;
        warn(
          `host-local: ${this.path}/${address} cannot be read and keeps its address: see dmesg, and remove the file\n`,
        );
        continue;
      }
      const claimant = owner.ifname === "" ? this.#claimant(owner, address) : owner;
      const name = recordName(claimant);
      holders.add(name);
      const known = this.record(claimant);
      if (known?.addresses.includes(address)) continue;
      try {
        if (known !== null) this.putRecord(withAddress(known, address));
        else this.#addRecord(this.foreign(claimant, address));
      } catch (error) {
        /* DEL must go on with a full disk. */
        if (!(error instanceof SystemError)) throw error;
        this.#incomplete = true;
      }
    }
    this.#namesRead = false;
    /* A record may be all that tells whose a lease is. */
    if (unread) return;
    for (const name of this.recordNames()) {
      if (!holders.has(name)) this.dropRecord(name);
    }
  }

  /** Whose a lease is that names only the container: the one of its interfaces whose record has the address, if there is one. */
  #claimant(holder: Owner, address: string): Owner {
    for (const name of this.recordNames()) {
      const record = this.recordNamed(name);
      if (record === null || !mayBeHeldBy(holder, record.owner)) continue;
      if (record.addresses.includes(address)) return record.owner;
    }
    return holder;
  }

  /** What can be told of a lease without a record: its file's age. */
  foreign(owner: Owner, address: string): Attachment {
    const timeMs = Math.floor(this.leaseTimeMs(address));
    return { owner, netns: NO_NAMESPACE, boot: timeMs < 0 ? "" : this.boot, timeMs, addresses: [address] };
  }
}

function withAddress(known: Attachment, address: string): Attachment {
  const { owner, netns, boot, timeMs } = known;
  return { owner, netns, boot, timeMs, addresses: [...known.addresses, address] };
}

function ringOffset(slot: number, position: number): number {
  return INDEX_BYTES + (slot * RING_CAPACITY + position) * RING_ENTRY_BYTES;
}

/**
 * Opens the lease directory of a network. The data directory may be reached through symbolic links, and the lease directory
 * may be one that root has made, as for the reference plugin; nothing else may.
 * @param create whether to make what is missing
 * @returns null if there is none
 * @throws CniError 5 if others than root can write where leases are; SystemError
 */
export function openStore(dataDir: string, network: string, create: boolean): Store | null {
  const path = `${dataDir}/${network}`;
  const data = openParent(dataDir, create);
  if (data < 0) return null;
  let leases = -1;
  try {
    leases = openLinkedState(data, network, path);
    if (leases < 0 && create) leases = openOrMakeState(data, network, path);
    return leases < 0 ? null : new Store(path, leases, openOwn(data, dataDir, network, create));
  } catch (error) {
    sys.close(leases);
    throw error;
  } finally {
    sys.close(data);
  }
}

function openOwn(data: number, dataDir: string, network: string, create: boolean): number {
  const path = `${dataDir}/.podwire`;
  const parent = create ? openOrMakeState(data, ".podwire", path) : openState(data, ".podwire", path);
  if (parent < 0) return -1;
  try {
    const own = `${path}/${network}`;
    return create ? openOrMakeState(parent, network, own) : openState(parent, network, own);
  } finally {
    sys.close(parent);
  }
}
