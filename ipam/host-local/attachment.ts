/** An attachment as host-local sees it: who owns leases, and what is recorded of an owner. Pure. */

import type { Resident } from "../../lib/host/liveness.ts";
import type { NamespaceIdentity } from "../../lib/host/namespace.ts";

/** Who holds a lease. `ifname` is empty if the lease file names only the container, as before CNI 0.7. */
export interface Owner {
  readonly containerId: string;
  readonly ifname: string;
}

/** The owner of a lease file that cannot be read. The address stays leased, since a container may use it. */
export const UNKNOWN_OWNER: Owner = { containerId: "", ifname: "" };

/** One attachment and its addresses. The lease files decide: an address counts only if its lease file names the owner. */
export interface Attachment {
  readonly owner: Owner;
  readonly netns: NamespaceIdentity;
  /** The boot ID under which the leases were created; "" for an earlier boot that is not known. */
  readonly boot: string;
  /** When the leases were created, in milliseconds since that boot. */
  readonly timeMs: number;
  /** In their printed form. */
  readonly addresses: readonly string[];
}

export function sameOwner(a: Owner, b: Owner): boolean {
  return a.containerId === b.containerId && a.ifname === b.ifname;
}

/** Whether a lease file that names `leaseOwner` is a lease of `owner`. A file that names no interface fits any of the container's. */
export function ownsLease(owner: Owner, leaseOwner: Owner): boolean {
  const sameInterface = leaseOwner.ifname === "" || leaseOwner.ifname === owner.ifname;
  return leaseOwner.containerId === owner.containerId && sameInterface;
}

/** An owner as messages name it. */
export function describeOwner(owner: Owner): string {
  return owner.containerId === "" ? "an owner that cannot be read" : `container ${owner.containerId} (${owner.ifname})`;
}

/** What the liveness test needs to know of an attachment. */
export function residentOf(attachment: Attachment): Resident {
  const { owner, netns, boot, timeMs } = attachment;
  return { containerId: owner.containerId, netns, boot, timeMs };
}
