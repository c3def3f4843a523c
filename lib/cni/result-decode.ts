/** Decodes a Result: the prevResult of a chain, or the output of a delegate. */

import { CniError, INCOMPATIBLE_VERSION, INVALID_CONFIG } from "../errors.ts";
import {
  type Address,
  type Family,
  formatAddress,
  formatPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../ip/address.ts";
import { clip } from "../text.ts";
import { Fields, invalidField } from "./fields.ts";
import type { Json } from "./json.ts";
import { type Dns, EMPTY_DNS, type Result, type ResultInterface, type ResultIp, type ResultRoute } from "./result.ts";
import { ALL_VERSIONS, compareVersions, type ResultGroup, resultGroup } from "./version.ts";

/**
 * Decodes a previous result, which the runtime sends in the configuration's version.
 * @param path its path in the configuration, for errors: "prevResult"
 * @param configVersion the configuration's version; also that of a result without `cniVersion`
 * @throws CniError 1 if its version is of another group than the configuration's, 7 if a field is invalid
 */
export function decodeResult(json: Json, path: string, configVersion: string): Result {
  const fields = objectAt(json, path);
  const version = versionOf(fields, configVersion);
  const group = resultGroup(configVersion);
  if (!ALL_VERSIONS.includes(version) || resultGroup(version) !== group) throw wrongVersion(path, version, group);
  return decodeGroup(fields, group);
}

/**
 * Decodes the output of another plugin, in the version that its `cniVersion` says, or in the configuration's without one.
 * @throws CniError 1 if there is no such version, 7 if a field is invalid
 */
export function decodeForeignResult(json: Json, path: string, configVersion: string): Result {
  const fields = objectAt(json, path);
  const version = versionOf(fields, configVersion);
  if (ALL_VERSIONS.includes(version)) return decodeGroup(fields, resultGroup(version));
  throw new CniError(
    INCOMPATIBLE_VERSION,
    `unsupported CNI result version "${clip(version)}"`,
    `${path}.cniVersion must be one of ${ALL_VERSIONS.join(" ")}`,
  );
}

function objectAt(json: Json, path: string): Fields {
  if (json.kind !== "object") throw invalidField(path, "expected an object");
  return new Fields(json, path);
}

function versionOf(fields: Fields, fallback: string): string {
  const version = fields.string("cniVersion", "");
  return version === "" ? fallback : version;
}

function decodeGroup(fields: Fields, group: ResultGroup): Result {
  if (group === "0.1") return decodeOldest(fields);
  const interfaces: ResultInterface[] = [];
  for (const item of fields.objects("interfaces")) interfaces.push(decodeInterface(item));
  const ips: ResultIp[] = [];
  for (const item of fields.objects("ips")) ips.push(decodeIp(item));
  return {
    interfaces,
    ips,
    routes: decodeRoutes(fields),
    dns: decodeDns(fields.object("dns")),
  };
}

/** Decodes the `dns` object; EMPTY_DNS if it is absent. @throws CniError 7 */
export function decodeDns(fields: Fields | null): Dns {
  if (fields === null) return EMPTY_DNS;
  return {
    nameservers: fields.strings("nameservers"),
    domain: fields.string("domain", ""),
    search: fields.strings("search"),
    options: fields.strings("options"),
  };
}

/** Decodes the `routes` of an object. @throws CniError 7 */
export function decodeRoutes(fields: Fields): ResultRoute[] {
  const routes: ResultRoute[] = [];
  for (const item of fields.objects("routes")) routes.push(decodeRoute(item));
  return routes;
}

/**
 * Checks that destination and gateway of each route are of one IP version (specification 0.3.0, "Routes"). Needed before
 * routes are added: the kernel would use the first bytes of the other version's address. Not needed to pass a result on.
 * @throws CniError 7
 */
export function checkRouteFamilies(routes: readonly ResultRoute[]): void {
  for (const { dst, gw } of routes) {
    if (gw === null || gw.family === dst.address.family) continue;
    throw new CniError(
      INVALID_CONFIG,
      `route to ${formatPrefix(dst)} has a gateway of the other IP version: ${formatAddress(gw)}`,
      `expected an IPv${dst.address.family} address`,
    );
  }
}

/** Decodes one element of `routes`, of a configuration or a result. */
function decodeRoute(fields: Fields): ResultRoute {
  return {
    dst: prefixField(fields, "dst"),
    gw: addressField(fields, "gw"),
    mtu: fields.integer("mtu", 0, 0x7fffffff) ?? 0,
    advmss: fields.integer("advmss", 0, 0x7fffffff) ?? 0,
    priority: fields.integer("priority", 0, 0xffffffff) ?? 0,
    table: fields.integer("table", 0, 0xffffffff),
    scope: fields.integer("scope", 0, 255),
  };
}

/** A member that is an address; null if it is absent or empty. @throws CniError 7 */
export function addressField(fields: Fields, key: string): Address | null {
  const text = fields.string(key, "");
  if (text === "") return null;
  const address = parseAddress(text);
  if (address === null) throw fields.invalid(key, `"${text}" is not an IP address`);
  return address;
}

/** A required member "address/length". @throws CniError 7 */
export function prefixField(fields: Fields, key: string): Prefix {
  const text = fields.string(key, "");
  const prefix = parsePrefix(text);
  if (prefix === null)
    throw fields.invalid(key, `"${text}" is not an address with a prefix length, as in "10.1.0.0/16"`);
  return prefix;
}

function decodeInterface(fields: Fields): ResultInterface {
  return {
    name: fields.string("name", ""),
    mac: fields.string("mac", ""),
    mtu: fields.integer("mtu", 0, 0x7fffffff) ?? 0,
    sandbox: fields.string("sandbox", ""),
    socketPath: fields.string("socketPath", ""),
    pciID: fields.string("pciID", ""),
  };
}

function decodeIp(fields: Fields): ResultIp {
  return {
    interface: fields.integer("interface", -0x80000000, 0x7fffffff),
    address: prefixField(fields, "address"),
    gateway: addressField(fields, "gateway"),
  };
}

function decodeOldest(fields: Fields): Result {
  const ips: ResultIp[] = [];
  const routes: ResultRoute[] = [];
  for (const family of [4, 6] as Family[]) {
    const entry = fields.object(`ip${family}`);
    if (entry === null) continue;
    ips.push({ interface: null, address: prefixField(entry, "ip"), gateway: addressField(entry, "gateway") });
    routes.push(...decodeRoutes(entry));
  }
  return { interfaces: [], ips, routes, dns: decodeDns(fields.object("dns")) };
}

function wrongVersion(path: string, version: string, group: ResultGroup): CniError {
  const accepted = ALL_VERSIONS.filter((candidate) => resultGroup(candidate) === group).join(" ");
  return new CniError(
    INCOMPATIBLE_VERSION,
    `result type supports [${accepted}] but unmarshalled CNIVersion is "${version}"`,
    `${path}.cniVersion must be of the same group as the configuration's cniVersion`,
  );
}

/**
 * A result before CNI 0.3.0 has room for one address of each family.
 * @param what what gives the addresses, in the plural, and `instead`, what would give one: for the error
 * @throws CniError 7
 */
export function checkFamilyCount(version: string, count: number, what: string, instead: string): void {
  if (count < 2 || compareVersions(version, "0.3.0") >= 0) return;
  throw new CniError(
    INVALID_CONFIG,
    `CNI version ${version} does not support more than 1 address per family`,
    `there are several ${what}: use cniVersion 0.3.0 or later, or ${instead}`,
  );
}
