/**
 * Brings leases and records into agreement: for a directory that somebody else has changed, as the reference plugin does,
 * or that a killed call has left half changed.
 */

import { warn } from "../../lib/host/io.ts";
import { SystemError } from "../../lib/sys/errno.ts";
import { type Attachment, type Owner, ownsLease, UNKNOWN_OWNER } from "./attachment.ts";
import type { Leases } from "./leases.ts";
import { type Records, recordName } from "./records.ts";

/**
 * Gives each lease a record, and removes each record without a lease. A lease file that names no owner is removed: nobody
 * holds that address.
 * @returns whether every lease has a record now
 */
export function reconcile(leases: Leases, records: Records): boolean {
  const recorded = new Set<string>();
  let complete = true;
  let readable = true;
  leases.removeTemporary();
  for (const address of leases.names()) {
    const leaseOwner = leases.owner(address);
    if (leaseOwner === null) {
      leases.removeInvalid(address);
    } else if (leaseOwner === UNKNOWN_OWNER) {
      readable = false;
      warn(
        `host-local: ${leases.path}/${address} cannot be read and keeps its address: see dmesg, and remove the file\n`,
      );
    } else {
      const owner = leaseOwner.ifname === "" ? completeOwner(leaseOwner, address, records) : leaseOwner;
      recorded.add(recordName(owner));
      if (!recordLease(owner, address, leases, records)) complete = false;
    }
  }
  leases.forgetNames();
  /* A record may be all that tells whose an unreadable lease is. */
  if (!readable) return false;
  for (const name of records.names()) {
    if (!recorded.has(name)) records.removeNamed(name);
  }
  return complete;
}

/** Adds an address to the record of its owner. @returns false if the record could not be written, as on a full disk */
function recordLease(owner: Owner, address: string, leases: Leases, records: Records): boolean {
  const record = records.read(owner);
  if (record?.addresses.includes(address)) return true;
  try {
    if (record !== null) records.write(withAddress(record, address));
    else records.add(leases.unrecorded(owner, address));
    return true;
  } catch (error) {
    /* DEL goes on: it finds the lease by its file. */
    if (!(error instanceof SystemError)) throw error;
    return false;
  }
}

/** The owner of a lease that names only the container: that of the record with the address, if there is one. */
function completeOwner(leaseOwner: Owner, address: string, records: Records): Owner {
  for (const name of records.names()) {
    const record = records.readNamed(name);
    if (record === null || !ownsLease(record.owner, leaseOwner)) continue;
    if (record.addresses.includes(address)) return record.owner;
  }
  return leaseOwner;
}

function withAddress(record: Attachment, address: string): Attachment {
  const { owner, netns, boot, timeMs } = record;
  return { owner, netns, boot, timeMs, addresses: [...record.addresses, address] };
}
