/**
 * What the results of each version may hold, and must: a description of every object's members, and the one function that
 * compares a document with it. Nothing that is not described may be there.
 */
import { isIPv4, isIPv6 } from "node:net";

type Check = (value: unknown) => boolean;

/** An object's members: by name whether it has to be there, and of what kind it is. */
interface Members {
  readonly [name: string]: { readonly required: boolean; readonly is: Kind };
}

type Kind = Check | { readonly listOf: Kind } | { readonly object: Members };

const text: Check = (value) => typeof value === "string" && value !== "";
const whole: Check = (value) => Number.isInteger(value) && Number(value) >= 0;
const address: Check = (value) => text(value) && (isIPv4(String(value)) || isIPv6(String(value)));
const mac: Check = (value) => /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(String(value));

/** An address, or a network, with its prefix length. */
const cidr =
  (family: 4 | 6 | null): Check =>
  (value) => {
    const [ip = "", length = "", ...rest] = String(value).split("/");
    if (rest.length > 0 || !/^\d{1,3}$/.test(length)) return false;
    if (isIPv4(ip)) return family !== 6 && Number(length) <= 32;
    return isIPv6(ip) && family !== 4 && Number(length) <= 128;
  };

const ofFamily =
  (family: 4 | 6): Check =>
  (value) =>
    address(value) && isIPv4(String(value)) === (family === 4);

const required = (is: Kind) => ({ required: true, is });
const optional = (is: Kind) => ({ required: false, is });

const DNS: Kind = {
  object: {
    nameservers: optional({ listOf: address }),
    domain: optional(text),
    search: optional({ listOf: text }),
    options: optional({ listOf: text }),
  },
};

const oldFamily = (family: 4 | 6): Kind => ({
  object: {
    ip: required(cidr(family)),
    gateway: optional(ofFamily(family)),
    routes: optional({ listOf: { object: { dst: required(cidr(family)), gw: optional(ofFamily(family)) } } }),
  },
});

const OLDEST: Members = {
  ip4: optional(oldFamily(4)),
  ip6: optional(oldFamily(6)),
  dns: required(DNS),
};

const INTERFACE: Members = { name: required(text), mac: optional(mac), sandbox: optional(text) };
const IP: Members = { address: required(cidr(null)), gateway: optional(address), interface: optional(whole) };
const ROUTE: Members = { dst: required(cidr(null)), gw: optional(address) };

/** From 0.3.0 on: the members of the lists' entries, and whether `dns` has to be there. */
const lists = (item: Members, ip: Members, route: Members, dns: boolean): Members => ({
  interfaces: optional({ listOf: { object: item } }),
  ips: optional({ listOf: { object: ip } }),
  routes: optional({ listOf: { object: route } }),
  dns: { required: dns, is: DNS },
});

const NUMBERED: Members = { version: required((value) => value === "4" || value === "6"), ...IP };
const MIDDLE = lists(INTERFACE, NUMBERED, ROUTE, true);
const NEWEST = lists(
  { ...INTERFACE, mtu: optional(whole), socketPath: optional(text), pciID: optional(text) },
  IP,
  {
    ...ROUTE,
    mtu: optional(whole),
    advmss: optional(whole),
    priority: optional(whole),
    table: optional(whole),
    scope: optional(whole),
  },
  false,
);

const SHAPES: Readonly<Record<string, Members>> = {
  "0.1.0": OLDEST,
  "0.2.0": OLDEST,
  "0.3.0": MIDDLE,
  "0.3.1": MIDDLE,
  "0.4.0": MIDDLE,
  "1.0.0": lists(INTERFACE, IP, ROUTE, false),
  "1.1.0": NEWEST,
};

/**
 * What is wrong with a result.
 * @param result the document that an ADD printed
 * @param version the configuration's, whose shape it must have
 * @param netns CNI_NETNS: the sandbox of interfaces in the container
 * @returns a line for each thing, beginning with where it is; empty if all is as the specification has it
 */
export function shapeProblems(result: unknown, version: string, netns: string): string[] {
  const shape = SHAPES[version];
  if (shape === undefined) return [`no shape of version ${version} is known`];
  const members: Members = { cniVersion: required((value) => value === version), ...shape };
  const problems = compare(result, { object: members }, "result");
  return problems.length > 0 ? problems : relationProblems(result as Related, netns);
}

/** What is wrong with the result of an IPAM plugin: it knows of no interfaces. */
export function ipamShapeProblems(result: unknown, version: string): string[] {
  const problems = shapeProblems(result, version, "");
  const { interfaces, ips } = result as Related;
  if (interfaces !== undefined) problems.push("result.interfaces: not IPAM's matter");
  if (ips?.some((ip) => ip.interface !== undefined)) problems.push("result.ips: an interface, not IPAM's matter");
  return problems;
}

function compare(value: unknown, kind: Kind, where: string): string[] {
  if (typeof kind === "function") return kind(value) ? [] : [`${where}: ${JSON.stringify(value)}`];
  if ("listOf" in kind) {
    if (!Array.isArray(value)) return [`${where}: no list`];
    return value.flatMap((item: unknown, index) => compare(item, kind.listOf, `${where}[${index}]`));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [`${where}: no object`];
  const found = value as Record<string, unknown>;
  const problems: string[] = [];
  for (const name of Object.keys(found)) {
    const member = kind.object[name];
    if (member === undefined) problems.push(`${where}.${name}: not in this version`);
    else problems.push(...compare(found[name], member.is, `${where}.${name}`));
  }
  for (const [name, member] of Object.entries(kind.object)) {
    if (member.required && !(name in found)) problems.push(`${where}.${name}: missing`);
  }
  return problems;
}

interface Related {
  readonly interfaces?: readonly { readonly name: string; readonly sandbox?: string }[];
  readonly ips?: readonly { version?: string; address: string; gateway?: string; interface?: number }[];
  readonly routes?: readonly { dst: string; gw?: string }[];
}

const familyOf = (item: string): string => (item.includes(":") ? "6" : "4");

/** What members must be to each other: indexes that exist, one IP version in an entry, one sandbox. */
function relationProblems(result: Related, netns: string): string[] {
  const problems: string[] = [];
  const { interfaces = [], ips = [], routes = [] } = result;
  for (const item of interfaces) {
    if (item.sandbox !== undefined && item.sandbox !== netns) problems.push(`${item.name}: sandbox ${item.sandbox}`);
  }
  for (const ip of ips) {
    if (ip.interface !== undefined && ip.interface >= interfaces.length)
      problems.push(`${ip.address}: no such interface`);
    if (ip.version !== undefined && ip.version !== familyOf(ip.address)) problems.push(`${ip.address}: version`);
    if (ip.gateway !== undefined && familyOf(ip.gateway) !== familyOf(ip.address))
      problems.push(`${ip.address}: gateway`);
  }
  for (const route of routes) {
    if (route.gw !== undefined && familyOf(route.gw) !== familyOf(route.dst)) problems.push(`${route.dst}: gw`);
  }
  return problems;
}
