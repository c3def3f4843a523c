/**
 * Filters that redirect packets of a link to another link (include/uapi/linux/pkt_cls.h, tc_act/tc_mirred.h). They match all
 * packets, or those from or to a subnet.
 */
import type { Prefix } from "../ip/address.ts";
import { AttributeReader, readI32, readU32 } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import { TCA_KIND, TCA_OPTIONS, writeHeader } from "./qdisc.ts";
import type { NetlinkSocket } from "./socket.ts";

const RTM_NEWTFILTER = 44;
const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;

const ETH_P_ALL = 0x0003;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_8021AD = 0x88a8;

const TCA_MATCHALL_ACT = 2;
const TCA_U32_CLASSID = 1;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;

const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TCA_EGRESS_REDIR = 1;
const TC_ACT_STOLEN = 4;

/** A u32 filter without an action must name a class: any will do. */
const SOME_CLASS = 0x10001;

/** The two hooks of clsact: packets that the link receives, packets that it sends (TC_H_MIN_INGRESS, TC_H_MIN_EGRESS). */
export type TcHook = "ingress" | "egress";

/** One filter. */
export interface TcFilter {
  readonly hook: TcHook;
  /** Lower numbers come first. Filters with the same number have the same kind and protocol. */
  readonly priority: number;
  /** Only packets from or to this subnet; null for all packets. Packets with a VLAN tag match no subnet. */
  readonly subnet: Prefix | null;
  /** Without a subnet: only packets with this type of VLAN tag (ETH_P_8021Q, ETH_P_8021AD); 0 for all. */
  readonly tag: number;
  /** Which address of a packet is compared with `subnet`. */
  readonly end: "source" | "destination";
  /** The index of the link that packets are redirected to; 0 to let them pass. */
  readonly through: number;
}

/** A filter as the kernel describes it. */
export interface FoundTcFilter {
  readonly kind: string;
  readonly priority: number;
  /** The index of the link that packets are redirected to, 0 for none. */
  readonly through: number;
  /** The matched subnet as u32 has it, "mask/value@offset ..." in hex digits; "" for all packets. */
  readonly keys: string;
}

/** Writes a request for `tc filter add dev LINK ingress|egress pref N matchall ...`, without a subnet; refused with ENOENT if the kernel lacks it. */
export function writeMatchAll(socket: NetlinkSocket, index: number, filter: TcFilter): void {
  const writer = beginFilter(socket, index, filter, "matchall");
  const options = writer.beginNested(TCA_OPTIONS);
  writeRedirection(writer, TCA_MATCHALL_ACT, filter.through);
  writer.endNested(options);
  writer.end();
}

/** Writes a request for `tc filter add dev LINK ingress|egress pref N u32 match ...`. */
export function writeU32(socket: NetlinkSocket, index: number, filter: TcFilter): void {
  const writer = beginFilter(socket, index, filter, "u32");
  const options = writer.beginNested(TCA_OPTIONS);
  if (filter.through === 0) writer.attributeU32(TCA_U32_CLASSID, SOME_CLASS);
  else writeRedirection(writer, TCA_U32_ACT, filter.through);
  writer.attributeBytes(TCA_U32_SEL, selector(keysOf(filter)));
  writer.endNested(options);
  writer.end();
}

function beginFilter(socket: NetlinkSocket, index: number, filter: TcFilter, kind: string): MessageWriter {
  const writer = socket.request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
  const protocol = protocolOf(filter);
  const information = filter.priority * 0x10000 + (((protocol & 0xff) << 8) | (protocol >> 8));
  writeHeader(writer, index, 0, parentOf(filter.hook), information);
  writer.attributeText(TCA_KIND, kind);
  return writer;
}

function protocolOf({ subnet, tag }: TcFilter): number {
  if (subnet !== null) return subnet.address.family === 4 ? ETH_P_IP : ETH_P_IPV6;
  return tag === 0 ? ETH_P_ALL : tag;
}

/** Writes the one action: struct tc_mirred is index, capab, action, refcnt, bindcnt, eaction, ifindex. */
function writeRedirection(writer: MessageWriter, type: number, through: number): void {
  const actions = writer.beginNested(type);
  const first = writer.beginNested(1);
  writer.attributeText(TCA_ACT_KIND, "mirred");
  const options = writer.beginNested(TCA_ACT_OPTIONS);
  const parameters = new Uint8Array(28);
  const view = new DataView(parameters.buffer);
  view.setUint32(8, TC_ACT_STOLEN, true);
  view.setUint32(20, TCA_EGRESS_REDIR, true);
  view.setUint32(24, through, true);
  writer.attributeBytes(TCA_MIRRED_PARMS, parameters);
  writer.endNested(options);
  writer.endNested(first);
  writer.endNested(actions);
}

/** struct tc_u32_key: four bytes of the packet, in network byte order. */
interface Key {
  readonly mask: Uint8Array;
  readonly value: Uint8Array;
  /** From the beginning of the IP header. */
  readonly offset: number;
}

