/**
 * Routes of the main table that lead to other nodes (include/uapi/linux/rtnetlink.h, lwtunnel.h): by way of a gateway, or into
 * a tunnel whose other end the route itself names.
 */

import type { Family } from "../../ip/address.ts";
import { ADDRESS_WORDS, IPV4_LENGTH, isIpv4At, putIpv4 } from "../../ip/words.ts";
import type { MessageWriter } from "../message-writer.ts";
import { NLM_F_CREATE, NLM_F_REPLACE } from "../netlink.ts";
import { behindAttribute, behindMessage, HEADER_WORDS, networkOrder, numberIn, readIpRow, typeOf } from "../rows.ts";

import {
  AF_INET,
  AF_INET6,
  RT_TABLE_MAIN,
  RTA_DST,
  RTA_GATEWAY,
  RTA_OIF,
  RTA_PRIORITY,
  RTA_TABLE,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTN_UNICAST,
  RTNH_F_ONLINK,
} from "../rtnetlink.ts";
import type { NetlinkSocket } from "../socket.ts";
import {
  ADDRESS,
  ENTRY_WORDS,
  FLAGS,
  GATEWAY,
  HAS_GATEWAY,
  HAS_TUNNEL,
  HOST,
  LINK,
  METRIC,
  ONLINK,
  REST,
  VNI,
} from "./layout.ts";
import { type EntryTable, ROUTE } from "./table.ts";

const RTA_ENCAP_TYPE = 21;
const RTA_ENCAP = 22;

const LWTUNNEL_ENCAP_IP = 2;
const LWTUNNEL_ENCAP_IP6 = 4;
const LWTUNNEL_IP_ID = 1;
const LWTUNNEL_IP_DST = 2;
const LWTUNNEL_IP_FLAGS = 6;
/** TUNNEL_CSUM in linux/if_tunnel.h. */
const TUNNEL_CSUM = 0x01;

const RTN_UNSPEC = 0;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_NOWHERE = 255;

/**
 * Writes a request that adds a route, in place of the one with its prefix and metric:
 * `ip route replace PREFIX [encap ip id VNI dst HOST] [via GATEWAY [onlink]] dev LINK proto PROTOCOL metric METRIC`.
 */
export function writeReplaceRoute(socket: NetlinkSocket, table: EntryTable, row: number): void {
  const writer = socket.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  const at = row * ENTRY_WORDS;
  const hasGateway = ((table.words[at + FLAGS] ?? 0) & HAS_GATEWAY) !== 0;
  const isIpv4 = isIpv4At(table.words, at + ADDRESS);
  writeRoute(writer, table.words, at, isIpv4 && !hasGateway ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE, RTN_UNICAST);
}

/** Writes a request that removes a route: `ip route del PREFIX ...`. Refused with ESRCH if the route does not exist. */
export function writeDeleteRoute(socket: NetlinkSocket, table: EntryTable, row: number): void {
  const writer = socket.request(RTM_DELROUTE, 0);
  const at = row * ENTRY_WORDS;
  const scope = isIpv4At(table.words, at + ADDRESS) ? RT_SCOPE_NOWHERE : RT_SCOPE_UNIVERSE;
  writeRoute(writer, table.words, at, scope, RTN_UNSPEC);
}

/** struct rtmsg: family, destination and source length, TOS, table, protocol, scope, type, flags. */
function writeRoute(writer: MessageWriter, words: Int32Array, at: number, scope: number, type: number): void {
  const isIpv4 = isIpv4At(words, at + ADDRESS);
  const flags = words[at + FLAGS] ?? 0;
  const length = ((words[at] ?? 0) >>> 8) - (isIpv4 ? IPV4_LENGTH : 0);
  writer.u8(isIpv4 ? AF_INET : AF_INET6);
  writer.u8(length);
  writer.u16(0);
  writer.u8(RT_TABLE_MAIN);
  writer.u8(flags >>> 8);
  writer.u8(scope);
  writer.u8(type);
  writer.u32(((words[at + REST] ?? 0) & ONLINK) !== 0 ? RTNH_F_ONLINK : 0);
  if (length > 0) writeIp(writer, RTA_DST, words, at + ADDRESS);
  if ((flags & HAS_GATEWAY) !== 0) writeIp(writer, RTA_GATEWAY, words, at + GATEWAY);
  if ((flags & HAS_TUNNEL) !== 0) writeEncapsulation(writer, words, at);
  const priority = (words[at + METRIC] ?? 0) >>> 0;
  if (priority > 0) writer.attributeU32(RTA_PRIORITY, priority);
  writer.attributeU32(RTA_OIF, words[at + LINK] ?? 0);
  writer.end();
}

