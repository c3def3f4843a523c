/**
 * The `ipam` part of a network configuration: the range sets, and the addresses that the caller requests from them.
 * Everything is checked before anything changes. Pure.
 */

import { readArgs } from "../../lib/cni/args.ts";
import type { NetworkConfig } from "../../lib/cni/config.ts";
import { arrayOf, Fields, invalidField } from "../../lib/cni/fields.ts";
import type { ResultRoute } from "../../lib/cni/result.ts";
import {
  addressField,
  checkFamilyCount,
  checkRouteFamilies,
  decodeRoutes,
  prefixField,
} from "../../lib/cni/result-decode.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";
import {
  type Address,
  bits,
  compareAddresses,
  contains,
  type Family,
  formatAddress,
  formatPrefix,
  lastOf,
  networkOf,
  parseAddress,
  parsePrefix,
  sameAddress,
  step,
} from "../../lib/ip/address.ts";
import { formatSpans, isGateway, type Range, spanIndex, spansMeet } from "../../lib/ip/range.ts";
import { itemAt } from "../../lib/lists.ts";
import { clip } from "../../lib/text.ts";

const DEFAULT_DATA_DIR = "/var/lib/cni/networks";

/** Ranges of one address family. ADD allocates one address from each set. */
export interface RangeSet {
  readonly ranges: readonly Range[];
  /** The address that the caller requests from the set; null for any. */
  readonly requested: Address | null;
}

export interface HostLocalConfig {
  /** The directory that holds one directory for each network. */
  readonly dataDir: string;
  /** At least one. Their order is the order of the addresses in the result. */
  readonly sets: readonly RangeSet[];
  readonly routes: readonly ResultRoute[];
  /** The path of a resolv.conf for the result's DNS; "" for none. */
  readonly resolvConf: string;
  /** Whether STATUS fails while a set has no free address. */
  readonly statusFailsWhenExhausted: boolean;
}

/**
 * Reads the configuration.
 * @param args CNI_ARGS
 * @throws CniError 7 for an invalid field, 4 for invalid CNI_ARGS
 */
export function readHostLocal(config: NetworkConfig, args: string): HostLocalConfig {
  const ipam = config.ipam();
  checkDataDir(ipam);
  const sets = readRangeSets(config, ipam);
  for (const family of [4, 6] as Family[]) {
    const count = sets.filter((set) => set[0]?.first.family === family).length;
    checkFamilyCount(config.cniVersion, count, `range sets of IPv${family}`, "ranges of one set");
  }
  const routes = decodeRoutes(ipam);
  checkRouteFamilies(routes);
  return {
    dataDir: dataDirOf(config),
    sets: assignRequests(sets, readRequests(config, args)),
    routes,
    resolvConf: ipam.string("resolvConf", ""),
    statusFailsWhenExhausted: ipam.boolean("statusFailsWhenExhausted", false),
  };
}

/** Each range is compared with all others, so their number is limited. */
const MAX_RANGES = 1000;

/** The data directory. DEL and GC need no more, so an error elsewhere in the configuration does not stop them. */
export function dataDirOf(config: NetworkConfig): string {
  const ipam = config.fields.find("ipam");
  const value = ipam === null ? null : new Fields(ipam, "ipam").find("dataDir");
  return value === null || value.kind !== "string" || value.text === "" ? DEFAULT_DATA_DIR : value.text;
}

/** A relative path would depend on the working directory of the runtime. @throws CniError 7 */
function checkDataDir(ipam: Fields): void {
  const path = ipam.string("dataDir", "");
  if (path === "" || path.startsWith("/")) return;
  throw ipam.invalid("dataDir", `expected an absolute path, found "${clip(path)}"`);
}

