/**
 * Entries that somebody has put down for good, where the kernel would otherwise have to ask or learn: neighbours (which
 * Ethernet address an IP address has) and forwarding entries of a VXLAN device (behind which host an Ethernet address is).
 * include/uapi/linux/neighbour.h
 */
import type { Family } from "../ip/address.ts";
import { ADDRESS_WORDS, isIpv4At, putIpv4 } from "../ip/words.ts";
import { AttributeReader, type MessageWriter, NLM_F_CREATE, readU8, readU16, readU32 } from "./codec.ts";
import {
  addressWords,
  type EntryTable,
  FLAGS,
  FORWARDING,
  GATEWAY,
  HOST,
  KEY,
  NEIGHBOUR,
  PERMANENT,
  ROW_WORDS,
} from "./entry-table.ts";
import type { NetlinkSocket } from "./socket.ts";

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

/** Writes a request for a row of either kind, permanent, which replaces what is known of its address. */
export function writePermanent(
  socket: NetlinkSocket,
  link: number,
  table: EntryTable,
  row: number,
  protocol: number,
): void {
  writeRow(socket.request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE), link, table, row, protocol);
}

/** Writes a request that takes a row of either kind away; refused with ENOENT if it is not there. */
export function writeDeletePermanent(socket: NetlinkSocket, link: number, table: EntryTable, row: number): void {
  writeRow(socket.request(RTM_DELNEIGH, 0), link, table, row, 0);
}

/** @param protocol who makes it (RTPROT_*); 0 for nobody, which is how a neighbour is named that is to go */
function writeRow(writer: MessageWriter, link: number, table: EntryTable, row: number, protocol: number): void {
  const { words } = table;
  const at = row * ROW_WORDS;
  if (table.kind(row) === FORWARDING) {
    writeHeader(writer, AF_BRIDGE, link, NUD_PERMANENT | NUD_NOARP, NTF_SELF);
    writeMac(writer, words, at + KEY + 2);
    writeIp(writer, words, at + HOST);
  } else {
    const isIpv4 = isIpv4At(words, at + KEY);
    writeHeader(writer, isIpv4 ? AF_INET : AF_INET6, link, protocol === 0 ? 0 : NUD_PERMANENT, 0);
    writeIp(writer, words, at + KEY);
    if (protocol !== 0) writeMac(writer, words, at + GATEWAY);
    if (protocol !== 0) writer.attributeU8(NDA_PROTOCOL, protocol);
  }
  writer.end();
}

function writeIp(writer: MessageWriter, words: Int32Array, at: number): void {
  const count = addressWords(isIpv4At(words, at));
  writer.attributeWords(NDA_DST, words, at + ADDRESS_WORDS - count, count);
}

function writeMac(writer: MessageWriter, words: Int32Array, at: number): void {
  const begin = writer.beginAttribute(NDA_LLADDR);
  writer.be16(words[at] ?? 0);
  writer.be32(words[at + 1] ?? 0);
  writer.endNested(begin);
}

/**
 * Adds the neighbours of a family on a link to a table: those that are permanent or made by `protocol`, not those that the
 * kernel has learned. @throws NetlinkError
 */
export function listNeighbours(
  socket: NetlinkSocket,
  link: number,
  family: Family,
  protocol: number,
  table: EntryTable,
): void {
  const before = table.count;
  socket.dump(
    RTM_GETNEIGH,
    (writer) => {
      writeHeader(writer, family === 4 ? AF_INET : AF_INET6, 0, 0, 0);
      writer.attributeU32(NDA_IFINDEX, link);
      writer.end();
    },
    (message) => {
      /* Kernels without strict checking list those of all links. */
      if (readU32(message.body, 4) === link) decodeNeighbour(message.body, protocol, table);
    },
    () => table.cut(before),
  );
}

/** Adds the forwarding entries of a VXLAN device that lead to a host to a table. @throws NetlinkError */
export function listForwarding(socket: NetlinkSocket, link: number, table: EntryTable): void {
  const before = table.count;
  socket.dump(
    RTM_GETNEIGH,
    (writer) => {
      writeHeader(writer, AF_BRIDGE, link, 0, 0);
      writer.end();
    },
    (message) => {
      if (readU32(message.body, 4) === link) decodeForwarding(message.body, table);
    },
    () => table.cut(before),
  );
}

/** Adds what the body of an RTM_NEWNEIGH message says, if it is about an IP address. @throws NetlinkFormatError */
export function decodeNeighbour(body: Uint8Array, wanted: number, table: EntryTable): void {
  const family = readU8(body, 0);
  if (family !== AF_INET && family !== AF_INET6) return;
  const at = table.begin();
  const { words } = table;
  let found = false;
  let protocol = 0;
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    const type = attributes.type;
    if (type === NDA_DST) found = readIp(attributes, words, at + KEY);
    else if (type === NDA_LLADDR) readMac(attributes, words, at + GATEWAY);
    else if (type === NDA_PROTOCOL) protocol = attributes.u8();
  }
  const permanent = isPermanent(body);
  words[at] = NEIGHBOUR;
  words[at + FLAGS] = permanent ? PERMANENT : 0;
  if (found && (permanent || protocol === wanted)) table.end();
}

/** Adds what the body of an RTM_NEWNEIGH message says, if it is a forwarding entry to a host. @throws NetlinkFormatError */
export function decodeForwarding(body: Uint8Array, table: EntryTable): void {
  if (readU8(body, 0) !== AF_BRIDGE) return;
  const at = table.begin();
  const { words } = table;
  let found = false;
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    if (attributes.type === NDA_DST) found = readIp(attributes, words, at + HOST);
    else if (attributes.type === NDA_LLADDR) readMac(attributes, words, at + KEY + 2);
  }
  words[at] = FORWARDING;
  words[at + FLAGS] = isPermanent(body) ? PERMANENT : 0;
  if (found) table.end();
}

/** Reads an attribute that holds an IP address; false if it does not. */
export function readIp(attributes: AttributeReader, words: Int32Array, at: number): boolean {
  if (attributes.length === 4) {
    putIpv4(words, at, attributes.wordAt(0));
    return true;
  }
  if (attributes.length !== 16) return false;
  for (let i = 0; i < ADDRESS_WORDS; i += 1) words[at + i] = attributes.wordAt(i * 4);
  return true;
}

function readMac(attributes: AttributeReader, words: Int32Array, at: number): void {
  if (attributes.length !== 6) return;
  words[at] = attributes.wordAt(0) >>> 16;
  words[at + 1] = attributes.wordAt(2);
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
