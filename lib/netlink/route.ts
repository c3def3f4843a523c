/** Routes and neighbours (include/uapi/linux/rtnetlink.h, neighbour.h). */
import { type Address, type Family, networkOf, type Prefix } from "../ip/address.ts";
import { EHOSTUNREACH, ENETUNREACH } from "../sys/errno.ts";
import { ipAddress, socketFamily } from "./address.ts";
import { AttributeReader, readI32, readU8, readU16 } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import {
  AF_INET,
  AF_INET6,
  NDA_DST,
  RT_TABLE_MAIN,
  RTA_DST,
  RTA_GATEWAY,
  RTA_METRICS,
  RTA_OIF,
  RTA_PRIORITY,
  RTA_TABLE,
  RTAX_MTU,
  RTM_DELNEIGH,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTN_UNICAST,
  RTNH_F_ONLINK,
} from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const RTAX_ADVMSS = 8;
const RTA_PREFSRC = 7;
const RTA_MULTIPATH = 9;
const RTNEXTHOP_BYTES = 8;

const RT_TABLE_UNSPEC = 0;
const RTPROT_STATIC = 4;
/** The protocol of a route from an IPv6 router advertisement. */
export const RTPROT_RA = 9;

/** A route through a link. `priority`, `mtu`, `advmss` 0 and `table` null leave the kernel's defaults. */
export interface Route {
  readonly dst: Prefix;
  readonly gateway: Address | null;
  readonly mtu: number;
  readonly advmss: number;
  readonly priority: number;
  readonly table: number | null;
  /** RT_SCOPE_*: 0 universe, 253 link, 254 host. */
  readonly scope: number;
  /** The gateway is on the link although no address says so. */
  readonly onlink: boolean;
  /** The address that packets along it are sent from; null leaves the choice to the kernel. */
  readonly source: Address | null;
}

/** A route as the kernel lists it. */
export interface ListedRoute {
  readonly dst: Prefix;
  readonly gateway: Address | null;
  readonly link: number;
  readonly mtu: number;
  readonly advmss: number;
  readonly priority: number;
  readonly table: number;
  readonly scope: number;
  readonly protocol: number;
}

/** Writes a request for `ip route append DESTINATION via GATEWAY dev LINK`: other routes to the destination stay. */
export function writeNewRoute(socket: NetlinkSocket, link: number, route: Route): void {
  writeRoute(socket, link, route, NLM_F_CREATE);
}

/** Writes a request for `ip route add DESTINATION dev LINK`: refused with EEXIST if there is a route to the destination. */
export function writeOnlyRoute(socket: NetlinkSocket, link: number, route: Route): void {
  writeRoute(socket, link, route, NLM_F_CREATE | NLM_F_EXCL);
}

function writeRoute(socket: NetlinkSocket, link: number, route: Route, flags: number): void {
  const table = route.table ?? RT_TABLE_MAIN;
  const writer = socket.request(RTM_NEWROUTE, flags);
  writer.u8(socketFamily(route.dst.address));
  writer.u8(route.dst.length);
  writer.u8(0);
  writer.u8(0);
  writer.u8(table < 256 ? table : RT_TABLE_UNSPEC);
  writer.u8(RTPROT_STATIC);
  writer.u8(route.scope);
  writer.u8(RTN_UNICAST);
  writer.u32(route.onlink ? RTNH_F_ONLINK : 0);
  if (route.dst.length > 0) writer.attributeBytes(RTA_DST, networkOf(route.dst).bytes);
  if (route.gateway !== null) writer.attributeBytes(RTA_GATEWAY, route.gateway.bytes);
  if (route.source !== null) writer.attributeBytes(RTA_PREFSRC, route.source.bytes);
  writer.attributeU32(RTA_OIF, link);
  if (table >= 256) writer.attributeU32(RTA_TABLE, table);
  if (route.priority > 0) writer.attributeU32(RTA_PRIORITY, route.priority);
  if (route.mtu > 0 || route.advmss > 0) {
    const metrics = writer.beginNested(RTA_METRICS);
    if (route.mtu > 0) writer.attributeU32(RTAX_MTU, route.mtu);
    if (route.advmss > 0) writer.attributeU32(RTAX_ADVMSS, route.advmss);
    writer.endNested(metrics);
  }
  writer.end();
}

/**
 * `ip route show table all`: the unicast routes of a family. A route with several next hops is listed once for each.
 * @param protocol whose routes are enough; 0 for all. Kernels before 4.20 list all
 * @throws NetlinkError
 */
