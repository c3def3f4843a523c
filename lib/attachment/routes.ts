/** The routes of a result, as the kernel takes them. Pure. */
import type { ResultIp, ResultRoute } from "../cni/result.ts";
import { checkRouteFamilies } from "../cni/result-decode.ts";
import { type Address, contains, type Family, networkOf, sameAddress } from "../ip/address.ts";
import type { Route } from "../netlink/route.ts";
import type { KernelObject } from "../state/objects.ts";

const SCOPE_UNIVERSE = 0;
const SCOPE_LINK = 253;

/** The gateway of the first address of a family that has one. */
export function gatewayOf(ips: readonly ResultIp[], family: Family): Address | null {
  return ips.find((ip) => ip.gateway !== null && ip.gateway.family === family)?.gateway ?? null;
}

/** Routes without those that the kernel would take for one before them. @throws CniError 7 */
export function distinctRoutes(ips: readonly ResultIp[], routes: readonly ResultRoute[]): ResultRoute[] {
  checkRouteFamilies(routes);
  const all: ResultRoute[] = [];
  for (const route of routes) {
    let known = false;
    for (const other of all) if (sameRoute(other, route, ips)) known = true;
    if (!known) all.push(route);
  }
  return all;
}

/** The container's routes. */
export function pushRoutes(
  plan: KernelObject[],
  link: string,
  ips: readonly ResultIp[],
  routes: readonly ResultRoute[],
): void {
  for (const route of routes) plan.push({ kind: "route", link, route: kernelRoute(route, ips) });
}

/** A result's route as the kernel takes it: without a gateway of its own it goes through the first one of its family. */
function kernelRoute(route: ResultRoute, ips: readonly ResultIp[]): Route {
  const gateway = route.gw ?? gatewayOf(ips, route.dst.address.family);
  return {
    dst: route.dst,
    gateway,
    mtu: route.mtu,
    advmss: route.advmss,
    priority: route.priority,
    table: route.table,
    scope: route.scope ?? (gateway === null ? SCOPE_LINK : SCOPE_UNIVERSE),
    onlink: gateway !== null && !isInside(ips, gateway),
    source: null,
  };
}

/** Whether an address is of one of the container's networks. */
function isInside(ips: readonly ResultIp[], address: Address): boolean {
  for (const ip of ips) if (contains(ip.address, address)) return true;
  return false;
}

/** Whether the kernel would take two routes for one: it refuses the second. A route without a gateway goes through the first one. */
function sameRoute(a: ResultRoute, b: ResultRoute, ips: readonly ResultIp[]): boolean {
  if (a.dst.length !== b.dst.length || !sameAddress(networkOf(a.dst), networkOf(b.dst))) return false;
  if (a.priority !== b.priority || a.table !== b.table) return false;
  const first = a.gw ?? gatewayOf(ips, a.dst.address.family);
  const second = b.gw ?? gatewayOf(ips, b.dst.address.family);
  return first === null || second === null ? first === second : sameAddress(first, second);
}
