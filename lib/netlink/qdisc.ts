/**
 * Queueing disciplines of links (include/uapi/linux/rtnetlink.h struct tcmsg, pkt_sched.h): the token bucket filter that
 * holds a rate, the fair queue below it, and clsact, where filters of both directions are attached.
 */
import { AttributeReader, readU32 } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE } from "./netlink.ts";
import type { NetlinkSocket } from "./socket.ts";
import { AF_UNSPEC } from "./rtnetlink.ts";

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;

export const TCA_KIND = 1;
export const TCA_OPTIONS = 2;

const TC_H_ROOT = 0xffffffff;
const TC_H_CLSACT = 0xfffffff1;
const CLSACT_HANDLE = 0xffff0000;

const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_PRATE64 = 5;
const TCA_TBF_BURST = 6;
const TCA_TBF_PBURST = 7;

const TCA_FQ_CODEL_TARGET = 1;
const TCA_FQ_CODEL_LIMIT = 2;
const TCA_FQ_CODEL_INTERVAL = 3;

const TC_LINKLAYER_ETHERNET = 1;
const MAX_U32 = 0xffffffff;
/** The unit of the kernel's times in queueing messages (PSCHED_SHIFT in net/pkt_sched.h). */
const NS_PER_TICK = 64;
/** A peak rate at which no packet takes a nanosecond: only the size that comes with it counts. */
const NO_PEAK = 2 ** 44;

/** The handle of our shapers' queueing disciplines ("pw"): nobody gets it by counting. */
export const SHAPER_HANDLE = 0x70770000;

/** A token bucket filter. */
export interface TokenBucket {
  readonly rateBytesPerSecond: number;
  /** What may pass at once after a pause; at most 2^32 - 1. */
  readonly burstBytes: number;
  /** What may wait. */
  readonly queueBytes: number;
  /** Packets that are longer, because the sender leaves the cutting to the link, are cut before they wait; 0: if they exceed the burst. */
  readonly packetBytes: number;
}

/** The fair queue that waits in the token bucket's place, where the kernel has one. */
export interface FairQueue {
  readonly packets: number;
  readonly targetUs: number;
  readonly intervalUs: number;
}

/** A queueing discipline as the kernel describes it. */
export interface Qdisc {
  /** "tbf", "noqueue", "fq_codel", ... */
  readonly kind: string;
  /** The major number in the upper half; 0 for those that the kernel attaches by itself. */
  readonly handle: number;
  readonly bucket: ReadBucket | null;
}

/** A token bucket as it is read: the burst is told as the time in which it fills, in ticks, of which the kernel tells the lower 32 bits. */
export interface ReadBucket {
  readonly rateBytesPerSecond: number;
  readonly burstTicks: number;
  readonly queueBytes: number;
}

/** Writes a request that makes a token bucket filter a link's root, or changes it if it is there; see `SHAPER_HANDLE`. */
export function writeTokenBucket(socket: NetlinkSocket, index: number, bucket: TokenBucket): void {
  const { rateBytesPerSecond: rate, packetBytes } = bucket;
  const writer = socket.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
  writeHeader(writer, index, SHAPER_HANDLE, TC_H_ROOT, 0);
  writer.attributeText(TCA_KIND, "tbf");
  const options = writer.beginNested(TCA_OPTIONS);
  const parameters = new Uint8Array(36);
  const view = new DataView(parameters.buffer);
  writeRate(view, 0, rate);
  if (packetBytes > 0) writeRate(view, 12, NO_PEAK);
  view.setUint32(24, Math.min(bucket.queueBytes, MAX_U32), true);
  writer.attributeBytes(TCA_TBF_PARMS, parameters);
  writer.attributeBytes(TCA_TBF_RATE64, u64(rate));
  writer.attributeU32(TCA_TBF_BURST, Math.min(bucket.burstBytes, MAX_U32));
  if (packetBytes > 0) {
    writer.attributeBytes(TCA_TBF_PRATE64, u64(NO_PEAK));
    writer.attributeU32(TCA_TBF_PBURST, packetBytes);
  }
  writer.endNested(options);
  writer.end();
}

/** Writes struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate. Tables of times are for kernels before 3.8. */
function writeRate(view: DataView, at: number, rate: number): void {
  view.setUint8(at + 1, TC_LINKLAYER_ETHERNET);
  view.setUint32(at + 8, Math.min(rate, MAX_U32), true);
}

