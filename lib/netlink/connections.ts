/**
 * The kernel's table of connections (include/uapi/linux/netfilter/nfnetlink_conntrack.h): counting, listing and removing
 * entries. The sockets are NETLINK_NETFILTER sockets in the network namespace of the connections.
 */

import { type Address, parseAddress } from "../ip/address.ts";
import { textAt } from "../lists.ts";
import { EINVAL, ENOENT, EOPNOTSUPP } from "../sys/errno.ts";
import { ipAddress, socketFamily } from "./address.ts";
import { AttributeReader } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { writeNetfilterHeader } from "./netfilter.ts";
import { AF_INET, AF_INET6 } from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

/* NFNL_SUBSYS_CTNETLINK << 8, and IPCTNL_MSG_CT_GET, _DELETE, _GET_STATS */
const CT_GET = 0x101;
const CT_DELETE = 0x102;
const CT_GET_STATS = 0x105;

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_STATUS_MASK = 26;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
const CTA_STATS_GLOBAL_ENTRIES = 1;

/* Which fields a filter compares (net/netfilter/nf_internals.h, Linux 5.8). */
const FILTER_IP_SRC = 1 << 0;
const FILTER_PROTO_NUM = 1 << 3;
const FILTER_PROTO_DST_PORT = 1 << 5;
/* linux/netfilter/nf_conntrack_common.h */
const IPS_DST_NAT = 1 << 5;

/** How many entries are removed with one send. */
const AT_ONCE = 256;