function keysOf(filter: TcFilter): Key[] {
  const { subnet } = filter;
  const keys: Key[] = [];
  if (subnet !== null) {
    const { bytes, family } = subnet.address;
    const start = family === 4 ? (filter.end === "source" ? 12 : 16) : filter.end === "source" ? 8 : 24;
    for (let at = 0; at < bytes.length && at * 8 < subnet.length; at += 4) {
      const mask = new Uint8Array(4);
      const value = new Uint8Array(4);
      for (let i = 0; i < 4; i += 1) {
        const length = Math.max(0, Math.min(8, subnet.length - (at + i) * 8));
        const octet = (0xff << (8 - length)) & 0xff;
        mask[i] = octet;
        value[i] = (bytes[at + i] ?? 0) & octet;
      }
      keys.push({ mask, value, offset: start + at });
    }
  }
  /* A selector needs a key: this one matches any packet. */
  if (keys.length === 0) keys.push({ mask: new Uint8Array(4), value: new Uint8Array(4), offset: 0 });
  return keys;
}

/** struct tc_u32_sel: flags, offshift, nkeys, padding, offmask, off, offoff, hoff, hmask; then the keys. */
function selector(keys: readonly Key[]): Uint8Array {
  const bytes = new Uint8Array(16 + keys.length * 16);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, TC_U32_TERMINAL);
  view.setUint8(2, keys.length);
  let at = 16;
  for (const key of keys) {
    bytes.set(key.mask, at);
    bytes.set(key.value, at + 4);
    view.setUint32(at + 8, key.offset, true);
    at += 16;
  }
  return bytes;
}

/** The match of a filter, as in `FoundTcFilter.keys`. */
export function describeKeys(filter: TcFilter): string {
  return describeSelector(selector(keysOf(filter)));
}

function describeSelector(bytes: Uint8Array): string {
  let text = "";
  for (let at = 16; at + 16 <= bytes.length; at += 16) {
    const mask = readU32(bytes, at);
    if (mask !== 0) text += `${text === "" ? "" : " "}${mask}/${readU32(bytes, at + 4)}@${readU32(bytes, at + 8)}`;
  }
  return text;
}

/** Writes a request for `tc filter del dev LINK ingress|egress pref N`; refused with ENOENT or EINVAL if there are none, or no clsact. */
export function writeDeleteFilters(socket: NetlinkSocket, index: number, hook: TcHook, priority: number): void {
  const writer = socket.request(RTM_DELTFILTER, 0);
  writeHeader(writer, index, 0, parentOf(hook), priority * 0x10000);
  writer.end();
}

/** The filters that a link has at a hook. @throws NetlinkError */
export function listFilters(socket: NetlinkSocket, index: number, hook: TcHook): FoundTcFilter[] {
  const writer = socket.dump(RTM_GETTFILTER);
  writeHeader(writer, index, 0, parentOf(hook), 0);
  writer.end();
  const filters: FoundTcFilter[] = [];
  for (const { type, body } of socket.list()) {
    if (type !== RTM_NEWTFILTER || readI32(body, 4) !== index) continue;
    const filter = decodeFilter(body);
    if (filter !== null) filters.push(filter);
  }
  return filters;
}

/** Reads the body of an RTM_NEWTFILTER message; null for the head of a list of filters, which is none itself. @throws NetlinkFormatError */
export function decodeFilter(body: Uint8Array): FoundTcFilter | null {
  let kind = "";
  let through = 0;
  let keys = "";
  let complete = false;
  const attributes = new AttributeReader(body, 20);
  while (attributes.next()) {
    if (attributes.type === TCA_KIND) kind = attributes.text();
    if (attributes.type !== TCA_OPTIONS) continue;
    if (kind !== "u32" && kind !== "matchall") complete = true;
    const options = attributes.nested();
    while (options.next()) {
      if (kind === "u32" && options.type === TCA_U32_SEL) {
        keys = describeSelector(options.bytes());
        complete = true;
      } else if (kind === "u32" && options.type === TCA_U32_ACT) {
        through = decodeRedirection(options.nested());
      } else if (kind === "matchall") {
        complete = true;
        if (options.type === TCA_MATCHALL_ACT) through = decodeRedirection(options.nested());
      }
    }
  }
  return complete ? { kind, priority: Math.floor(readU32(body, 16) / 0x10000), through, keys } : null;
}

/** The link that the first action redirects to; 0 for any other action. */
function decodeRedirection(actions: AttributeReader): number {
  if (!actions.next()) return 0;
  const action = actions.nested();
  let kind = "";
  while (action.next()) {
    if (action.type === TCA_ACT_KIND) kind = action.text();
    if (action.type !== TCA_ACT_OPTIONS || kind !== "mirred") continue;
    const options = action.nested();
    while (options.next()) {
      if (options.type !== TCA_MIRRED_PARMS) continue;
      const bytes = options.bytes();
      return readU32(bytes, 20) === TCA_EGRESS_REDIR ? readU32(bytes, 24) : 0;
    }
  }
  return 0;
}

function parentOf(hook: TcHook): number {
  return hook === "ingress" ? 0xfffffff2 : 0xfffffff3;
}
