/**
 * Queueing disciplines of links (include/uapi/linux/rtnetlink.h struct tcmsg, pkt_sched.h): the token bucket filter that
 * holds a rate, the fair queue below it, and clsact, where filters of both directions are attached.
 */
import { AttributeReader, readU32 } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE } from "./netlink.ts";
import { AF_UNSPEC } from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

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
/** A peak rate without effect: only the size that belongs to it matters. */
const NO_PEAK = 2 ** 44;

/** The handle of our shapers ("pw"): too high for handles that are given in sequence. */
export const SHAPER_HANDLE = 0x70770000;

/** A token bucket filter. */
export interface TokenBucket {
  readonly rateBytesPerSecond: number;
  /** How much may be sent at once after a pause; at most 2^32 - 1. */
  readonly burstBytes: number;
  /** The length of the queue. */
  readonly queueBytes: number;
  /** Longer packets (segmentation offload) are segmented before they are queued; 0: only those longer than the burst. */
  readonly packetBytes: number;
}

/** The fair queue (fq_codel) inside the token bucket filter, for kernels that have it. */
export interface FairQueue {
  readonly packets: number;
  readonly targetUs: number;
  readonly intervalUs: number;
}

/** A queueing discipline as the kernel describes it. */
export interface Qdisc {
  /** "tbf", "noqueue", "fq_codel", ... */
  readonly kind: string;
  /** The major number is the upper half; 0 for those that the kernel attaches by default. */
  readonly handle: number;
  readonly bucket: ReadBucket | null;
}

/** A token bucket as the kernel sends it: the burst is the time in which the bucket fills, in ticks, modulo 2^32. */
export interface ReadBucket {
  readonly rateBytesPerSecond: number;
  readonly burstTicks: number;
  readonly queueBytes: number;
}

/** Writes a request for `tc qdisc replace dev LINK root handle 7077: tbf ...`. */
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

/** Writes struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate. Kernels before 3.8 also need rate tables. */
function writeRate(view: DataView, at: number, rate: number): void {
  view.setUint8(at + 1, TC_LINKLAYER_ETHERNET);
  view.setUint32(at + 8, Math.min(rate, MAX_U32), true);
}

/** Writes a request for `tc qdisc replace dev LINK parent 7077:1 handle 7078: fq_codel ...`; refused with ENOENT if the kernel lacks it. */
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

/** Writes a request for `tc qdisc add dev LINK clsact`; refused with EEXIST if clsact or the older ingress is there. */
export function writeClsact(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  writeHeader(writer, index, CLSACT_HANDLE, TC_H_CLSACT, 0);
  writer.attributeText(TCA_KIND, "clsact");
  writer.end();
}

/** Writes a request for `tc qdisc del dev LINK root`: the link gets its default qdisc. */
export function writeDeleteRoot(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_DELQDISC, 0);
  writeHeader(writer, index, 0, TC_H_ROOT, 0);
  writer.end();
}

/** The root qdisc of a link; null if it has none, or a default one that the kernel does not list. */
export function getRoot(socket: NetlinkSocket, index: number): Qdisc | null {
  return getQdisc(socket, index, TC_H_ROOT);
}

/** Whether a link has clsact. */
export function hasClsact(socket: NetlinkSocket, index: number): boolean {
  return getQdisc(socket, index, TC_H_CLSACT) !== null;
}

function getQdisc(socket: NetlinkSocket, index: number, parent: number): Qdisc | null {
  let found: Qdisc | null = null;
  /* Without NLM_F_ECHO the kernel sends the answer only to sockets that listen for changes. */
  const writer = socket.request(RTM_GETQDISC, NLM_F_ECHO);
  writeHeader(writer, index, 0, parent, 0);
  writer.end();
  /* Refused if there is none, or if the link has been deleted. */
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

/** The time in which a bucket fills, in ticks modulo 2^32, as in `ReadBucket`. */
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
