/**
 * Routes of the main table that lead to other nodes (include/uapi/linux/rtnetlink.h, lwtunnel.h): through a gateway that the
 * neighbour table knows, or straight into a tunnel whose other end the route itself names.
 */
import { type Address, type Family, networkOf, type Prefix } from "../ip/address.ts";
import { ipAddress, socketFamily } from "./address.ts";
import { AttributeReader, type MessageWriter, NLM_F_CREATE, readU8, readU32 } from "./codec.ts";
import type { NetlinkSocket } from "./socket.ts";

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const NLM_F_REPLACE = 0x100;
const AF_INET = 2;
const AF_INET6 = 10;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTA_ENCAP_TYPE = 21;
const RTA_ENCAP = 22;
const RTAX_MTU = 2;

const LWTUNNEL_ENCAP_IP = 2;
const LWTUNNEL_ENCAP_IP6 = 4;
const LWTUNNEL_IP_ID = 1;
const LWTUNNEL_IP_DST = 2;
const LWTUNNEL_IP_FLAGS = 6;
/** TUNNEL_CSUM in linux/if_tunnel.h. */
const TUNNEL_CSUM = 0x01;

const RT_TABLE_MAIN = 254;
const RTN_UNSPEC = 0;
const RTN_UNICAST = 1;
const RTNH_F_ONLINK = 4;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_NOWHERE = 255;

/** The other end of a tunnel. */
export interface Encapsulation {
  readonly vni: number;
  readonly host: Address;
}

/** A route to a network of pods. Either `gateway` or `tunnel` is null, or both. */
export interface TunnelRoute {
  readonly dst: Prefix;
  readonly link: number;
  /** Who made it (RTPROT_*). */
  readonly protocol: number;
  /** The metric: of routes to one prefix the lowest counts. */
  readonly priority: number;
  readonly gateway: Address | null;
  /** The gateway is on the link although no address says so. */
  readonly onlink: boolean;
  readonly tunnel: Encapsulation | null;
  /** What the route says of the path's MTU; 0 if nothing. Not written. */
  readonly mtu: number;
}

/** Writes a request for a route, which replaces the one with its prefix and priority. */
export function writeTunnelRoute(socket: NetlinkSocket, route: TunnelRoute): void {
  const writer = socket.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  const isIpv4 = route.dst.address.family === 4;
  writeRoute(writer, route, isIpv4 && route.gateway === null ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE, RTN_UNICAST);
}

/** Writes a request that removes a route; refused with ESRCH if it is not there. */
export function writeDeleteTunnelRoute(socket: NetlinkSocket, route: TunnelRoute): void {
  const writer = socket.request(RTM_DELROUTE, 0);
  writeRoute(writer, route, route.dst.address.family === 4 ? RT_SCOPE_NOWHERE : RT_SCOPE_UNIVERSE, RTN_UNSPEC);
}

/** struct rtmsg: family, destination and source length, TOS, table, protocol, scope, type, flags. */
function writeRoute(writer: MessageWriter, route: TunnelRoute, scope: number, type: number): void {
  const { dst, gateway, tunnel } = route;
  writer.u8(socketFamily(dst.address));
  writer.u8(dst.length);
  writer.u8(0);
  writer.u8(0);
  writer.u8(RT_TABLE_MAIN);
  writer.u8(route.protocol);
  writer.u8(scope);
  writer.u8(type);
  writer.u32(route.onlink ? RTNH_F_ONLINK : 0);
  if (dst.length > 0) writer.attributeBytes(RTA_DST, networkOf(dst).bytes);
  if (gateway !== null) writer.attributeBytes(RTA_GATEWAY, gateway.bytes);
  if (tunnel !== null) writeEncapsulation(writer, tunnel);
  if (route.priority > 0) writer.attributeU32(RTA_PRIORITY, route.priority);
  writer.attributeU32(RTA_OIF, route.link);
  writer.end();
}