/** Writes a request that puts a fair queue below our token bucket filter; refused with ENOENT if the kernel has none. */
export function writeFairQueue(socket: NetlinkSocket, index: number, queue: FairQueue): void {
  const writer = socket.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
  writeHeader(writer, index, SHAPER_HANDLE + 0x10000, SHAPER_HANDLE + 1, 0);
  writer.attributeText(TCA_KIND, "fq_codel");
  const options = writer.beginNested(TCA_OPTIONS);
  writer.attributeU32(TCA_FQ_CODEL_LIMIT, queue.packets);
  writer.attributeU32(TCA_FQ_CODEL_INTERVAL, queue.intervalUs);
  writer.attributeU32(TCA_FQ_CODEL_TARGET, queue.targetUs);
  writer.endNested(options);
  writer.end();
}

/** Writes a request for the place where filters are attached; refused with EEXIST if it or the older ingress is there. */
export function writeClsact(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  writeHeader(writer, index, CLSACT_HANDLE, TC_H_CLSACT, 0);
  writer.attributeText(TCA_KIND, "clsact");
  writer.end();
}

/** Writes a request that gives a link its default root back. */
export function writeDeleteRoot(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_DELQDISC, 0);
  writeHeader(writer, index, 0, TC_H_ROOT, 0);
  writer.end();
}

/** The root queueing discipline of a link; null if it is none or one that the kernel has attached by itself and does not tell. */
export function getRoot(socket: NetlinkSocket, index: number): Qdisc | null {
  return getQdisc(socket, index, TC_H_ROOT);
}

/** Whether a link has a place where filters are attached. */
export function hasClsact(socket: NetlinkSocket, index: number): boolean {
  return getQdisc(socket, index, TC_H_CLSACT) !== null;
}

function getQdisc(socket: NetlinkSocket, index: number, parent: number): Qdisc | null {
  let found: Qdisc | null = null;
  /* Without "echo" the kernel answers those who listen for changes, but not who has asked. */
  const writer = socket.request(RTM_GETQDISC, NLM_F_ECHO);
  writeHeader(writer, index, 0, parent, 0);
  writer.end();
  /* A link that has gone meanwhile has none, either. */
  socket.exchange((message) => {
    if (message.type === RTM_NEWQDISC) found = decodeQdisc(message.body);
  });
  return found;
}

/** Reads the body of an RTM_NEWQDISC message. @throws NetlinkFormatError */
export function decodeQdisc(body: Uint8Array): Qdisc {
  let kind = "";
  let bucket: ReadBucket | null = null;
  const attributes = new AttributeReader(body, 20);
  while (attributes.next()) {
    if (attributes.type === TCA_KIND) kind = attributes.text();
    else if (attributes.type === TCA_OPTIONS && kind === "tbf") bucket = decodeBucket(attributes.nested());
  }
  return { kind, handle: readU32(body, 8), bucket };
}

function decodeBucket(attributes: AttributeReader): ReadBucket {
  let rate = 0;
  let rate64 = 0;
  let queueBytes = 0;
  let burstTicks = 0;
  while (attributes.next()) {
    if (attributes.type === TCA_TBF_PARMS) {
      const bytes = attributes.bytes();
      rate = readU32(bytes, 8);
      queueBytes = readU32(bytes, 24);
      burstTicks = readU32(bytes, 28);
    } else if (attributes.type === TCA_TBF_RATE64) {
      const bytes = attributes.bytes();
      rate64 = readU32(bytes, 0) + readU32(bytes, 4) * 0x1_0000_0000;
    }
  }
  return { rateBytesPerSecond: Math.max(rate, rate64), burstTicks, queueBytes };
}

/** The time in which a bucket fills, in ticks, as the kernel tells it. */
export function burstTicks(bucket: TokenBucket): number {
  const ticks = Math.floor((bucket.burstBytes * 1e9) / bucket.rateBytesPerSecond / NS_PER_TICK);
  return ticks % 0x1_0000_0000;
}

/** Writes struct tcmsg: family, padding, link, handle, parent, and what the kind of message needs. */
export function writeHeader(
  writer: MessageWriter,
  index: number,
  handle: number,
  parent: number,
  information: number,
): void {
  writer.u8(AF_UNSPEC);
  writer.u8(0);
  writer.u16(0);
  writer.u32(index);
  writer.u32(handle);
  writer.u32(parent);
  writer.u32(information);
}

/** A whole number up to 2^53 as the eight bytes of a 64-bit attribute. */
function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, value % 0x1_0000_0000, true);
  view.setUint32(4, Math.floor(value / 0x1_0000_0000), true);
  return bytes;
}