/** The sets in their order: those of the runtime (`ipRanges`), the one directly under `ipam`, those of `ranges`. */
function readRangeSets(config: NetworkConfig, ipam: Fields): Range[][] {
  const written: Fields[][] = setsUnder(config.runtimeConfig(), "ipRanges");
  if (ipam.has("subnet")) written.push([ipam]);
  for (const set of setsUnder(ipam, "ranges")) written.push(set);
  if (written.length === 0) {
    throw new CniError(
      INVALID_CONFIG,
      "no IP ranges specified",
      'give "ipam.ranges", "ipam.subnet" or the capability argument "ipRanges"',
    );
  }
  let count = 0;
  for (const fields of written) count += fields.length;
  if (count > MAX_RANGES) throw ipam.invalid("ranges", `there are ${count} ranges, at most ${MAX_RANGES} are allowed`);
  const sets: Range[][] = [];
  for (const fields of written) {
    const set = readRangeSet(fields, sets.length);
    let i = 0;
    for (const other of sets) {
      if (meet(other, set)) {
        throw new CniError(
          INVALID_CONFIG,
          `range set ${i} overlaps with ${sets.length}`,
          `set ${i} (${pathOfSet(written, i)}): ${textOf(other)}; set ${sets.length} (${pathOfSet(written, sets.length)}): ${textOf(set)}`,
        );
      }
      i += 1;
    }
    sets.push(set);
  }
  return sets;
}

/** The path of a set's first range in the configuration. */
function pathOfSet(written: readonly (readonly Fields[])[], index: number): string {
  const set = itemAt(written, index);
  const first = set === null ? null : itemAt(set, 0);
  return first === null ? "" : first.path;
}

/** The ranges under a key whose value is an array of arrays of objects. */
function setsUnder(fields: Fields, key: string): Fields[][] {
  const sets: Fields[][] = [];
  for (const set of fields.array(key)) {
    const path = `${fields.pathOf(key)}[${sets.length}]`;
    const ranges: Fields[] = [];
    for (const item of arrayOf(set, path)) {
      const place = `${path}[${ranges.length}]`;
      if (item.kind !== "object") throw invalidField(place, "expected an object");
      ranges.push(new Fields(item, place));
    }
    sets.push(ranges);
  }
  return sets;
}

function readRangeSet(written: readonly Fields[], number: number): Range[] {
  if (written.length === 0) throw invalidSet(number, "empty range set", `"ranges" holds an empty array`);
  const ranges: Range[] = [];
  for (const fields of written) {
    const range = readRange(fields, number);
    const first = itemAt(ranges, 0) ?? range;
    if (first.first.family !== range.first.family) {
      throw invalidSet(
        number,
        "mixed address families",
        `${fields.path}.subnet: each address family needs its own set`,
      );
    }
    for (const other of ranges) {
      if (!rangesMeet(other, range)) continue;
      throw invalidSet(number, `subnets ${textOf([other])} and ${textOf([range])} overlap`, fields.path);
    }
    ranges.push(range);
  }
  return ranges;
}

/**
 * One range with its defaults: all of the subnet except the network address and, for IPv4, the broadcast address. A subnet of
 * two has neither (RFC 3021, RFC 6164), and a single address no gateway beside it.
 */
function readRange(fields: Fields, number: number): Range {
  if (!fields.has("subnet")) throw invalidSet(number, "subnet is missing", fields.pathOf("subnet"));
  const subnet = prefixField(fields, "subnet");
  const family = subnet.address.family;
  const network = networkOf(subnet);
  if (!sameAddress(network, subnet.address)) {
    const problem = `Network has host bits set. For a subnet mask of length ${subnet.length} the network address is ${formatAddress(network)}`;
    throw invalidSet(number, problem, fields.pathOf("subnet"));
  }
  const start = addressField(fields, "rangeStart");
  const end = addressField(fields, "rangeEnd");
  const outside = (key: string, name: string, address: Address): CniError =>
    invalidSet(
      number,
      `${name} ${formatAddress(address)} not in network ${formatPrefix(subnet)}`,
      `${fields.pathOf(key)}: the range is ${start === null ? "" : formatAddress(start)}-${end === null ? "" : formatAddress(end)}`,
    );
  if (end !== null && !contains(subnet, end)) throw outside("rangeEnd", "RangeEnd", end);
  if (start !== null && (!contains(subnet, start) || (end !== null && compareAddresses(start, end) > 0))) {
    throw outside("rangeStart", "RangeStart", start);
  }
  const isSmall = subnet.length >= bits(family) - 1;
  const lowest = isSmall ? network : step(network, 1);
  const broadcast = lastOf(subnet);
  const highest = family === 4 && !isSmall ? step(broadcast, -1) : broadcast;
  const first = start === null || sameAddress(start, network) ? lowest : start;
  const last = end === null || compareAddresses(end, highest) > 0 ? highest : end;
  if (compareAddresses(first, last) > 0) {
    const problem = `no usable address in network ${formatPrefix(subnet)} within the range`;
    throw invalidSet(
      number,
      problem,
      `${fields.path}: the network address and the broadcast address are never allocated`,
    );
  }
  const second = subnet.length === bits(family) ? null : step(network, 1);
  return { subnet, first, last, gateway: addressField(fields, "gateway") ?? second };
}

