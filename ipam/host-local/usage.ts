/** How much of a range set is in use, and releasing the leases in it that no container can use any more. */
import { CniError, NO_ADDRESS } from "../../lib/errors.ts";
import { GRACE_MS, LivenessTest } from "../../lib/host/liveness.ts";
import { parseAddress } from "../../lib/ip/address.ts";
import { formatSpans, isGateway, type Range, spanIndex, usableAddresses } from "../../lib/ip/range.ts";
import { type Attachment, residentOf } from "./attachment.ts";
import type { Store } from "./store.ts";

/** Attachments that one call reclaims when a range set is exhausted. An attachment may have more than one address. */
const MAX_RECLAIMED = 256;

export interface Usage {
  /** Addresses that the set can allocate. */
  readonly total: number;
  /** Addresses with a lease. */
  readonly used: number;
  /** Dead attachments that hold an address of the set, those that died longest ago first. Empty while an address is free. */
  readonly reclaimable: readonly Attachment[];
  /** Leases whose network namespace is gone, but which are within the grace period. */
  readonly inGracePeriod: number;
}

/** Counts the leases in a range set. Reads each of them only if the set has no free address. @throws SystemError */
export function countUsage(store: Store, ranges: readonly Range[]): Usage {
  const total = usableAddresses(ranges);
  const leased: string[] = [];
  for (const name of store.leases.names()) {
    const address = parseAddress(name);
    if (address !== null && spanIndex(ranges, address) >= 0 && !isGateway(ranges, address)) leased.push(name);
  }
  const reclaimable: Attachment[] = [];
  let inGracePeriod = 0;
  if (leased.length < total) return { total, used: leased.length, reclaimable, inGracePeriod };
  const test = new LivenessTest(store.boot);
  const attachments: Attachment[] = [];
  for (const name of leased) attachments.push(store.attachmentAt(name));
  for (const attachment of attachments) test.note(residentOf(attachment));
  for (const attachment of attachments) {
    const state = test.of(residentOf(attachment));
    if (state === "dead") reclaimable.push(attachment);
    if (state === "fresh") inGracePeriod += 1;
  }
  reclaimable.sort((a, b) => deathOrder(a, store.boot) - deathOrder(b, store.boot));
  return { total, used: leased.length, reclaimable, inGracePeriod };
}

/** Earlier boots come first. Times of different boots cannot be compared. */
function deathOrder(attachment: Attachment, boot: string): number {
  return attachment.boot === boot ? attachment.timeMs : -1;
}

/** Releases the oldest reclaimable attachments. */
export function reclaim(store: Store, usage: Usage): void {
  for (const attachment of usage.reclaimable.slice(0, MAX_RECLAIMED)) store.release(attachment);
}

/** The error of a set without a free address (103). */
export function exhausted(store: Store, ranges: readonly Range[], usage: Usage, prefix: string): CniError {
  const { total, used, reclaimable, inGracePeriod } = usage;
  const soon =
    inGracePeriod > 0
      ? `, ${inGracePeriod} more within ${GRACE_MS / 1000} s because their network namespace is gone`
      : "";
  return new CniError(
    NO_ADDRESS,
    `${prefix}no IP addresses available in range set: ${formatSpans(ranges)}`,
    `used ${used} of ${total}, reclaimable ${reclaimable.length}${soon}. See who holds them: grep -r . ${store.path}`,
  );
}
