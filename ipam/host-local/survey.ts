/** Counting a range set that seems to be exhausted, and freeing the leases in it that are dead. */
import { CniError, NO_ADDRESS } from "../../lib/errors.ts";
import { GRACE_MS, LivenessTest } from "../../lib/host/liveness.ts";
import { NO_NAMESPACE } from "../../lib/host/namespace.ts";
import { parseAddress } from "../../lib/ip/address.ts";
import { formatSpans, isGateway, type Range, spanIndex, usableAddresses } from "../../lib/ip/range.ts";
import { type Attachment, residentOf } from "./lease.ts";
import type { Store } from "./store.ts";

/** A dead attachment frees all its addresses; so many are freed by one call that finds its range set exhausted. */
const MAX_RECLAIMED = 256;

/** What a count of a range set has found. `dead` are the reclaimable ones, those that died longest ago first. */
export interface Survey {
  readonly total: number;
  readonly used: number;
  readonly dead: readonly Attachment[];
  /** Leases whose namespace is gone but which are within the grace period. */
  readonly fresh: number;
}

/** Counts the leases in a range set. Reads each of them only if the set has no free address. */
export function survey(store: Store, ranges: readonly Range[]): Survey {
  const total = usableAddresses(ranges);
  const names: string[] = [];
  for (const name of store.leaseNames()) {
    const address = parseAddress(name);
    if (address !== null && spanIndex(ranges, address) >= 0 && !isGateway(ranges, address)) names.push(name);
  }
  const dead: Attachment[] = [];
  let fresh = 0;
  if (names.length < total) return { total, used: names.length, dead, fresh };
  const test = new LivenessTest(store.boot);
  const attachments: Attachment[] = [];
  for (const name of names) attachments.push(holderOf(store, name));
  for (const attachment of attachments) test.note(residentOf(attachment));
  for (const attachment of attachments) {
    const state = test.of(residentOf(attachment));
    if (state === "dead") dead.push(attachment);
    if (state === "fresh") fresh += 1;
  }
  dead.sort((a, b) => deathOrder(a, store.boot) - deathOrder(b, store.boot));
  return { total, used: names.length, dead, fresh };
}

/** The attachment that holds a lease, as far as it can be told; a lease that names nobody is dead. */
export function holderOf(store: Store, address: string): Attachment {
  const owner = store.leaseOwner(address);
  if (owner !== null) return store.record(owner) ?? store.foreign(owner, address);
  const nobody = { containerId: "", ifname: "" };
  return { owner: nobody, netns: NO_NAMESPACE, boot: "", timeMs: 0, addresses: [address] };
}

/** Earlier boots come first; between them the clocks cannot be compared. */
function deathOrder(attachment: Attachment, boot: string): number {
  return attachment.boot === boot ? attachment.timeMs : -1;
}

/** Frees the oldest dead leases of a set. Live ones are never touched. */
export function reclaim(store: Store, found: Survey): void {
  for (const attachment of found.dead.slice(0, MAX_RECLAIMED)) store.release(attachment);
}

/** The error of a set without a free address, with what a person needs to go on. */
export function exhausted(store: Store, ranges: readonly Range[], found: Survey, prefix: string): CniError {
  const soon =
    found.fresh > 0 ? `, ${found.fresh} more within ${GRACE_MS / 1000} s because their network namespace is gone` : "";
  return new CniError(
    NO_ADDRESS,
    `${prefix}no IP addresses available in range set: ${formatSpans(ranges)}`,
    `used ${found.used} of ${found.total}, reclaimable ${found.dead.length}${soon}. See who holds them: grep -r . ${store.path}`,
  );
}
