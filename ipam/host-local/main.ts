/** host-local, an IPAM plugin: allocates addresses from ranges of this host and keeps the leases as files. */
import { NOTHING_VALID } from "../../lib/attachment/explain.ts";
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
import { shellWord } from "../../lib/text.ts";
import { allocate } from "./allocate.ts";
import { type Attachment, describeOwner, type Owner, ownsLease, UNKNOWN_OWNER } from "./attachment.ts";
import { dataDirOf, type RangeSet, readHostLocal } from "./config.ts";
import { parseResolvConf } from "./resolv-conf.ts";
import { openStore, type Store } from "./store.ts";
import { countUsage, exhausted } from "./usage.ts";

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
    const addresses = allocate(store, settings.sets, ownerOf(call), request.netns);
    const ips: ResultIp[] = [];
    for (const address of addresses) {
      const set = itemAt(settings.sets, ips.length);
      const range = set === null ? null : itemAt(set.ranges, spanIndex(set.ranges, address));
      if (range === null) throw new Error("an address outside of all ranges was allocated");
      ips.push({ interface: null, address: { address, length: range.subnet.length }, gateway: range.gateway });
    }
    return { interfaces: [], ips, routes: settings.routes, dns };
  } finally {
    store.close();
  }
}

/** ADD: the addresses are in the commands of the plugin that delegates. DEL and GC: the lease files that they remove. */
function explain(call: Call): string[] {
  const { command, args } = call.request;
  const path = `${dataDirOf(call.config)}/${call.config.name}`;
  if (command === "ADD") {
    const sets = readHostLocal(call.config, args).sets.map(({ ranges }) => formatSpans(ranges));
    return [`# host-local: a lease of the first free address of ${sets.join(" and of ")}, a file in ${path}`];
  }
  const isValid = command === "GC" ? validOwners(call) : null;
  if (command === "GC" && isValid === null) return [NOTHING_VALID];
  const store = openStore(dataDirOf(call.config), call.config.name, false);
  if (store === null) return [`# host-local: no leases in ${path}`];
  try {
    const lines: string[] = [];
    const visit = ({ owner, addresses }: Attachment): void => {
      for (const address of addresses)
        lines.push(`rm ${shellWord(`${store.path}/${address}`)} # the lease of ${describeOwner(owner)}`);
    };
    if (isValid === null) for (const record of recordsOf(store, ownerOf(call))) visit(record);
    else forEachStale(store, isValid, visit);
    return lines.length === 0 ? [`# host-local: no lease in ${path} is to be released`] : lines;
  } finally {
    store.close();
  }
}

