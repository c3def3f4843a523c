/**
 * Permanent neighbours (which MAC an IP address has), and permanent forwarding entries of a VXLAN device (behind which host a
 * MAC is): with them the kernel neither asks nor learns. Both are messages of one type (include/uapi/linux/neighbour.h).
 */

import type { Family } from "../../ip/address.ts";
import { ADDRESS_WORDS, isIpv4At } from "../../ip/words.ts";
import type { MessageWriter } from "../message-writer.ts";
import { NLM_F_CREATE, NLM_F_REPLACE } from "../netlink.ts";
import { behindAttribute, behindMessage, HEADER_WORDS, networkOrder, readIpRow, typeOf } from "../rows.ts";
import {
  AF_BRIDGE,
  AF_INET,
  AF_INET6,
  NDA_DST,
  NDA_LLADDR,
  NUD_NOARP,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from "../rtnetlink.ts";
import type { NetlinkSocket } from "../socket.ts";
import { ADDRESS, ENTRY_WORDS, FDB_MAC, FLAGS, HOST, NEIGHBOUR_MAC, PERMANENT } from "./layout.ts";
import { type EntryTable, FDB, NEIGHBOUR } from "./table.ts";

const NDA_IFINDEX = 8;
const NDA_PROTOCOL = 12;

const NTF_SELF = 0x02;

/** struct ndmsg, and which of its words the state is in. */
const NDMSG_WORDS = 3;
const STATE = 2;

/**
 * Writes a request that adds a neighbour or a forwarding entry, in place of what is known of its address:
 * `ip neigh replace ADDRESS lladdr MAC dev LINK nud permanent protocol PROTOCOL`,
 * `bridge fdb replace MAC dev LINK dst HOST self permanent`.
 * @param link the index of the VXLAN device
 */
export function writeReplaceNeighbour(
  socket: NetlinkSocket,
  link: number,
  table: EntryTable,
  row: number,
  protocol: number,
): void {
  writeRow(socket.request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE), link, table, row, protocol);
}

/** Writes a request that removes a neighbour or a forwarding entry. Refused with ENOENT if it does not exist. */
export function writeDeleteNeighbour(socket: NetlinkSocket, link: number, table: EntryTable, row: number): void {
  writeRow(socket.request(RTM_DELNEIGH, 0), link, table, row, 0);
}

/** @param protocol who makes a neighbour (RTPROT_*); 0 in a request that removes one */
function writeRow(writer: MessageWriter, link: number, table: EntryTable, row: number, protocol: number): void {
  const { words } = table;
  const at = row * ENTRY_WORDS;
  if (table.kind(row) === FDB) {
    writeHeader(writer, AF_BRIDGE, link, NUD_PERMANENT | NUD_NOARP, NTF_SELF);
    writeMac(writer, words, at + FDB_MAC);
    writeIp(writer, words, at + HOST);
  } else {
    const isIpv4 = isIpv4At(words, at + ADDRESS);
    writeHeader(writer, isIpv4 ? AF_INET : AF_INET6, link, protocol === 0 ? 0 : NUD_PERMANENT, 0);
    writeIp(writer, words, at + ADDRESS);
    if (protocol !== 0) writeMac(writer, words, at + NEIGHBOUR_MAC);
    if (protocol !== 0) writer.attributeU8(NDA_PROTOCOL, protocol);
  }
  writer.end();
}

