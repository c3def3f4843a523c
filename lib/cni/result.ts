/**
 * The Result of ADD (specification section "Success"): one model for all versions, encoded in the format of the
 * configuration's version.
 */

import { CniError, INCOMPATIBLE_VERSION } from "../errors.ts";
import { type Address, formatAddress, formatPrefix, type Prefix } from "../ip/address.ts";
import { type Json, jsonArray, jsonNumber, jsonObject, jsonString, jsonStrings } from "./json.ts";
import { resultGroup } from "./version.ts";

/** Empty strings and a zero `mtu` are absent. An empty `sandbox` means the host. */
export interface ResultInterface {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly sandbox: string;
  readonly socketPath: string;
  readonly pciID: string;
}

export interface ResultIp {
  /** Index into `interfaces`; null if the result has none. */
  readonly interface: number | null;
  readonly address: Prefix;
  readonly gateway: Address | null;
}

/** `mtu`, `advmss` and `priority` are absent if 0; `table` and `scope` are absent if null, since 0 is a valid value. */
export interface ResultRoute {
  readonly dst: Prefix;
  readonly gw: Address | null;
  readonly mtu: number;
  readonly advmss: number;
  readonly priority: number;
  readonly table: number | null;
  readonly scope: number | null;
}

export interface Dns {
  readonly nameservers: readonly string[];
  readonly domain: string;
  readonly search: readonly string[];
  readonly options: readonly string[];
}

export interface Result {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}

export const EMPTY_DNS: Dns = { nameservers: [], domain: "", search: [], options: [] };
export const EMPTY_RESULT: Result = { interfaces: [], ips: [], routes: [], dns: EMPTY_DNS };

/** An interface with only name, MAC, MTU and namespace. */
export function resultInterface(name: string, mac: string, mtu: number, sandbox: string): ResultInterface {
  return { name, mac, mtu, sandbox, socketPath: "", pciID: "" };
}

/** A route without attributes. */
export function resultRoute(dst: Prefix, gw: Address | null): ResultRoute {
  return { dst, gw, mtu: 0, advmss: 0, priority: 0, table: null, scope: null };
}

/**
 * Encodes a result in the format of a version.
 * @param version one of ALL_VERSIONS
 * @throws CniError 1 if the format has no room for it: 0.1.0 and 0.2.0 need an address
 */
export function encodeResult(result: Result, version: string): Json {
  const object = jsonObject().with("cniVersion", jsonString(version));
  const group = resultGroup(version);
  if (result.ips.length === 0) checkAddressless(version);
  if (group === "0.1") return encodeOldest(object, result);
  const attributes = version === "1.1.0";
  if (result.interfaces.length > 0) {
    const interfaces: Json[] = [];
    for (const item of result.interfaces) interfaces.push(encodeInterface(item, attributes));
    object.with("interfaces", jsonArray(interfaces));
  }
  if (result.ips.length > 0) {
    const ips: Json[] = [];
    for (const ip of result.ips) ips.push(encodeIp(ip, group === "0.3"));
    object.with("ips", jsonArray(ips));
  }
  if (result.routes.length > 0) {
    object.with("routes", encodeRoutes(result.routes, attributes));
  }
  return isEmptyDns(result.dns) && group === "1.0" ? object : object.with("dns", encodeDns(result.dns));
}

/**
 * Refuses a result without an address if the version's format has only addresses. Call it before any change is made.
 * @throws CniError 1 for 0.1.0 and 0.2.0
 */
export function checkAddressless(version: string): void {
  if (resultGroup(version) !== "0.1") return;
  throw new CniError(
    INCOMPATIBLE_VERSION,
    "cannot convert: no valid IP addresses",
    "results of CNI 0.1.0 and 0.2.0 cannot be without an address; use cniVersion 0.3.0 or later",
  );
}

function isEmptyDns(dns: Dns): boolean {
  return dns.nameservers.length === 0 && dns.domain === "" && dns.search.length === 0 && dns.options.length === 0;
}

function encodeInterface(item: ResultInterface, attributes: boolean): Json {
  const object = jsonObject().with("name", jsonString(item.name));
  if (item.mac !== "") object.with("mac", jsonString(item.mac));
  if (attributes && item.mtu > 0) object.with("mtu", jsonNumber(item.mtu));
  if (item.sandbox !== "") object.with("sandbox", jsonString(item.sandbox));
  if (attributes && item.socketPath !== "") object.with("socketPath", jsonString(item.socketPath));
  if (attributes && item.pciID !== "") object.with("pciID", jsonString(item.pciID));
  return object;
}

function encodeIp(ip: ResultIp, withVersion: boolean): Json {
  const object = jsonObject();
  if (withVersion) object.with("version", jsonString(`${ip.address.address.family}`));
  if (ip.interface !== null) object.with("interface", jsonNumber(ip.interface));
  object.with("address", jsonString(formatPrefix(ip.address)));
  return ip.gateway === null ? object : object.with("gateway", jsonString(formatAddress(ip.gateway)));
}

function encodeRoutes(routes: readonly ResultRoute[], attributes: boolean): Json {
  const items: Json[] = [];
  for (const route of routes) items.push(encodeRoute(route, attributes));
  return jsonArray(items);
}

function encodeRoute(route: ResultRoute, attributes: boolean): Json {
  const object = jsonObject().with("dst", jsonString(formatPrefix(route.dst)));
  if (route.gw !== null) object.with("gw", jsonString(formatAddress(route.gw)));
  if (!attributes) return object;
  if (route.mtu !== 0) object.with("mtu", jsonNumber(route.mtu));
  if (route.advmss !== 0) object.with("advmss", jsonNumber(route.advmss));
  if (route.priority !== 0) object.with("priority", jsonNumber(route.priority));
  if (route.table !== null) object.with("table", jsonNumber(route.table));
  if (route.scope !== null) object.with("scope", jsonNumber(route.scope));
  return object;
}

function encodeDns(dns: Dns): Json {
  const object = jsonObject();
  if (dns.nameservers.length > 0) object.with("nameservers", jsonStrings(dns.nameservers));
  if (dns.domain !== "") object.with("domain", jsonString(dns.domain));
  if (dns.search.length > 0) object.with("search", jsonStrings(dns.search));
  if (dns.options.length > 0) object.with("options", jsonStrings(dns.options));
  return object;
}

/** 0.1.0 and 0.2.0: the first address of each family with the routes of that family. */
function encodeOldest(object: Json, result: Result): Json {
  for (const family of [4, 6]) {
    const ip = result.ips.find((candidate) => candidate.address.address.family === family) ?? null;
    if (ip === null) continue;
    const entry = jsonObject().with("ip", jsonString(formatPrefix(ip.address)));
    if (ip.gateway !== null) entry.with("gateway", jsonString(formatAddress(ip.gateway)));
    const routes = result.routes.filter((route) => route.dst.address.family === family);
    if (routes.length > 0) entry.with("routes", encodeRoutes(routes, false));
    object.with(`ip${family}`, entry);
  }
  return object.with("dns", encodeDns(result.dns));
}