function writeIp(writer: MessageWriter, type: number, words: Int32Array, at: number): void {
  const count = isIpv4At(words, at) ? 1 : ADDRESS_WORDS;
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

/** Adds all unicast routes of the main routing table to a table of entries: `ip -4 route show`. @throws NetlinkError */
export function listRoutes(socket: NetlinkSocket, family: Family, table: EntryTable): void {
  const before = table.count;
  const writer = socket.dump(RTM_GETROUTE);
  writer.u8(family === 4 ? AF_INET : AF_INET6);
  for (let i = 0; i < 3; i += 1) writer.u8(0);
  writer.u8(RT_TABLE_MAIN);
  for (let i = 0; i < 7; i += 1) writer.u8(0);
  writer.attributeU32(RTA_TABLE, RT_TABLE_MAIN);
  writer.end();
  socket.listRows(
    (words, from, to) => {
      for (let at = from; at < to; ) {
        const next = behindMessage(words, at, to);
        decodeRoute(words, at + HEADER_WORDS, next, table);
        at = next;
      }
    },
    () => table.cut(before),
  );
}

/** struct rtmsg. */
const RTMSG_WORDS = 3;

/**
 * Adds the route that the body of an RTM_NEWROUTE message has, the words [at, end), if it is a unicast route of the main
 * routing table. IPv6 routes to ::ffff:0:0/96 are skipped: in a table of entries these addresses stand for IPv4.
 * @throws NetlinkFormatError
 */
export function decodeRoute(words: Int32Array, at: number, end: number, table: EntryTable): void {
  if (at + RTMSG_WORDS > end) return;
  const first = words[at] ?? 0;
  const second = words[at + 1] ?? 0;
  const family = first & 0xff;
  if (second >>> 24 !== RTN_UNICAST || (second & 0xff) !== RT_TABLE_MAIN) return;
  if (family !== AF_INET && family !== AF_INET6) return;
  const isIpv4 = family === AF_INET;
  const row = table.begin();
  const target = table.words;
  if (isIpv4) putIpv4(target, row + ADDRESS, 0);
  let flags = second & 0xff00;
  for (let next = at + RTMSG_WORDS; next < end; ) {
    const attribute = next;
    const head = words[attribute] ?? 0;
    next = behindAttribute(head, attribute, end);
    const type = typeOf(head);
    if (type === RTA_DST) readIpRow(words, attribute, target, row + ADDRESS);
    else if (type === RTA_GATEWAY) flags |= readIpRow(words, attribute, target, row + GATEWAY) ? HAS_GATEWAY : 0;
    else if (type === RTA_OIF) target[row + LINK] = numberIn(words, attribute);
    else if (type === RTA_PRIORITY) target[row + METRIC] = numberIn(words, attribute);
    else if (type === RTA_ENCAP) flags |= decodeEncapsulation(words, attribute + 1, next, target, row) ? HAS_TUNNEL : 0;
  }
  const length = ((first >>> 8) & 0xff) + (isIpv4 ? IPV4_LENGTH : 0);
  target[row] = ROUTE | (length << 8);
  target[row + FLAGS] = flags;
  target[row + REST] = ((words[at + 2] ?? 0) & RTNH_F_ONLINK) === 0 ? 0 : ONLINK;
  if (isIpv4At(target, row + ADDRESS) === isIpv4) table.end();
}

function decodeEncapsulation(words: Int32Array, at: number, end: number, target: Int32Array, row: number): boolean {
  let found = false;
  for (let next = at; next < end; ) {
    const attribute = next;
    const head = words[attribute] ?? 0;
    next = behindAttribute(head, attribute, end);
    const type = typeOf(head);
    if (type === LWTUNNEL_IP_DST) found = readIpRow(words, attribute, target, row + HOST);
    /* 64 bits; the VNI is in the last 24. */ else if (type === LWTUNNEL_IP_ID && next > attribute + 2)
      target[row + VNI] = networkOrder(words[attribute + 2] ?? 0);
  }
  return found;
}
