/** ADD: allocates one address from each range set, all of them or none, in one transaction. */

import { CniError, CONFLICT } from "../../lib/errors.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { LivenessTest } from "../../lib/host/liveness.ts";
import { identify, inNamespace, type NamespaceIdentity, tryOpenNamespace } from "../../lib/host/namespace.ts";
import { type Address, formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { formatSpans, isGateway, type Range, spanIndex, usableAddresses } from "../../lib/ip/range.ts";
import { itemAt, textAt } from "../../lib/lists.ts";
import * as network from "../../lib/sys/network.ts";
import * as sys from "../../lib/sys/sys.ts";
import { type Attachment, describeOwner, type Owner, ownsLease, residentOf, sameOwner } from "./attachment.ts";
import type { RangeSet } from "./config.ts";
import { type Ring, refill, takeFree } from "./ring.ts";
import type { Store } from "./store.ts";
import { countUsage, exhausted, reclaim, type Usage } from "./usage.ts";

/** How long an exhausted set is not counted again, unless one of its addresses is released. */
const EXHAUSTED_MS = 5_000;

/**
 * Leases an address of each set to an attachment. An attachment that holds addresses gets the same ones again if its
 * interface is gone.
 * @param netnsPath CNI_NETNS
 * @returns the addresses in the order of the sets
 * @throws CniError 102 if the attachment exists or a requested address is taken, 103 if a set is exhausted, 11 if the
 *   directory stays locked; SystemError. Then nothing was leased
 */
export function allocate(store: Store, sets: readonly RangeSet[], owner: Owner, netnsPath: string): Address[] {
  const netns = identify(netnsPath);
  let checked = "";
  for (;;) {
    store.lock(true);
    try {
      const held = heldBy(store, owner);
      if (held === null || held.boot !== store.boot) return allocateLocked(store, sets, owner, netns, held);
      const description = `${held.timeMs} ${held.addresses.join(" ")}`;
      if (description === checked) return allocateLocked(store, sets, owner, netns, held);
      /* Another call for the same attachment has changed it in the meantime. */
      if (checked !== "" || held.owner.ifname === "") throw duplicate(sets, held);
      checked = description;
      /* Opening the namespace may take long, and other calls need the lock. */
      store.unlock();
      if (hasInterface(netnsPath, owner.ifname)) throw duplicate(sets, held);
    } finally {
      store.unlock();
    }
  }
}

function hasInterface(netnsPath: string, ifname: string): boolean {
  const namespace = tryOpenNamespace(netnsPath);
  if (namespace === null) return false;
  try {
    return inNamespace(namespace, () => network.interfaceIndex(ifname) > 0);
  } finally {
    sys.close(namespace.fd);
  }
}

/** The recorded attachment with those of its addresses that it still has leases of; null if there are none. */
function heldBy(store: Store, owner: Owner): Attachment | null {
  const record = store.records.read(owner) ?? store.records.read({ containerId: owner.containerId, ifname: "" });
  if (record === null) return null;
  const addresses = record.addresses.filter((address) => {
    const leaseOwner = store.leases.owner(address);
    return leaseOwner !== null && ownsLease(record.owner, leaseOwner);
  });
  const { netns, boot, timeMs } = record;
  return addresses.length === 0 ? null : { owner: record.owner, netns, boot, timeMs, addresses };
}

function duplicate(sets: readonly RangeSet[], held: Attachment): CniError {
  let index = 0;
  let address = textAt(held.addresses, 0);
  for (let i = sets.length - 1; i >= 0; i -= 1) {
    const set = itemAt(sets, i);
    const text = set === null ? null : heldFrom(set, held);
    if (text === null) continue;
    index = i;
    address = text;
  }
  const { containerId, ifname } = held.owner;
  return new CniError(
    CONFLICT,
    `failed to allocate for range ${index}: ${address} has been allocated to ${containerId}, duplicate allocation is not allowed`,
    ifname === ""
      ? "the lease file names no interface, as before CNI 0.7: DEL the attachment first"
      : `interface ${ifname} is still in the container: the attachment exists; DEL it first`,
  );
}

/** The first of an attachment's addresses that the set can allocate; null if there is none. */
function heldFrom(set: RangeSet, held: Attachment): string | null {
  for (const text of held.addresses) {
    if (canAllocate(set, text)) return text;
  }
  return null;
}

function canAllocate(set: RangeSet, text: string): boolean {
  const address = parseAddress(text);
  return address !== null && spanIndex(set.ranges, address) >= 0 && !isGateway(set.ranges, address);
}

/** The addresses of an attachment, chosen but not yet leased. The three lists have an item for each set. */
interface Choice {
  readonly addresses: Address[];
  /** In their printed form. */
  readonly texts: string[];
  /** Whether an address was allocated in order: neither requested nor held before. */
  readonly inOrder: boolean[];
}

/**
 * Chooses all addresses, then writes the record, then the leases. So a call that is killed in between leaves no lease
 * without a record.
 */
function allocateLocked(
  store: Store,
  sets: readonly RangeSet[],
  owner: Owner,
  netns: NamespaceIdentity,
  before: Attachment | null,
): Address[] {
  const held = before !== null && sameOwner(before.owner, owner) ? before : null;
  const choice = chooseAll(store, sets, held);
  const old = held === null ? [] : held.addresses;
  /* The record names the old addresses until their leases are removed: a lease must always have a record. */
  const surplus = old.filter((address) => !choice.texts.includes(address));
  const attachment = { owner, netns, boot: store.boot, timeMs: sinceBootMs() };
  store.records.write({ ...attachment, addresses: [...choice.texts, ...surplus] });
  const created: string[] = [];
  try {
    for (const text of choice.texts) {
      if (old.includes(text)) continue;
      if (!store.createLease(text, owner)) throw taken(text, 0, []);
      created.push(text);
    }
    for (let i = 0; i < choice.texts.length; i += 1) {
      if (choice.inOrder[i] === true) store.leases.setLastReserved(i, textAt(choice.texts, i));
    }
  } catch (error) {
    for (const text of created) store.releaseLease(text, owner);
    if (held === null) store.release({ ...attachment, addresses: [] });
    throw error;
  }
  if (surplus.length > 0) {
    for (const address of surplus) store.releaseLease(address, owner);
    store.records.write({ ...attachment, addresses: choice.texts });
  }
  return choice.addresses;
}

function chooseAll(store: Store, sets: readonly RangeSet[], held: Attachment | null): Choice {
  const choice: Choice = { addresses: [], texts: [], inOrder: [] };
  for (const set of sets) {
    const kept = keptFrom(set, held);
    const address = kept ?? choose(store, set, choice.addresses.length);
    choice.inOrder.push(kept === null && set.requested === null);
    choice.addresses.push(address);
    choice.texts.push(formatAddress(address));
  }
  return choice;
}

/** The address of the set that the attachment holds already, unless another one is requested. */
function keptFrom(set: RangeSet, held: Attachment | null): Address | null {
  if (held === null) return null;
  const text = heldFrom(set, held);
  const address = text === null ? null : parseAddress(text);
  if (address === null || (set.requested !== null && formatAddress(set.requested) !== text)) return null;
  return address;
}

/** @param setNumber the index of the set. @throws CniError 102, 103 */
function choose(store: Store, set: RangeSet, setNumber: number): Address {
  const { ranges, requested } = set;
  /* The ring is needed for a requested address as well: it must skip that address after its release. */
  const ring = store.order.use(ranges, setNumber);
  if (requested === null) return nextInOrder(store, ranges, setNumber, ring);
  const text = formatAddress(requested);
  if (!store.leases.has(requested)) return requested;
  const holder = store.attachmentAt(text);
  if (new LivenessTest(store.boot).of(residentOf(holder)) !== "dead") throw taken(text, setNumber, ranges, holder);
  store.release(holder);
  return requested;
}

function taken(text: string, setNumber: number, ranges: readonly Range[], holder: Attachment | null = null): CniError {
  const who = holder === null ? "another container" : describeOwner(holder.owner);
  return new CniError(
    CONFLICT,
    `failed to allocate for range ${setNumber}: requested IP address ${text} is not available in range set ${formatSpans(ranges)}`,
    `${who} holds it; nothing was allocated`,
  );
}

/**
 * The next free address of a set. Leases of dead attachments are reclaimed only if there is no free address.
 * @throws CniError 103
 */
function nextInOrder(store: Store, ranges: readonly Range[], setNumber: number, ring: Ring): Address {
  const gateways: Address[] = [];
  for (const { gateway } of ranges) if (gateway !== null) gateways.push(gateway);
  const address = takeFree(ring, store.order, gateways);
  if (address !== null) return address;
  const now = sinceBootMs();
  const total = usableAddresses(ranges);
  let usage: Usage = { total, used: total, reclaimable: [], inGracePeriod: 0 };
  if (ring.exhaustedMs === 0 || now - ring.exhaustedMs >= EXHAUSTED_MS) {
    usage = countUsage(store, ranges);
    if (usage.used < total) refill(ring, store.order, gateways, store.leases.lastReserved(setNumber) ?? ring.start);
    else if (usage.reclaimable.length > 0) reclaim(store, usage);
    else ring.exhaustedMs = now;
    store.order.markChanged();
    const freed = takeFree(ring, store.order, gateways);
    if (freed !== null) return freed;
  }
  throw exhausted(store, ranges, usage, `failed to allocate for range ${setNumber}: `);
}