function writeIp(writer: MessageWriter, words: Int32Array, at: number): void {
  const count = isIpv4At(words, at) ? 1 : ADDRESS_WORDS;
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
 * kernel has learned. `ip -4 neigh show dev LINK`. @throws NetlinkError
 */
export function listNeighbours(
  socket: NetlinkSocket,
  link: number,
  family: Family,
  protocol: number,
  table: EntryTable,
): void {
  const before = table.count;
  const writer = socket.dump(RTM_GETNEIGH);
  writeHeader(writer, family === 4 ? AF_INET : AF_INET6, 0, 0, 0);
  writer.attributeU32(NDA_IFINDEX, link);
  writer.end();
  socket.listRows(
    (words, from, to) => {
      for (let at = from; at < to; ) {
        const next = behindMessage(words, at, to);
        /* Kernels without strict checking list those of all links. */
        if (isOnLink(words, at, next, link)) decodeNeighbour(words, at + HEADER_WORDS, next, protocol, table);
        at = next;
      }
    },
    () => table.cut(before),
  );
}

/** Adds the forwarding entries of a VXLAN device that lead to a host: `bridge fdb show dev LINK`. @throws NetlinkError */
export function listFdb(socket: NetlinkSocket, link: number, table: EntryTable): void {
  const before = table.count;
  const writer = socket.dump(RTM_GETNEIGH);
  writeHeader(writer, AF_BRIDGE, link, 0, 0);
  writer.end();
  socket.listRows(
    (words, from, to) => {
      for (let at = from; at < to; ) {
        const next = behindMessage(words, at, to);
        if (isOnLink(words, at, next, link)) decodeFdb(words, at + HEADER_WORDS, next, table);
        at = next;
      }
    },
    () => table.cut(before),
  );
}

function isOnLink(words: Int32Array, message: number, end: number, link: number): boolean {
  return end >= message + HEADER_WORDS + NDMSG_WORDS && words[message + HEADER_WORDS + 1] === link;
}

/**
 * Adds the neighbour that the body of an RTM_NEWNEIGH message has, the words [at, end), if it is permanent or made by `wanted`
 * (RTPROT_*). @throws NetlinkFormatError
 */
export function decodeNeighbour(words: Int32Array, at: number, end: number, wanted: number, table: EntryTable): void {
  if (at + NDMSG_WORDS > end) return;
  const family = (words[at] ?? 0) & 0xff;
  if (family !== AF_INET && family !== AF_INET6) return;
  const row = table.begin();
  const target = table.words;
  let found = false;
  let protocol = 0;
  for (let next = at + NDMSG_WORDS; next < end; ) {
    const attribute = next;
    const head = words[attribute] ?? 0;
    next = behindAttribute(head, attribute, end);
    const type = typeOf(head);
    if (type === NDA_DST) found = readIpRow(words, attribute, target, row + ADDRESS);
    else if (type === NDA_LLADDR) readMac(words, attribute, target, row + NEIGHBOUR_MAC);
    else if (type === NDA_PROTOCOL && next > attribute + 1) protocol = (words[attribute + 1] ?? 0) & 0xff;
  }
  const permanent = ((words[at + STATE] ?? 0) & NUD_PERMANENT) !== 0;
  target[row] = NEIGHBOUR;
  target[row + FLAGS] = permanent ? PERMANENT : 0;
  if (found && (permanent || protocol === wanted)) table.end();
}

/**
 * Adds the forwarding entry that the body of an RTM_NEWNEIGH message has, the words [at, end), if it leads to a host.
 * @throws NetlinkFormatError
 */
export function decodeFdb(words: Int32Array, at: number, end: number, table: EntryTable): void {
  if (at + NDMSG_WORDS > end || ((words[at] ?? 0) & 0xff) !== AF_BRIDGE) return;
  const row = table.begin();
  const target = table.words;
  let found = false;
  for (let next = at + NDMSG_WORDS; next < end; ) {
    const attribute = next;
    const head = words[attribute] ?? 0;
    next = behindAttribute(head, attribute, end);
    const type = typeOf(head);
    if (type === NDA_DST) found = readIpRow(words, attribute, target, row + HOST);
    else if (type === NDA_LLADDR) readMac(words, attribute, target, row + FDB_MAC);
  }
  target[row] = FDB;
  target[row + FLAGS] = ((words[at + STATE] ?? 0) & NUD_PERMANENT) === 0 ? 0 : PERMANENT;
  if (found) table.end();
}

function readMac(words: Int32Array, attribute: number, target: Int32Array, at: number): void {
  if (((words[attribute] ?? 0) & 0xffff) !== 4 + 6) return;
  const first = networkOrder(words[attribute + 1] ?? 0);
  target[at] = first >>> 16;
  target[at + 1] = (first << 16) | (networkOrder(words[attribute + 2] ?? 0) >>> 16);
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
