/** host-local: addresses from ranges of this host, each lease a file in a directory (plugin of type "ipam"). */

import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import { type Dns, EMPTY_DNS, type Result, type ResultIp } from "../../lib/cni/result.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CHECK_FAILED, CniError, IO_FAILURE, NOT_AVAILABLE } from "../../lib/errors.ts";
import { readLargeText } from "../../lib/host/directory.ts";
import { warn } from "../../lib/host/io.ts";
import { NO_NAMESPACE } from "../../lib/host/namespace.ts";
import { openParent } from "../../lib/host/state-directory.ts";
import { type Address, formatAddress } from "../../lib/ip/address.ts";
import { formatSpans, isGateway, type Range, spanIndex } from "../../lib/ip/range.ts";
import { itemAt } from "../../lib/lists.ts";
import { ENOENT, errnoText } from "../../lib/sys/errno.ts";
import * as sys from "../../lib/sys/sys.ts";
import { allocate } from "./allocate.ts";
import { dataDirOf, type Pool, readHostLocal } from "./config.ts";
import { describeOwner, mayBeHeldBy, type Owner, UNKNOWN_OWNER } from "./lease.ts";
import { parseResolvConf } from "./resolv-conf.ts";
import { openStore, type Store } from "./store.ts";
import { exhausted, survey } from "./survey.ts";

const MAX_RESOLV_CONF_BYTES = 65_536;

export const hostLocal: Plugin = {
  name: "host-local",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc,
  status,
  explain,
  repair: null,
};

function add(call: Call): Result {
  const { request, config } = call;
  const settings = readHostLocal(config, request.args);
  const dns = settings.resolvConf === "" ? EMPTY_DNS : readResolvConf(settings.resolvConf);
  const store = openStore(settings.dataDir, config.name, true);
  if (store === null) throw new CniError(IO_FAILURE, `cannot open ${settings.dataDir}/${config.name}`);
  try {
    const addresses = allocate(store, settings.pools, ownerOf(call), request.netns);
    const ips: ResultIp[] = [];
    for (const address of addresses) {
      const pool = itemAt(settings.pools, ips.length);
      const range = pool === null ? null : itemAt(pool.ranges, spanIndex(pool.ranges, address));
      if (range === null) throw new Error("an address of no range was given");
      ips.push({ interface: null, address: { address, length: range.subnet.length }, gateway: range.gateway });
    }
    return { interfaces: [], ips, routes: settings.routes, dns };
  } finally {
    store.close();
  }
}

/** The addresses are told by the one that delegates; here is what they become. */
function explain(call: Call): string[] {
  const path = `${dataDirOf(call.config)}/${call.config.name}`;
  if (call.request.command === "ADD") {
    const sets = readHostLocal(call.config, call.request.args).pools.map(({ ranges }) => formatSpans(ranges));
    return [`# host-local: the first free address of ${sets.join(" and of ")}, noted in ${path}`];
  }
  return [`# host-local: give the addresses in ${path} back`];
}

/** Whether one of the network's range sets holds the address. */
function isOurs(pools: readonly Pool[], address: Address): boolean {
  for (const pool of pools) if (spanIndex(pool.ranges, address) >= 0) return true;
  return false;
}

function ownerOf(call: Call): Owner {
  return { containerId: call.request.containerId, ifname: call.request.ifname };
}

function readResolvConf(path: string): Dns {
  const text = readLargeText(path, MAX_RESOLV_CONF_BYTES);
  if (text === null) {
    throw new CniError(IO_FAILURE, `cannot read ${path}`, "ipam.resolvConf names it; nothing was allocated");
  }
  return parseResolvConf(text);
}

/** Every address that the attachment is recorded with, and every one of ours in the previous result, must be leased to it. */
function check(call: Call): void {
  const settings = readHostLocal(call.config, "");
  const owner = ownerOf(call);
  const store = openStore(settings.dataDir, call.config.name, false);
  if (store === null) throw notFound(owner, `there is no directory ${settings.dataDir}/${call.config.name}`);
  try {
    const addresses = store.record(owner)?.addresses ?? leasesOf(store, owner);
    const expected = [...addresses];
    for (const ip of call.config.prevResult()?.ips ?? []) {
      const address = formatAddress(ip.address.address);
      if (isOurs(settings.pools, ip.address.address) && !expected.includes(address)) expected.push(address);
    }
    for (const address of expected) {
      const holder = store.leaseOwner(address);
      if (holder !== null && mayBeHeldBy(holder, owner)) continue;
      const found = holder === null ? "no lease" : `a lease of ${describeOwner(holder)}`;
      throw notFound(owner, `${address}: expected its lease in ${store.path}, found ${found}`);
    }
    if (addresses.length === 0) throw notFound(owner, `it has no lease in ${store.path}`);
  } finally {
    store.close();
  }
}

function notFound(owner: Owner, details: string): CniError {
  const message = `host-local: Failed to find address added by container ID ${owner.containerId}`;
  return new CniError(CHECK_FAILED, message, details);
}

