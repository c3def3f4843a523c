/** What lives on the container's link: addresses and routes. They go when the link goes. */
import { compareAddresses, formatAddress, formatPrefix, networkOf, sameAddress } from "../../ip/address.ts";
import { listAddresses, writeNewAddress } from "../../netlink/address.ts";
import { getLinkByName, writeLinkUp } from "../../netlink/link.ts";
import { type ListedRoute, listRoutes, type Route, writeNewRoute } from "../../netlink/route.ts";
import type { Kernel } from "../kernel.ts";
import type { AddressObject, LinkUpObject, RouteObject } from "../objects.ts";

/** The kernel's main table; 0 in a result means it too. */
const RT_TABLE_MAIN = 254;

export function writeAddress(kernel: Kernel, object: AddressObject): void {
  writeNewAddress(kernel.container, kernel.index("container", object.link), object.address, object.nodad);
}

export function writeRoute(kernel: Kernel, object: RouteObject): void {
  writeNewRoute(kernel.container, kernel.index("container", object.link), object.route);
}

export function writeUp(kernel: Kernel, object: LinkUpObject): void {
  writeLinkUp(kernel.socket(object.where), kernel.index(object.where, object.name), true, object.promiscuous);
}

/** What is different about a link that should be up; null if nothing is. */
export function differenceInUp(kernel: Kernel, object: LinkUpObject): string | null {
  const link = getLinkByName(kernel.socket(object.where), object.name);
  if (link === null) return `${object.name} is missing`;
  if (!link.up) return `${object.name} is down`;
  return object.promiscuous && !link.promiscuous ? `${object.name} is not promiscuous` : null;
}

export function differenceInAddress(kernel: Kernel, object: AddressObject): string | null {
  const addresses = listAddresses(kernel.container, kernel.index("container", object.link));
  const { length, address } = object.address;
  const others: string[] = [];
  for (const { prefix, failed } of addresses) {
    others.push(formatPrefix(prefix));
    if (prefix.length !== length || !sameAddress(prefix.address, address)) continue;
    return failed ? `${formatPrefix(prefix)} on ${object.link} is a duplicate: another host has it` : null;
  }
  const found = others.length === 0 ? "none" : others.join(" ");
  return `${object.link} lacks the address ${formatPrefix(object.address)}, it has: ${found}`;
}

export function differenceInRoute(kernel: Kernel, object: RouteObject): string | null {
  const wanted = object.route;
  const family = wanted.dst.address.family;
  const link = kernel.index("container", object.link);
  let first = "";
  for (const found of listRoutes(kernel.container, family)) {
    if (found.link !== link || !sameDestination(found, wanted)) continue;
    const difference = differenceBetween(found, wanted);
    if (difference === null) return null;
    if (first === "") first = difference;
  }
  const route = `the route ${describeRoute(wanted)}`;
  return first === "" ? `${route} is missing on ${object.link}` : `${route} on ${object.link} has ${first}`;
}

/** "10.0.0.0/8 via 10.1.0.1" */
export function describeRoute(route: Route): string {
  const via = route.gateway === null ? "" : ` via ${formatAddress(route.gateway)}`;
  return `${formatPrefix(route.dst)}${via}`;
}

function sameDestination(found: ListedRoute, wanted: Route): boolean {
  if (found.table !== (wanted.table === null || wanted.table === 0 ? RT_TABLE_MAIN : wanted.table)) return false;
  return found.dst.length === wanted.dst.length && compareAddresses(networkOf(found.dst), networkOf(wanted.dst)) === 0;
}

/** What is different about a route to the right destination; null if nothing is. What was not asked for is not compared. */
function differenceBetween(found: ListedRoute, wanted: Route): string | null {
  if (wanted.gateway !== null && (found.gateway === null || !sameAddress(found.gateway, wanted.gateway))) {
    return `gateway ${found.gateway === null ? "none" : formatAddress(found.gateway)}`;
  }
  if (wanted.mtu > 0 && found.mtu !== wanted.mtu) return `mtu ${found.mtu}, expected ${wanted.mtu}`;
  if (wanted.advmss > 0 && found.advmss !== wanted.advmss) return `advmss ${found.advmss}, expected ${wanted.advmss}`;
  if (wanted.priority > 0 && found.priority !== wanted.priority) {
    return `priority ${found.priority}, expected ${wanted.priority}`;
  }
  return null;
}
