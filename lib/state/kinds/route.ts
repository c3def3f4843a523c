/** A route of the container. It goes with its link. */
import { compareAddresses, formatAddress, formatPrefix, networkOf, sameAddress } from "../../ip/address.ts";
import { type ListedRoute, listRoutes, type Route, writeNewRoute } from "../../netlink/route.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import type { Kernel } from "../kernel.ts";
import { type Batch, Kind } from "../kind.ts";

/** The kernel's main table; 0 in a result means it too. */
const RT_TABLE_MAIN = 254;

/** A route through a link of the container. */
export interface RouteObject {
  readonly kind: "route";
  readonly link: string;
  readonly route: Route;
}

export class RouteKind extends Kind {
  readonly #object: RouteObject;

  constructor(object: RouteObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `add route ${describeRoute(this.#object.route)} through ${this.#object.link}`;
  }

  override commands(netns: string): string[] {
    const { link, route } = this.#object;
    const { mtu, advmss, priority, table, scope, onlink, source } = route;
    const words = [`ip route add ${describeRoute(route)} dev ${shellWord(link)} proto static`];
    if (source !== null) words.push(`src ${formatAddress(source)}`);
    if (scope !== 0) words.push(`scope ${scope}`);
    if (table !== null && table !== 0) words.push(`table ${table}`);
    if (priority > 0) words.push(`metric ${priority}`);
    if (mtu > 0) words.push(`mtu ${mtu}`);
    if (advmss > 0) words.push(`advmss ${advmss}`);
    if (onlink) words.push("onlink");
    return [commandIn("container", netns, words.join(" "))];
  }

  override batch(): Batch {
    return "requests container";
  }

  override make(kernel: Kernel): void {
    writeNewRoute(kernel.container, kernel.index("container", this.#object.link), this.#object.route);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInRoute(kernel, this.#object);
  }
}

function differenceInRoute(kernel: Kernel, object: RouteObject): string | null {
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