/** Whether one of the range sets holds the address. */
function isConfigured(sets: readonly RangeSet[], address: Address): boolean {
  for (const set of sets) if (spanIndex(set.ranges, address) >= 0) return true;
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

/** Every address in the attachment's record, and every one of the range sets in the previous result, must be leased to it. */
function check(call: Call): void {
  const settings = readHostLocal(call.config, "");
  const owner = ownerOf(call);
  const store = openStore(settings.dataDir, call.config.name, false);
  if (store === null) throw notFound(owner, `there is no directory ${settings.dataDir}/${call.config.name}`);
  try {
    const addresses = store.records.read(owner)?.addresses ?? leasesOf(store, owner);
    const expected = [...addresses];
    for (const ip of call.config.prevResult()?.ips ?? []) {
      const address = formatAddress(ip.address.address);
      if (isConfigured(settings.sets, ip.address.address) && !expected.includes(address)) expected.push(address);
    }
    for (const address of expected) {
      const leaseOwner = store.leases.owner(address);
      if (leaseOwner !== null && ownsLease(owner, leaseOwner)) continue;
      const found = leaseOwner === null ? "no lease" : `a lease of ${describeOwner(leaseOwner)}`;
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

/**
 * The addresses of an attachment's leases, found by reading all lease files. Those that name only the container count if
 * there are no others.
 */
function leasesOf(store: Store, owner: Owner): string[] {
  const exact: string[] = [];
  const withoutInterface: string[] = [];
  for (const address of store.leases.names()) {
    const leaseOwner = store.leases.owner(address);
    if (leaseOwner === null || !ownsLease(owner, leaseOwner)) continue;
    if (leaseOwner.ifname === owner.ifname) exact.push(address);
    else withoutInterface.push(address);
  }
  return exact.length > 0 ? exact : withoutInterface;
}

/** Runs an action as a transaction on the network's leases; does nothing if there are none. */
function inTransaction(call: Call, action: (store: Store) => void): void {
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
  inTransaction(call, (store) => {
    const records = recordsOf(store, ownerOf(call));
    if (records.length === 0) store.records.removeTemporary();
    for (const record of records) store.release(record);
  });
}

/** What DEL releases. */
function recordsOf(store: Store, owner: Owner): Attachment[] {
  const record = store.records.read(owner) ?? store.records.read({ containerId: owner.containerId, ifname: "" });
  if (record !== null) return [record];
  return store.complete ? [] : unrecorded(store, leasesOf(store, owner));
}

/** Leases that may have no record, as records. Each lease file names the owner. */
function unrecorded(store: Store, addresses: readonly string[]): Attachment[] {
  const records: Attachment[] = [];
  for (const address of addresses) {
    const owner = store.leases.owner(address);
    if (owner !== null) records.push({ owner, netns: NO_NAMESPACE, boot: "", timeMs: 0, addresses: [address] });
  }
  return records;
}

function gc(call: Call): void {
  const isValid = validOwners(call);
  if (isValid === null) return;
  inTransaction(call, (store) => {
    store.records.removeTemporary();
    forEachStale(store, isValid, (record) => store.release(record));
  });
}

/** Whether an owner is one of the attachments that live on; null if the runtime does not say which do. */
function validOwners(call: Call): ((owner: Owner) => boolean) | null {
  const valid = call.config.validAttachments();
  if (valid === null) return null;
  const attachments = new Set<string>();
  for (const item of valid) {
    attachments.add(`${item.containerId}/${item.ifname}`);
    /* A lease that names no interface may be that of any interface of the container. */
    attachments.add(`${item.containerId}/`);
  }
  return (owner) => attachments.has(`${owner.containerId}/${owner.ifname}`);
}

/** What GC releases, one after the other: there may be tens of thousands. */
function forEachStale(store: Store, isValid: (owner: Owner) => boolean, visit: (stale: Attachment) => void): void {
  const visited = new Set<string>();
  for (const name of store.records.names()) {
    const record = store.records.readNamed(name);
    if (record === null || isValid(record.owner)) continue;
    visit(record);
    if (!store.complete) for (const address of record.addresses) visited.add(address);
  }
  if (store.complete) return;
  const stale: string[] = [];
  for (const address of store.leases.names()) {
    const owner = store.leases.owner(address);
    const isStale = owner !== null && owner !== UNKNOWN_OWNER && !isValid(owner);
    if (isStale && !visited.has(address)) stale.push(address);
  }
  for (const record of unrecorded(store, stale)) visit(record);
}

function status(call: Call): void {
  const settings = readHostLocal(call.config, "");
  checkWritable(`${settings.dataDir}/${call.config.name}`);
  const store = openStore(settings.dataDir, call.config.name, false);
  if (store === null) return;
  try {
    const indexValid = store.readOrder(false);
    for (const set of settings.sets) {
      const error = exhaustionOf(store, set, indexValid);
      if (error === null) continue;
      if (settings.statusFailsWhenExhausted) throw new CniError(NOT_AVAILABLE, error.message, error.details);
      /* A node whose STATUS fails becomes not ready and loses its pods, though the pods that hold the addresses work. */
      warn(`host-local: ${error.message}: ADD fails until one is released; ${error.details}\n`);
    }
  } finally {
    store.close();
  }
}

/** The error that ADD would report if the set has no address that is free or reclaimable; else null. */
function exhaustionOf(store: Store, set: RangeSet, indexValid: boolean): CniError | null {
  if (indexValid && isNextFree(store, set.ranges)) return null;
  const usage = countUsage(store, set.ranges);
  if (usage.used < usage.total || usage.reclaimable.length > 0) return null;
  return exhausted(store, set.ranges, usage, "");
}

/** Whether the next address in order is free. Then the leases need not be counted. */
function isNextFree(store: Store, ranges: readonly Range[]): boolean {
  const ring = store.order.find(ranges);
  const next = ring === null ? null : ring.peek(store.order);
  return next !== null && !isGateway(ranges, next) && !store.leases.has(next);
}

/** @throws CniError 50 if the directory, or the nearest existing one above it, cannot be written */
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