function writeEncapsulation(writer: MessageWriter, tunnel: Encapsulation): void {
  const isIpv4 = tunnel.host.family === 4;
  const encap = writer.beginNested(RTA_ENCAP);
  writer.attributeBe64(LWTUNNEL_IP_ID, BigInt(tunnel.vni));
  writer.attributeBytes(LWTUNNEL_IP_DST, tunnel.host.bytes);
  /* Without a checksum an IPv6 receiver drops the outer packet (RFC 8200 section 8.1). */
  if (!isIpv4) writer.attributeBe16(LWTUNNEL_IP_FLAGS, TUNNEL_CSUM);
  writer.endNested(encap);
  writer.attributeU16(RTA_ENCAP_TYPE, isIpv4 ? LWTUNNEL_ENCAP_IP : LWTUNNEL_ENCAP_IP6);
}

/** All unicast routes of the main table. @throws NetlinkError */
export function listTunnelRoutes(socket: NetlinkSocket, family: Family): TunnelRoute[] {
  let routes: TunnelRoute[] = [];
  socket.dump(
    RTM_GETROUTE,
    (writer) => {
      writer.u8(family === 4 ? AF_INET : AF_INET6);
      for (let i = 0; i < 3; i += 1) writer.u8(0);
      writer.u8(RT_TABLE_MAIN);
      for (let i = 0; i < 7; i += 1) writer.u8(0);
      writer.attributeU32(RTA_TABLE, RT_TABLE_MAIN);
      writer.end();
    },
    (message) => {
      const route = decodeTunnelRoute(message.body);
      if (route !== null) routes.push(route);
    },
    () => {
      routes = [];
    },
  );
  return routes;
}

/** Reads the body of an RTM_NEWROUTE message; null unless it is a unicast IP route of the main table. @throws NetlinkFormatError */
export function decodeTunnelRoute(body: Uint8Array): TunnelRoute | null {
  const family = readU8(body, 0);
  if (readU8(body, 7) !== RTN_UNICAST || readU8(body, 4) !== RT_TABLE_MAIN) return null;
  if (family !== AF_INET && family !== AF_INET6) return null;
  let address: Address = { family: family === AF_INET ? 4 : 6, bytes: new Uint8Array(family === AF_INET ? 4 : 16) };
  let gateway: Address | null = null;
  let tunnel: Encapsulation | null = null;
  let link = 0;
  let priority = 0;
  let mtu = 0;
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    const type = attributes.type;
    if (type === RTA_DST) address = ipAddress(attributes.bytes()) ?? address;
    else if (type === RTA_GATEWAY) gateway = ipAddress(attributes.bytes());
    else if (type === RTA_OIF) link = attributes.u32();
    else if (type === RTA_PRIORITY) priority = attributes.u32();
    else if (type === RTA_ENCAP) tunnel = decodeEncapsulation(attributes.nested());
    else if (type === RTA_METRICS) mtu = decodeMtu(attributes.nested());
  }
  return {
    dst: { address, length: readU8(body, 1) },
    link,
    protocol: readU8(body, 5),
    priority,
    gateway,
    onlink: (readU32(body, 8) & RTNH_F_ONLINK) !== 0,
    tunnel,
    mtu,
  };
}

function decodeEncapsulation(attributes: AttributeReader): Encapsulation | null {
  let vni = 0;
  let host: Address | null = null;
  while (attributes.next()) {
    if (attributes.type === LWTUNNEL_IP_ID) vni = Number(attributes.be64());
    else if (attributes.type === LWTUNNEL_IP_DST) host = ipAddress(attributes.bytes());
  }
  return host === null ? null : { vni, host };
}

function decodeMtu(metrics: AttributeReader): number {
  let mtu = 0;
  while (metrics.next()) {
    if (metrics.type === RTAX_MTU) mtu = metrics.u32();
  }
  return mtu;
}
