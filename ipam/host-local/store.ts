/**
 * The leases, records and allocation order of one network, and the transaction that changes them: lock, read, change,
 * unlock.
 *
 * No call waits for the disk: a lease is of use only within the boot that created it. What a killed call leaves half done is
 * found by the next one, since the index is not valid then (order.ts), and put right (reconcile.ts).
 */

import { bootId } from "../../lib/host/boot.ts";
import { LOCK_DEADLINE_MS, lockExclusive } from "../../lib/host/lock.ts";
import { NO_NAMESPACE } from "../../lib/host/namespace.ts";
import { openLinkedState, openOrMakeState, openParent, openState } from "../../lib/host/state-directory.ts";
import { EDQUOT, ENOSPC } from "../../lib/sys/errno.ts";
import * as sys from "../../lib/sys/sys.ts";
import type { Attachment, Owner } from "./attachment.ts";
import { Leases } from "./leases.ts";
import { Order } from "./order.ts";
import { reconcile } from "./reconcile.ts";
import { Records } from "./records.ts";

export class Store {
  /** The lease directory's path, for messages. */
  readonly path: string;
  /** The ID of this boot. */
  readonly boot: string;
  readonly leases: Leases;
  readonly records: Records;
  readonly order: Order;
  readonly #ownDirectory: number;
  #lockFd = -1;
  #reconciled = true;

  /**
   * @param leaseDirectory the descriptor of `<dataDir>/<network>`
   * @param ownDirectory the descriptor of `<dataDir>/.podwire/<network>`; -1 if only the reference plugin has used the
   *   network so far, and this call must not create it
   */
  constructor(path: string, leaseDirectory: number, ownDirectory: number) {
    this.path = path;
    this.boot = bootId();
    this.leases = new Leases(path, leaseDirectory, this.boot);
    this.records = new Records(ownDirectory, path);
    this.order = new Order(ownDirectory, this.leases, this.boot);
    this.#ownDirectory = ownDirectory;
  }

  close(): void {
    this.order.close();
    sys.close(this.#lockFd);
    sys.close(this.#ownDirectory);
    this.leases.close();
  }

  /** Whether every lease has a record. Otherwise a lease without a record is found only by its file. */
  get complete(): boolean {
    return this.records.available && !this.#isHalfDone();
  }

  /** Whether the next call must reconcile: something could not be read or written in this one. */
  #isHalfDone(): boolean {
    return !this.#reconciled || this.records.damaged || this.order.failed;
  }

  /**
   * Begins a transaction: waits for the lock, then reads what other calls have written since.
   * @param adds whether leases are to be created; without that the call goes on if a full disk has no room for the lock file
   * @throws CniError 11 if the lock is held for too long; SystemError
   */
  lock(adds: boolean): void {
    const path = `${this.path}/lock`;
    this.#lockFd = this.leases.openLock();
    /* Without the lock file nobody can create a lease meanwhile: that takes one more file. */
    if ((this.#lockFd === -ENOSPC || this.#lockFd === -EDQUOT) && !adds) this.#reconciled = false;
    else lockExclusive(sys.must(this.#lockFd, `open ${path}`), path, LOCK_DEADLINE_MS);
    if (!this.records.available || this.readOrder(true)) return;
    this.order.clear();
    if (!reconcile(this.leases, this.records)) this.#reconciled = false;
  }

  /** Reads the index, also without the lock. @param write whether the call is to write it as well. @returns whether it is valid */
  readOrder(write: boolean): boolean {
    this.leases.forgetNames();
    return this.order.read(write);
  }

  /** Ends the transaction: writes the index if anything has changed, then gives the lock back. */
  unlock(): void {
    this.order.write(this.#isHalfDone());
    sys.close(this.#lockFd);
    this.#lockFd = -1;
  }

  /** The attachment that holds a lease; without owner if its file names none. @throws SystemError */
  attachmentAt(address: string): Attachment {
    const owner = this.leases.owner(address);
    if (owner !== null) return this.records.read(owner) ?? this.leases.unrecorded(owner, address);
    const nobody = { containerId: "", ifname: "" };
    return { owner: nobody, netns: NO_NAMESPACE, boot: "", timeMs: 0, addresses: [address] };
  }

  /** Creates a lease; false if the address has one. @throws SystemError */
  createLease(address: string, owner: Owner): boolean {
    this.order.markChanged();
    return this.leases.create(address, owner);
  }

  /** Removes a lease if it is the owner's. @throws SystemError */
  releaseLease(address: string, owner: Owner): void {
    if (!this.leases.remove(address, owner)) return;
    this.order.markChanged();
    this.order.addReleased(address);
  }

  /** Removes the leases of an attachment, then its record: until the record is gone the call can be repeated. @throws SystemError */
  release(attachment: Attachment): void {
    for (const address of attachment.addresses) this.releaseLease(address, attachment.owner);
    if (!this.records.available) return;
    this.order.write(this.#isHalfDone());
    this.records.remove(attachment.owner);
  }
}

/**
 * Opens the lease directory of a network. The data directory may be reached through symbolic links, and the lease directory
 * may be a link that root has made, as for the reference plugin. No other link is followed.
 * @param create whether to create what is missing
 * @returns null if there is no lease directory
 * @throws CniError 5 if anybody but root can write in one of the directories; SystemError
 */
export function openStore(dataDir: string, network: string, create: boolean): Store | null {
  const path = `${dataDir}/${network}`;
  const data = openParent(dataDir, create);
  if (data < 0) return null;
  let leases = -1;
  try {
    leases = openLinkedState(data, network, path);
    if (leases < 0 && create) leases = openOrMakeState(data, network, path);
    return leases < 0 ? null : new Store(path, leases, openOwnDirectory(data, dataDir, network, create));
  } catch (error) {
    sys.close(leases);
    throw error;
  } finally {
    sys.close(data);
  }
}

function openOwnDirectory(data: number, dataDir: string, network: string, create: boolean): number {
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