export function listRoutes(socket: NetlinkSocket, family: Family, protocol = 0): ListedRoute[] {
  const writer = socket.dump(RTM_GETROUTE);
  writer.u8(family === 4 ? AF_INET : AF_INET6);
  for (let i = 0; i < 4; i += 1) writer.u8(0);
  writer.u8(protocol);
  for (let i = 0; i < 6; i += 1) writer.u8(0);
  writer.end();
  const routes: ListedRoute[] = [];
  for (const { body } of socket.list()) {
    for (const route of decodeRoutes(body)) routes.push(route);
  }
  return routes;
}

/** The index of the link through which the kernel sends to an address; 0 if it has no route there. @throws NetlinkError */
export function getRouteLink(socket: NetlinkSocket, address: Address): number {
  const writer = socket.query(RTM_GETROUTE);
  writer.u8(socketFamily(address));
  writer.u8(address.bytes.length * 8);
  for (let i = 0; i < 10; i += 1) writer.u8(0);
  writer.attributeBytes(RTA_DST, address.bytes);
  writer.end();
  const body = socket.answer([ENETUNREACH, EHOSTUNREACH]);
  return body === null ? 0 : (decodeRoute(body)?.link ?? 0);
}

/** The routes in the body of an RTM_NEWROUTE message: none if it is no unicast IP route. @throws NetlinkFormatError */
function decodeRoutes(body: Uint8Array): ListedRoute[] {
  const route = decodeRoute(body);
  if (route === null) return [];
  const hops = decodeHops(body);
  return hops.length === 0 ? [route] : hops.map(({ gateway, link }) => ({ ...route, gateway, link }));
}

/** A next hop of a route. */
interface Hop {
  readonly gateway: Address | null;
  readonly link: number;
}

/**
 * The next hops of a route that has several: the kernel merges IPv6 routes with the same destination and metric. Each is a
 * struct rtnexthop (length, flags, weight, link) with attributes of its own.
 */
function decodeHops(body: Uint8Array): Hop[] {
  const hops: Hop[] = [];
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    if (attributes.type !== RTA_MULTIPATH) continue;
    const bytes = attributes.bytes();
    let at = 0;
    while (at + RTNEXTHOP_BYTES <= bytes.length) {
      const length = readU16(bytes, at);
      if (length < RTNEXTHOP_BYTES || at + length > bytes.length) break;
      let gateway: Address | null = null;
      const own = new AttributeReader(bytes.subarray(0, at + length), at + RTNEXTHOP_BYTES);
      while (own.next()) if (own.type === RTA_GATEWAY) gateway = ipAddress(own.bytes());
      hops.push({ gateway, link: readI32(bytes, at + 4) });
      at += (length + 3) & ~3;
    }
  }
  return hops;
}

/** Reads the body of an RTM_NEWROUTE message; null if it is no unicast IP route. @throws NetlinkFormatError */
export function decodeRoute(body: Uint8Array): ListedRoute | null {
  const family = readU8(body, 0);
  if (readU8(body, 7) !== RTN_UNICAST || (family !== AF_INET && family !== AF_INET6)) return null;
  let address: Address = { family: family === AF_INET ? 4 : 6, bytes: new Uint8Array(family === AF_INET ? 4 : 16) };
  let gateway: Address | null = null;
  let link = 0;
  let priority = 0;
  let table = readU8(body, 4);
  let mtu = 0;
  let advmss = 0;
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    const type = attributes.type;
    if (type === RTA_DST) address = ipAddress(attributes.bytes()) ?? address;
    else if (type === RTA_GATEWAY) gateway = ipAddress(attributes.bytes());
    else if (type === RTA_OIF) link = attributes.u32();
    else if (type === RTA_PRIORITY) priority = attributes.u32();
    else if (type === RTA_TABLE) table = attributes.u32();
    else if (type === RTA_METRICS) {
      const metrics = attributes.nested();
      while (metrics.next()) {
        if (metrics.type === RTAX_MTU) mtu = metrics.u32();
        else if (metrics.type === RTAX_ADVMSS) advmss = metrics.u32();
      }
    }
  }
  return {
    dst: { address, length: readU8(body, 1) },
    gateway,
    link,
    mtu,
    advmss,
    priority,
    table,
    scope: readU8(body, 6),
    protocol: readU8(body, 5),
  };
}

/** Writes a request for `ip neighbour del ADDRESS dev LINK`; refused with ENOENT if there is none. */
export function writeDeleteNeighbour(socket: NetlinkSocket, link: number, address: Address): void {
  const writer: MessageWriter = socket.request(RTM_DELNEIGH, 0);
  writer.u8(socketFamily(address));
  writer.u8(0);
  writer.u16(0);
  writer.u32(link);
  writer.u16(0);
  writer.u8(0);
  writer.u8(0);
  writer.attributeBytes(NDA_DST, address.bytes);
  writer.end();
}
