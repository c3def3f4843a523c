/**
 * Routes of the main table that lead to other nodes (include/uapi/linux/rtnetlink.h, lwtunnel.h): through a gateway that the
 * neighbour table knows, or straight into a tunnel whose other end the route itself names.
 */
import type { Family } from "../ip/address.ts";
import { ADDRESS_WORDS, IPV4_LENGTH, isIpv4At, putIpv4 } from "../ip/words.ts";
import { AttributeReader, type MessageWriter, NLM_F_CREATE, readU8, readU32 } from "./codec.ts";
import {
  addressWords,
  type EntryTable,
  FLAGS,
  GATEWAY,
  HAS_GATEWAY,
  HAS_TUNNEL,
  HOST,
  KEY,
  LINK,
  METRIC,
  ONLINK,
  ROUTE,
  ROW_WORDS,
  VNI,
} from "./entry-table.ts";
import { readIp } from "./neighbour.ts";
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
const RTA_TABLE = 15;
const RTA_ENCAP_TYPE = 21;
const RTA_ENCAP = 22;

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

/** Writes a request for a route, which replaces the one with its prefix and priority. */
export function writeTunnelRoute(socket: NetlinkSocket, table: EntryTable, row: number): void {
  const writer = socket.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  const at = row * ROW_WORDS;
  const hasGateway = ((table.words[at + FLAGS] ?? 0) & HAS_GATEWAY) !== 0;
  const isIpv4 = isIpv4At(table.words, at + KEY);
  writeRoute(writer, table.words, at, isIpv4 && !hasGateway ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE, RTN_UNICAST);
}

/** Writes a request that removes a route; refused with ESRCH if it is not there. */
export function writeDeleteTunnelRoute(socket: NetlinkSocket, table: EntryTable, row: number): void {
  const writer = socket.request(RTM_DELROUTE, 0);
  const at = row * ROW_WORDS;
  const scope = isIpv4At(table.words, at + KEY) ? RT_SCOPE_NOWHERE : RT_SCOPE_UNIVERSE;
  writeRoute(writer, table.words, at, scope, RTN_UNSPEC);
}

/** struct rtmsg: family, destination and source length, TOS, table, protocol, scope, type, flags. */
function writeRoute(writer: MessageWriter, words: Int32Array, at: number, scope: number, type: number): void {
  const isIpv4 = isIpv4At(words, at + KEY);
  const flags = words[at + FLAGS] ?? 0;
  const length = ((words[at] ?? 0) >>> 8) - (isIpv4 ? IPV4_LENGTH : 0);
  writer.u8(isIpv4 ? AF_INET : AF_INET6);
  writer.u8(length);
  writer.u16(0);
  writer.u8(RT_TABLE_MAIN);
  writer.u8(flags >>> 8);
  writer.u8(scope);
  writer.u8(type);
  writer.u32(words[at + ONLINK] === 1 ? RTNH_F_ONLINK : 0);
  if (length > 0) writeIp(writer, RTA_DST, words, at + KEY);
  if ((flags & HAS_GATEWAY) !== 0) writeIp(writer, RTA_GATEWAY, words, at + GATEWAY);
  if ((flags & HAS_TUNNEL) !== 0) writeEncapsulation(writer, words, at);
  const priority = (words[at + METRIC] ?? 0) >>> 0;
  if (priority > 0) writer.attributeU32(RTA_PRIORITY, priority);
  writer.attributeU32(RTA_OIF, words[at + LINK] ?? 0);
  writer.end();
}

function writeIp(writer: MessageWriter, type: number, words: Int32Array, at: number): void {
  const count = addressWords(isIpv4At(words, at));
  writer.attributeWords(type, words, at + ADDRESS_WORDS - count, count);
}

function writeEncapsulation(writer: MessageWriter, words: Int32Array, at: number): void {
  const isIpv4 = isIpv4At(words, at + HOST);
  const encap = writer.beginNested(RTA_ENCAP);
  const id = writer.beginAttribute(LWTUNNEL_IP_ID);
  writer.be32(0);
  writer.be32(words[at + VNI] ?? 0);
  writer.endNested(id);
  writeIp(writer, LWTUNNEL_IP_DST, words, at + HOST);
  /* Without a checksum an IPv6 receiver drops the outer packet (RFC 8200 section 8.1). */
  if (!isIpv4) writer.attributeBe16(LWTUNNEL_IP_FLAGS, TUNNEL_CSUM);
  writer.endNested(encap);
  writer.attributeU16(RTA_ENCAP_TYPE, isIpv4 ? LWTUNNEL_ENCAP_IP : LWTUNNEL_ENCAP_IP6);
}

/** Adds all unicast routes of the main table to a table. @throws NetlinkError */
export function listTunnelRoutes(socket: NetlinkSocket, family: Family, table: EntryTable): void {
  const before = table.count;
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
    (message) => decodeTunnelRoute(message.body, table),
    () => table.cut(before),
  );
}

/**
 * Adds what the body of an RTM_NEWROUTE message says, if it is a unicast IP route of the main table. IPv6 routes to
 * ::ffff:0:0/96, which nobody has, are left out: here these addresses stand for IPv4. @throws NetlinkFormatError
 */
export function decodeTunnelRoute(body: Uint8Array, table: EntryTable): void {
  const family = readU8(body, 0);
  if (readU8(body, 7) !== RTN_UNICAST || readU8(body, 4) !== RT_TABLE_MAIN) return;
  if (family !== AF_INET && family !== AF_INET6) return;
  const isIpv4 = family === AF_INET;
  const at = table.begin();
  const { words } = table;
  if (isIpv4) putIpv4(words, at + KEY, 0);
  let flags = readU8(body, 5) << 8;
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    const type = attributes.type;
    if (type === RTA_DST) readIp(attributes, words, at + KEY);
    else if (type === RTA_GATEWAY) flags |= readIp(attributes, words, at + GATEWAY) ? HAS_GATEWAY : 0;
    else if (type === RTA_OIF) words[at + LINK] = attributes.u32() | 0;
    else if (type === RTA_PRIORITY) words[at + METRIC] = attributes.u32() | 0;
    else if (type === RTA_ENCAP) flags |= decodeEncapsulation(attributes.nested(), words, at) ? HAS_TUNNEL : 0;
  }
  words[at] = ROUTE | ((readU8(body, 1) + (isIpv4 ? IPV4_LENGTH : 0)) << 8);
  words[at + FLAGS] = flags;
  words[at + ONLINK] = (readU32(body, 8) & RTNH_F_ONLINK) === 0 ? 0 : 1;
  if (isIpv4At(words, at + KEY) === isIpv4) table.end();
}

function decodeEncapsulation(attributes: AttributeReader, words: Int32Array, at: number): boolean {
  let found = false;
  while (attributes.next()) {
    if (attributes.type === LWTUNNEL_IP_ID) words[at + VNI] = attributes.wordAt(4);
    else if (attributes.type === LWTUNNEL_IP_DST) found = readIp(attributes, words, at + HOST);
  }
  return found;
}