/** The addresses of an attachment's leases, found by reading them all; those that name only the container if there are no others. */
function leasesOf(store: Store, owner: Owner): string[] {
  const exact: string[] = [];
  const bare: string[] = [];
  for (const address of store.leaseNames()) {
    const holder = store.leaseOwner(address);
    if (holder === null || !mayBeHeldBy(holder, owner)) continue;
    if (holder.ifname === owner.ifname) exact.push(address);
    else bare.push(address);
  }
  return exact.length > 0 ? exact : bare;
}

/** Runs an action with the network's leases locked; not at all if there are none. */
function withLock(call: Call, action: (store: Store) => void): void {
  const store = openStore(dataDirOf(call.config), call.config.name, false);
  if (store === null) return;
  try {
    store.lock(false);
    try {
      action(store);
    } finally {
      store.unlock();
    }
  } finally {
    store.close();
  }
}

function del(call: Call): void {
  const owner = ownerOf(call);
  withLock(call, (store) => {
    const record = store.record(owner) ?? store.record({ containerId: owner.containerId, ifname: "" });
    if (record === null) store.tidy();
    if (record !== null) store.release(record);
    else if (!store.complete) releaseUnrecorded(store, leasesOf(store, owner));
  });
}

/** Removes leases, each as its own file says whose it is. */
function releaseUnrecorded(store: Store, addresses: readonly string[]): void {
  for (const address of addresses) {
    const owner = store.leaseOwner(address);
    if (owner !== null) store.release({ owner, netns: NO_NAMESPACE, boot: "", timeMs: 0, addresses: [address] });
  }
}

function gc(call: Call): void {
  const valid = call.config.validAttachments();
  if (valid === null) return;
  const attachments = new Set<string>();
  for (const item of valid) {
    attachments.add(`${item.containerId}/${item.ifname}`);
    /* A lease that names no interface belongs to any of the container's. */
    attachments.add(`${item.containerId}/`);
  }
  const isValid = (owner: Owner): boolean => attachments.has(`${owner.containerId}/${owner.ifname}`);
  withLock(call, (store) => {
    store.tidy();
    for (const name of store.recordNames()) {
      const record = store.recordNamed(name);
      if (record !== null && !isValid(record.owner)) store.release(record);
    }
    if (store.complete) return;
    const stale: string[] = [];
    for (const address of store.leaseNames()) {
      const owner = store.leaseOwner(address);
      if (owner !== null && owner !== UNKNOWN_OWNER && !isValid(owner)) stale.push(address);
    }
    releaseUnrecorded(store, stale);
  });
}

function status(call: Call): void {
  const settings = readHostLocal(call.config, "");
  checkWritable(`${settings.dataDir}/${call.config.name}`);
  const store = openStore(settings.dataDir, call.config.name, false);
  if (store === null) return;
  try {
    const known = store.readIndex(false);
    for (const pool of settings.pools) {
      const error = lackOf(store, pool, known);
      if (error === null) continue;
      if (settings.statusFailsWhenExhausted) throw new CniError(NOT_AVAILABLE, error.message, error.details);
      /* The pods that hold the addresses are well, and a node that is not ready would lose them. */
      warn(`host-local: ${error.message}: ADD fails until one is released; ${error.details}\n`);
    }
  } finally {
    store.close();
  }
}

/** The error of an ADD if the set has no address that is free or could be freed, else null. */
function lackOf(store: Store, pool: Pool, known: boolean): CniError | null {
  if (known && hasNext(store, pool.ranges)) return null;
  const found = survey(store, pool.ranges);
  if (found.used < found.total || found.dead.length > 0) return null;
  return exhausted(store, pool.ranges, found, "");
}

/** Whether the address that would be given next is free: then nothing needs to be counted. */
function hasNext(store: Store, ranges: readonly Range[]): boolean {
  const lap = store.lapOf(ranges);
  if (lap === null) return false;
  const family = ranges[0]?.first.family ?? 4;
  const next = lap.cursor ?? (lap.count > 0 ? store.get(lap.slot, lap.head, family) : null);
  return next !== null && lap.holds(next) && !isGateway(ranges, next) && !store.inUse(next);
}

/** @throws CniError 50 if nothing can be written at a path, or made in the nearest directory above it that exists */
function checkWritable(path: string): void {
  for (let at = path; ; at = at.slice(0, at.lastIndexOf("/"))) {
    const directory = at === "" ? "/" : at;
    const result = sys.faccessat(sys.AT_FDCWD, directory, sys.W_OK);
    if (result === -ENOENT && at.includes("/")) continue;
    const isDirectory = ((sys.fstatat(sys.AT_FDCWD, directory, 0)?.mode ?? 0) & sys.S_IFMT) === sys.S_IFDIR;
    if (result >= 0 && isDirectory) {
      if (at !== path) sys.close(openParent(directory, false));
      return;
    }
    const problem = result < 0 ? errnoText(-result) : "is no directory";
    throw new CniError(NOT_AVAILABLE, `leases cannot be written: ${directory}: ${problem}`, `for ${path}`);
  }
}