/** One direction of a connection. */
export interface Tuple {
  readonly source: Address;
  readonly destination: Address;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** An entry of the table. The packets go to the source of the reply, which differs from the destination if it is translated. */
export interface Connection {
  readonly protocol: number;
  readonly original: Tuple;
  readonly reply: Tuple;
  readonly zone: number;
  /** The kernel's number for the entry, 4 bytes; null if it is not known. */
  readonly id: Uint8Array | null;
}

/** Which entries the kernel lists. Kernels before 5.8 list more of them, so the caller must check each. */
export interface ConnectionFilter {
  /** 0 for both; then of the other fields only `translated` may be set. */
  readonly family: 0 | 4 | 6;
  /** Connections of a protocol (IPPROTO_*) to a port; 0 and 0 for all. */
  readonly protocol: number;
  readonly destinationPort: number;
  /**
   * Connections whose packets go to an IPv4 address: the source of the replies. Null for all. Linux compares
   * IPv6 addresses the wrong way round (ctnetlink_filter_match_tuple in nf_conntrack_netlink.c, seen in 6.18).
   */
  readonly replySource: Address | null;
  /** Only connections whose destination was translated (from Linux 5.18 on). */
  readonly translated: boolean;
}

/** All entries of both families. */
export const NO_FILTER: ConnectionFilter = {
  family: 0,
  protocol: 0,
  destinationPort: 0,
  replySource: null,
  translated: false,
};

/**
 * How many entries the namespace has: `conntrack -C`. 0 for a kernel without this interface: it could not remove any.
 * @throws NetlinkError, SystemError
 */
export function countEntries(socket: NetlinkSocket): number {
  const writer = socket.query(CT_GET_STATS);
  writeNetfilterHeader(writer, 0, 0);
  writer.end();
  const body = socket.answer([EINVAL, EOPNOTSUPP]);
  if (body === null) return 0;
  const attributes = new AttributeReader(body, 4);
  while (attributes.next()) {
    if (attributes.type === CTA_STATS_GLOBAL_ENTRIES) return attributes.be32();
  }
  return 0;
}

/**
 * Lists entries of protocols with ports: `conntrack -L`.
 * @param isWanted which of the entries that pass the filter are returned
 * @throws NetlinkError, SystemError
 */
export function listConnections(
  socket: NetlinkSocket,
  filter: ConnectionFilter,
  isWanted: (connection: Connection) => boolean,
): Connection[] {
  writeFilter(socket.dump(CT_GET), filter);
  let connections: Connection[] = [];
  /* Of what may be hundreds of thousands of entries only those that are wanted are kept in memory. */
  socket.listEach(
    ({ body }) => {
      const connection = decodeConnection(body);
      if (connection !== null && isWanted(connection)) connections.push(connection);
    },
    () => {
      connections = [];
    },
  );
  return connections;
}

/** Removes entries and returns how many were still there. @throws NetlinkError, SystemError */
export function removeConnections(socket: NetlinkSocket, connections: readonly Connection[]): number {
  let removed = 0;
  for (let from = 0; from < connections.length; from += AT_ONCE) {
    for (const connection of connections.slice(from, from + AT_ONCE)) writeDeleteConnection(socket, connection);
    const refusals = socket.exchange(() => {});
    for (const refusal of refusals) if (refusal.errno !== ENOENT) throw refusal.copy();
    removed += Math.min(AT_ONCE, connections.length - from) - refusals.length;
  }
  return removed;
}

/** Writes a request that removes this entry, and none that has replaced it; refused with ENOENT if it is gone. */
export function writeDeleteConnection(socket: NetlinkSocket, connection: Connection): void {
  const { original } = connection;
  const writer = socket.request(CT_DELETE, 0);
  writeNetfilterHeader(writer, socketFamily(original.source), 0);
  const tuple = writer.beginNested(CTA_TUPLE_ORIG);
  const ip = writer.beginNested(CTA_TUPLE_IP);
  const is4 = original.source.family === 4;
  writer.attributeBytes(is4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, original.source.bytes);
  writer.attributeBytes(is4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, original.destination.bytes);
  writer.endNested(ip);
  const protocol = writer.beginNested(CTA_TUPLE_PROTO);
  writer.attributeU8(CTA_PROTO_NUM, connection.protocol);
  writer.attributeBe16(CTA_PROTO_SRC_PORT, original.sourcePort);
  writer.attributeBe16(CTA_PROTO_DST_PORT, original.destinationPort);
  writer.endNested(protocol);
  writer.endNested(tuple);
  if (connection.id !== null) writer.attributeBytes(CTA_ID, connection.id);
  if (connection.zone !== 0) writer.attributeBe16(CTA_ZONE, connection.zone);
  writer.end();
}

/** Completes a dump request. */
export function writeFilter(writer: MessageWriter, filter: ConnectionFilter): void {
  writeNetfilterHeader(writer, filter.family === 0 ? 0 : filter.family === 4 ? AF_INET : AF_INET6, 0);
  if (filter.protocol !== 0) {
    const tuple = writer.beginNested(CTA_TUPLE_ORIG);
    const protocol = writer.beginNested(CTA_TUPLE_PROTO);
    writer.attributeU8(CTA_PROTO_NUM, filter.protocol);
    writer.attributeBe16(CTA_PROTO_DST_PORT, filter.destinationPort);
    writer.endNested(protocol);
    writer.endNested(tuple);
  }
  if (filter.replySource !== null) {
    const tuple = writer.beginNested(CTA_TUPLE_REPLY);
    const ip = writer.beginNested(CTA_TUPLE_IP);
    writer.attributeBytes(CTA_IP_V4_SRC, filter.replySource.bytes);
    writer.endNested(ip);
    writer.endNested(tuple);
  }
  if (filter.protocol !== 0 || filter.replySource !== null) {
    const flags = writer.beginNested(CTA_FILTER);
    if (filter.protocol !== 0) writer.attributeU32(CTA_FILTER_ORIG_FLAGS, FILTER_PROTO_NUM | FILTER_PROTO_DST_PORT);
    if (filter.replySource !== null) writer.attributeU32(CTA_FILTER_REPLY_FLAGS, FILTER_IP_SRC);
    writer.endNested(flags);
  }
  if (filter.translated) {
    writer.attributeBe32(CTA_STATUS, IPS_DST_NAT);
    writer.attributeBe32(CTA_STATUS_MASK, IPS_DST_NAT);
  }
  writer.end();
}

/** Reads the body of an IPCTNL_MSG_CT_NEW message; null if it is of a protocol without ports. @throws NetlinkFormatError */
export function decodeConnection(body: Uint8Array): Connection | null {
  const original = new TupleParts();
  const reply = new TupleParts();
  let zone = 0;
  let id: Uint8Array | null = null;
  const attributes = new AttributeReader(body, 4);
  while (attributes.next()) {
    if (attributes.type === CTA_TUPLE_ORIG) readTuple(attributes.nested(), original);
    else if (attributes.type === CTA_TUPLE_REPLY) readTuple(attributes.nested(), reply);
    else if (attributes.type === CTA_ZONE) zone = attributes.be16();
    else if (attributes.type === CTA_ID) id = attributes.bytes().slice();
  }
  return connectionOf(original, reply, zone, id);
}

/** What was read of one direction. */
class TupleParts {
  protocol = 0;
  source: Address | null = null;
  destination: Address | null = null;
  sourcePort = -1;
  destinationPort = -1;
}

function connectionOf(original: TupleParts, reply: TupleParts, zone: number, id: Uint8Array | null): Connection | null {
  const there = tupleOf(original);
  const back = tupleOf(reply);
  if (there === null || back === null) return null;
  return { protocol: original.protocol, original: there, reply: back, zone, id };
}

function tupleOf(parts: TupleParts): Tuple | null {
  const { source, destination, sourcePort, destinationPort } = parts;
  if (source === null || destination === null || sourcePort < 0 || destinationPort < 0) return null;
  return { source, destination, sourcePort, destinationPort };
}

function readTuple(attributes: AttributeReader, parts: TupleParts): void {
  while (attributes.next()) {
    const inner = attributes.nested();
    if (attributes.type === CTA_TUPLE_IP) {
      while (inner.next()) {
        const type = inner.type;
        if (type === CTA_IP_V4_SRC || type === CTA_IP_V6_SRC) parts.source = ipAddress(inner.bytes());
        else if (type === CTA_IP_V4_DST || type === CTA_IP_V6_DST) parts.destination = ipAddress(inner.bytes());
      }
    } else if (attributes.type === CTA_TUPLE_PROTO) {
      while (inner.next()) {
        if (inner.type === CTA_PROTO_NUM) parts.protocol = inner.u8();
        else if (inner.type === CTA_PROTO_SRC_PORT) parts.sourcePort = inner.be16();
        else if (inner.type === CTA_PROTO_DST_PORT) parts.destinationPort = inner.be16();
      }
    }
  }
}

/**
 * Reads entries from the text of /proc/net/nf_conntrack, one a line: `ipv4 2 udp 17 29 src=A dst=B sport=1 dport=2 ... src=B
 * dst=A sport=2 dport=1 ... zone=0 use=2` (net/netfilter/nf_conntrack_standalone.c).
 * @param ports the original destination ports that are wanted: other lines, which are most, are not parsed
 */
export function parseConnections(text: string, ports: readonly number[]): Connection[] {
  const connections: Connection[] = [];
  for (const line of text.split("\n")) {
    const at = line.indexOf(DESTINATION_PORT);
    if (at < 0 || !ports.includes(parseInt(line.slice(at + DESTINATION_PORT.length), 10))) continue;
    const connection = parseConnection(line);
    if (connection !== null) connections.push(connection);
  }
  return connections;
}

const DESTINATION_PORT = " dport=";

function parseConnection(line: string): Connection | null {
  const words = line.split(" ").filter((word) => word !== "");
  const original = new TupleParts();
  const reply = new TupleParts();
  original.protocol = parseInt(textAt(words, 3), 10);
  let zone = 0;
  for (const word of words) {
    const equals = word.indexOf("=");
    if (equals < 0) continue;
    const key = word.slice(0, equals);
    const value = word.slice(equals + 1);
    /* Each key occurs twice: first for the original direction, then for the reply. */
    const parts = original.destinationPort < 0 ? original : reply;
    if (key === "src") parts.source = parseAddress(value);
    else if (key === "dst") parts.destination = parseAddress(value);
    else if (key === "sport") parts.sourcePort = parseInt(value, 10);
    else if (key === "dport") parts.destinationPort = parseInt(value, 10);
    else if (key === "zone") zone = parseInt(value, 10);
  }
  return connectionOf(original, reply, zone, null);
}
