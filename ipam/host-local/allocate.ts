/** ADD: one address from each pool, all of them or none, under one hold of the lock. */

import { CniError, CONFLICT } from "../../lib/errors.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { LivenessTest } from "../../lib/host/liveness.ts";
import { identify, inNamespace, type NamespaceIdentity, tryOpenNamespace } from "../../lib/host/namespace.ts";
import { type Address, formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { formatSpans, isGateway, type Range, spanIndex, usableAddresses } from "../../lib/ip/range.ts";
import { itemAt, textAt } from "../../lib/lists.ts";
import * as network from "../../lib/sys/network.ts";
import * as sys from "../../lib/sys/sys.ts";
import type { Pool } from "./config.ts";
import { type Attachment, describeOwner, mayBeHeldBy, type Owner, residentOf, sameOwner } from "./lease.ts";
import { type Lap, lapOf, nextFree, refill } from "./order.ts";
import type { Store } from "./store.ts";
import { exhausted, holderOf, reclaim, type Survey, survey } from "./survey.ts";

/** A set found exhausted is not counted again within this time unless an address of it is released. */
const EXHAUSTED_MS = 5_000;

/**
 * Leases an address of each pool to an attachment. One that holds addresses already gets the same again if its interface
 * is gone.
 * @param netnsPath CNI_NETNS
 * @throws CniError 102 if the attachment exists or an address asked for is taken, 103 if a pool is exhausted, 11 if the
 *   directory stays locked; then nothing has been leased
 */
export function allocate(store: Store, pools: readonly Pool[], owner: Owner, netnsPath: string): Address[] {
  const netns = identify(netnsPath);
  let known = "";
  for (;;) {
    store.lock(true);
    try {
      const held = heldBy(store, owner);
      if (held === null || held.boot !== store.boot) return allocateLocked(store, pools, owner, netns, held);
      const description = `${held.timeMs} ${held.addresses.join(" ")}`;
      if (description === known) return allocateLocked(store, pools, owner, netns, held);
      /* Another call for the same attachment has come in between. */
      if (known !== "" || held.owner.ifname === "") throw duplicate(pools, held);
      known = description;
      /* The lock is given back while the namespace is asked: that is not a matter of the directory. */
      store.unlock();
      if (hasInterface(netnsPath, owner.ifname)) throw duplicate(pools, held);
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

/** The attachment as recorded, with the addresses that it really holds; null if that is none. */
function heldBy(store: Store, owner: Owner): Attachment | null {
  const record = store.record(owner) ?? store.record({ containerId: owner.containerId, ifname: "" });
  if (record === null) return null;
  const addresses = record.addresses.filter((address) => {
    const holder = store.leaseOwner(address);
    return holder !== null && mayBeHeldBy(holder, record.owner);
  });
  const { netns, boot, timeMs } = record;
  return addresses.length === 0 ? null : { owner: record.owner, netns, boot, timeMs, addresses };
}

function duplicate(pools: readonly Pool[], held: Attachment): CniError {
  let index = 0;
  let address = textAt(held.addresses, 0);
  for (let i = pools.length - 1; i >= 0; i -= 1) {
    const pool = itemAt(pools, i);
    const text = pool === null ? null : heldFrom(pool, held);
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

/** The first of an attachment's addresses that is the pool's; null if none is. */
function heldFrom(pool: Pool, held: Attachment): string | null {
  for (const text of held.addresses) {
    if (poolHolds(pool, text)) return text;
  }
  return null;
}

function poolHolds(pool: Pool, text: string): boolean {
  const address = parseAddress(text);
  return address !== null && spanIndex(pool.ranges, address) >= 0 && !isGateway(pool.ranges, address);
}

/** Chooses all addresses, then writes the record, then the leases: a kill in between leaves no lease without an owner. */
function allocateLocked(
  store: Store,
  pools: readonly Pool[],
  owner: Owner,
  netns: NamespaceIdentity,
  before: Attachment | null,
): Address[] {
  const held = before !== null && sameOwner(before.owner, owner) ? before : null;
  const chosen: Address[] = [];
  const automatic: boolean[] = [];
  const texts: string[] = [];
  for (const pool of pools) {
    const kept = keptFrom(pool, held);
    const address = kept ?? choose(store, pool, chosen.length);
    automatic.push(kept === null && pool.wanted === null);
    chosen.push(address);
    texts.push(formatAddress(address));
  }
  const old = held === null ? [] : held.addresses;
  /* Until the new leases stand the record names the old ones too, so that none is left without a record. */
  const leaving = old.filter((address) => !texts.includes(address));
  const attachment = { owner, netns, boot: store.boot, timeMs: sinceBootMs() };
  store.putRecord({ ...attachment, addresses: [...texts, ...leaving] });
  const made: string[] = [];
  try {
    for (const text of texts) {
      if (old.includes(text)) continue;
      if (!store.putLease(text, owner)) throw taken(text, 0, []);
      made.push(text);
    }
    for (let i = 0; i < texts.length; i += 1) {
      if (automatic[i] === true) store.setLastReserved(i, textAt(texts, i));
    }
  } catch (error) {
    for (const text of made) store.dropLease(text, owner);
    if (held === null) store.release({ ...attachment, addresses: [] });
    throw error;
  }
  if (leaving.length > 0) {
    for (const address of leaving) store.dropLease(address, owner);
    store.putRecord({ ...attachment, addresses: texts });
  }
  return chosen;
}

/** The address of the pool that the attachment holds already, unless another one is asked for. */
function keptFrom(pool: Pool, held: Attachment | null): Address | null {
  if (held === null) return null;
  const text = heldFrom(pool, held);
  const address = text === null ? null : parseAddress(text);
  if (address === null || (pool.wanted !== null && formatAddress(pool.wanted) !== text)) return null;
  return address;
}

function choose(store: Store, pool: Pool, number: number): Address {
  const { ranges, wanted } = pool;
  /* Also for an address that is asked for: the lap is to pass it by when it comes back. */
  const lap = lapOf(store.laps, ranges, store.lapOf(ranges) === null ? store.lastReserved(number) : null);
  if (wanted === null) return automaticAddress(store, ranges, number, lap);
  const text = formatAddress(wanted);
  if (!store.inUse(wanted)) return wanted;
  const holder = holderOf(store, text);
  if (new LivenessTest(store.boot).of(residentOf(holder)) !== "dead") throw taken(text, number, ranges, holder);
  store.release(holder);
  return wanted;
}

function taken(text: string, number: number, ranges: readonly Range[], holder: Attachment | null = null): CniError {
  const who = holder === null ? "another container" : describeOwner(holder.owner);
  return new CniError(
    CONFLICT,
    `failed to allocate for range ${number}: requested IP address ${text} is not available in range set ${formatSpans(ranges)}`,
    `${who} holds it; nothing was allocated`,
  );
}

/**
 * The next free address of a set; its dead leases are freed only when there is no other.
 * @throws CniError 103
 */
function automaticAddress(store: Store, ranges: readonly Range[], number: number, lap: Lap): Address {
  const gateways = ranges.map((range) => range.gateway);
  const address = nextFree(lap, store, gateways);
  if (address !== null) return address;
  const now = sinceBootMs();
  const total = usableAddresses(ranges);
  let found: Survey = { total, used: total, dead: [], fresh: 0 };
  if (lap.fullMs === 0 || now - lap.fullMs >= EXHAUSTED_MS) {
    found = survey(store, ranges);
    if (found.used < total) refill(lap, store, gateways, store.lastReserved(number) ?? lap.start);
    else if (found.dead.length > 0) reclaim(store, found);
    else lap.fullMs = now;
    store.touch();
    const freed = nextFree(lap, store, gateways);
    if (freed !== null) return freed;
  }
  throw exhausted(store, ranges, found, `failed to allocate for range ${number}: `);
}
