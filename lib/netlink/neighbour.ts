/**
 * Entries that somebody has put down for good, where the kernel would otherwise have to ask or learn: neighbours (which
 * Ethernet address an IP address has) and forwarding entries of a VXLAN device (behind which host an Ethernet address is).
 * include/uapi/linux/neighbour.h
 */
import type { Address, Family } from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import { ENOENT } from "../sys/errno.ts";
import { ipAddress, socketFamily } from "./address.ts";
import { AttributeReader, type MessageWriter, NLM_F_CREATE, readU8, readU16, readU32 } from "./codec.ts";
import { NetlinkError, type NetlinkSocket } from "./socket.ts";

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const NLM_F_REPLACE = 0x100;
const AF_BRIDGE = 7;
const AF_INET = 2;
const AF_INET6 = 10;

const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_IFINDEX = 8;
const NDA_PROTOCOL = 12;

const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;
const NTF_SELF = 0x02;

/** A neighbour as the kernel lists it. */
export interface Neighbour {
  readonly address: Address;
  /** "" if it is not known, and on links without Ethernet. */
  readonly mac: string;
  readonly permanent: boolean;
  /** Who made it (RTPROT_*), 0 if nobody said. */
  readonly protocol: number;
}

/** A forwarding entry as the kernel lists it. */
export interface ForwardingEntry {
  readonly mac: string;
  readonly host: Address;
  readonly permanent: boolean;
}

/** Writes a request for a permanent neighbour, which replaces what is known of the address. */
export function writeNeighbour(
  socket: NetlinkSocket,
  link: number,
  address: Address,
  mac: Uint8Array,
  protocol: number,
): void {
  const writer = socket.request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  writeHeader(writer, socketFamily(address), link, NUD_PERMANENT, 0);
  writer.attributeBytes(NDA_DST, address.bytes);
  writer.attributeBytes(NDA_LLADDR, mac);
  writer.attributeU8(NDA_PROTOCOL, protocol);
  writer.end();
}

/** Writes a request for a permanent forwarding entry of a VXLAN device; a unicast address has one at most. */
export function writeForwarding(socket: NetlinkSocket, link: number, mac: Uint8Array, host: Address): void {
  writeEntry(socket.request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE), link, mac, host);
}

/** Writes a request that removes a forwarding entry; refused with ENOENT if it is not there. */
export function writeDeleteForwarding(socket: NetlinkSocket, link: number, mac: Uint8Array, host: Address): void {
  writeEntry(socket.request(RTM_DELNEIGH, 0), link, mac, host);
}

function writeEntry(writer: MessageWriter, link: number, mac: Uint8Array, host: Address): void {
  writeHeader(writer, AF_BRIDGE, link, NUD_PERMANENT | NUD_NOARP, NTF_SELF);
  writer.attributeBytes(NDA_LLADDR, mac);
  writer.attributeBytes(NDA_DST, host.bytes);
  writer.end();
}

/** A neighbour on a link; null if the address is not known there. @throws NetlinkError */
export function getNeighbour(socket: NetlinkSocket, link: number, address: Address): Neighbour | null {
  const writer = socket.query(RTM_GETNEIGH);
  writeHeader(writer, socketFamily(address), link, 0, 0);
  writer.attributeBytes(NDA_DST, address.bytes);
  writer.end();
  let found: Neighbour | null = null;
  const errors = socket.executeAll((message) => {
    found = decodeNeighbour(message.body);
  });
  const errno = errors[0] ?? 0;
  if (errno !== 0 && errno !== ENOENT) throw new NetlinkError(errno, "", 0);
  return found;
}

/** All neighbours of a family on a link. @throws NetlinkError */
export function listNeighbours(socket: NetlinkSocket, link: number, family: Family): Neighbour[] {
  let neighbours: Neighbour[] = [];
  socket.dump(
    RTM_GETNEIGH,
    (writer) => {
      writeHeader(writer, family === 4 ? AF_INET : AF_INET6, 0, 0, 0);
      writer.attributeU32(NDA_IFINDEX, link);
      writer.end();
    },
    (message) => {
      /* Kernels without strict checking list those of all links. */
      const neighbour = readU32(message.body, 4) === link ? decodeNeighbour(message.body) : null;
      if (neighbour !== null) neighbours.push(neighbour);
    },
    () => {
      neighbours = [];
    },
  );
  return neighbours;
}

/** The forwarding entries of a VXLAN device that lead to a host. @throws NetlinkError */
export function listForwarding(socket: NetlinkSocket, link: number): ForwardingEntry[] {
  let entries: ForwardingEntry[] = [];
  socket.dump(
    RTM_GETNEIGH,
    (writer) => {
      writeHeader(writer, AF_BRIDGE, link, 0, 0);
      writer.end();
    },
    (message) => {
      const entry = readU32(message.body, 4) === link ? decodeForwarding(message.body) : null;
      if (entry !== null) entries.push(entry);
    },
    () => {
      entries = [];
    },
  );
  return entries;
}

/** Reads the body of an RTM_NEWNEIGH message; null if it is not about an IP address. @throws NetlinkFormatError */
export function decodeNeighbour(body: Uint8Array): Neighbour | null {
  let address: Address | null = null;
  let mac = "";
  let protocol = 0;
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    if (attributes.type === NDA_DST) address = ipAddress(attributes.bytes());
    else if (attributes.type === NDA_LLADDR) mac = formatMac(attributes.bytes());
    else if (attributes.type === NDA_PROTOCOL) protocol = attributes.u8();
  }
  const family = readU8(body, 0);
  if (address === null || (family !== AF_INET && family !== AF_INET6)) return null;
  return { address, mac, permanent: isPermanent(body), protocol };
}

/** Reads the body of an RTM_NEWNEIGH message; null if it is no forwarding entry to a host. @throws NetlinkFormatError */
export function decodeForwarding(body: Uint8Array): ForwardingEntry | null {
  let host: Address | null = null;
  let mac = "";
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    if (attributes.type === NDA_DST) host = ipAddress(attributes.bytes());
    else if (attributes.type === NDA_LLADDR) mac = formatMac(attributes.bytes());
  }
  if (readU8(body, 0) !== AF_BRIDGE || host === null) return null;
  return { mac, host, permanent: isPermanent(body) };
}

function isPermanent(body: Uint8Array): boolean {
  return (readU16(body, 8) & NUD_PERMANENT) !== 0;
}

/** struct ndmsg: family, padding, index, state, flags, type. */
function writeHeader(writer: MessageWriter, family: number, link: number, state: number, flags: number): void {
  writer.u8(family);
  writer.u8(0);
  writer.u16(0);
  writer.u32(link);
  writer.u16(state);
  writer.u8(flags);
  writer.u8(0);
}