function meet(a: readonly Range[], b: readonly Range[]): boolean {
  for (const range of a) {
    for (const other of b) if (rangesMeet(range, other)) return true;
  }
  return false;
}

function invalidSet(number: number, problem: string, details: string): CniError {
  return new CniError(INVALID_CONFIG, `invalid range set ${number}: ${problem}`, details);
}

interface Request {
  readonly address: Address;
  readonly path: string;
}

/** The requested addresses of all three sources, without duplicates. A prefix length must be valid and is ignored. */
function readRequests(config: NetworkConfig, args: string): Request[] {
  const requests: Request[] = [];
  const add = (text: string, path: string): void => {
    const address = text.includes("/") ? (parsePrefix(text)?.address ?? null) : parseAddress(text);
    if (address === null)
      throw invalidField(path, `"${clip(text)}" is not an IP address, nor one with a prefix length`);
    for (const other of requests) if (sameAddress(other.address, address)) return;
    requests.push({ address, path });
  };
  /* The interface plugin reads the same variable, where MAC is its key. */
  const ip = readArgs(args, ["IP", "MAC"]).get("IP") ?? "";
  if (ip !== "") add(ip, "IP in CNI_ARGS");
  for (const fields of [config.cniArgs(), config.runtimeConfig()]) {
    let i = 0;
    for (const text of fields.strings("ips")) {
      add(text, `${fields.pathOf("ips")}[${i}]`);
      i += 1;
    }
  }
  return requests;
}

/**
 * Finds the set of each requested address. Sets do not overlap, so at most one holds it. A set allocates one address, so a
 * second request for the same set is an error, like one that no set holds.
 */
function assignRequests(sets: readonly Range[][], requests: readonly Request[]): RangeSet[] {
  const left: Request[] = [];
  const chosen: (Address | null)[] = sets.map(() => null);
  for (const item of requests) {
    const index = indexOfSet(sets, item.address);
    if (index < 0 || chosen[index] !== null) left.push(item);
    else chosen[index] = item.address;
  }
  if (left.length > 0) throw unassigned(sets, left);
  const assigned: RangeSet[] = [];
  for (const ranges of sets) {
    const i = assigned.length;
    const address = chosen[i] ?? null;
    if (address !== null && isGateway(ranges, address)) {
      throw new CniError(
        INVALID_CONFIG,
        `failed to allocate for range ${i}: requested ip ${formatAddress(address)} is subnet's gateway`,
        "nothing was allocated",
      );
    }
    assigned.push({ ranges, requested: address });
  }
  return assigned;
}

/* Functions for loops over ranges: a Range has more members than a Span, and its elements must not be boxed (lib/lists.ts). */

function rangesMeet(a: Range, b: Range): boolean {
  return spansMeet(a, b);
}

function textOf(set: readonly Range[]): string {
  return formatSpans(set);
}

function setHolds(set: readonly Range[], address: Address): boolean {
  return spanIndex(set, address) >= 0;
}

/** The index of the set that holds the address; -1 if none does. */
function indexOfSet(sets: readonly Range[][], address: Address): number {
  let index = 0;
  for (const set of sets) {
    if (setHolds(set, address)) return index;
    index += 1;
  }
  return -1;
}

function unassigned(sets: readonly Range[][], left: readonly Request[]): CniError {
  const addresses: string[] = [];
  const places: string[] = [];
  for (const { address, path } of left) {
    addresses.push(formatAddress(address));
    places.push(path);
  }
  const spans: string[] = [];
  for (const set of sets) spans.push(textOf(set));
  return new CniError(
    INVALID_CONFIG,
    `failed to allocate all requested IPs: ${addresses.join(" ")}`,
    `requested by ${places.join(", ")}; nothing was allocated. Each range set gives one address: ${spans.join(" and ")}`,
  );
}
