/**
 * The messages of a long listing, read as 32-bit words where they were received: of tens of thousands no objects are made.
 * Netlink aligns messages and attributes to four bytes, so that the head of an attribute (its length with this head in
 * bytes, and 65,536 times its type) is one word (include/uapi/linux/netlink.h). Words are in the machine's order, as in
 * codec.ts. Pure.
 */
import { ADDRESS_WORDS, putIpv4 } from "../ip/words.ts";
import { NetlinkFormatError } from "./message-reader.ts";
import { NLM_F_DUMP_INTR } from "./netlink.ts";

/** Takes messages of a listing, with their headers: the words [from, to). */
export type RowsHandler = (words: Int32Array, from: number, to: number) => void;

export const HEADER_WORDS = 4;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLA_TYPE_MASK = 0x3fff;

/** Messages of a listing that stand one behind the other. */
export interface Rows {
  /** The word behind the last of them. */
  readonly to: number;
  /** Whether one of them says that the listing is not of one moment. */
  readonly interrupted: boolean;
}

/**
 * The messages from a word on that are rows of the listing with a sequence number, up to the first one that is not.
 * @param end the word behind all that was received
 * @throws NetlinkFormatError
 */
export function rowsFrom(words: Int32Array, from: number, end: number, sequence: number): Rows {
  let interrupted = false;
  let at = from;
  while (at < end) {
    const next = behindMessage(words, at, end);
    const head = words[at + 1] ?? 0;
    const type = head & 0xffff;
    if ((words[at + 2] ?? 0) !== sequence || type === NLMSG_ERROR || type === NLMSG_DONE) break;
    if (((head >>> 16) & NLM_F_DUMP_INTR) !== 0) interrupted = true;
    at = next;
  }
  return { to: at, interrupted };
}

/** The word behind a message. @throws NetlinkFormatError if it does not end before `end` */
export function behindMessage(words: Int32Array, at: number, end: number): number {
  const length = at + HEADER_WORDS > end ? 0 : (words[at] ?? 0);
  const next = at + ((length + 3) >>> 2);
  if (length < HEADER_WORDS * 4 || next > end) throw malformed("message", length, at, end);
  return next;
}

/** The word behind an attribute. @param head its first word @throws NetlinkFormatError if it does not end before `end` */
export function behindAttribute(head: number, at: number, end: number): number {
  const length = head & 0xffff;
  const next = at + ((length + 3) >>> 2);
  if (length < 4 || next > end) throw malformed("attribute", length, at, end);
  return next;
}

function malformed(what: string, length: number, at: number, end: number): NetlinkFormatError {
  return new NetlinkFormatError(`${what} of ${length} bytes where ${(end - at) * 4} are left`);
}

/** The type of an attribute. @param head its first word */
export function typeOf(head: number): number {
  return (head >>> 16) & NLA_TYPE_MASK;
}

/** A word of bytes in network order, as a number of any sign. */
export function networkOrder(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** The number that the attribute at a word holds. The caller knows that it is there. @throws NetlinkFormatError if it is shorter */
export function numberIn(words: Int32Array, at: number): number {
  const length = (words[at] ?? 0) & 0xffff;
  if (length < 8) throw new NetlinkFormatError(`attribute of ${length} bytes, expected 8`);
  return words[at + 1] ?? 0;
}

/** Reads the attribute at a word if it is an IP address; false if it is not. The caller knows that it is there. */
export function readIpRow(words: Int32Array, at: number, target: Int32Array, targetAt: number): boolean {
  const length = (words[at] ?? 0) & 0xffff;
  if (length === 8) {
    putIpv4(target, targetAt, networkOrder(words[at + 1] ?? 0));
    return true;
  }
  if (length !== 20) return false;
  for (let i = 0; i < ADDRESS_WORDS; i += 1) target[targetAt + i] = networkOrder(words[at + 1 + i] ?? 0);
  return true;
}

/** The words of a message's body, for what reads rows. */
export function wordsOf(body: Uint8Array): Int32Array {
  const words = new Int32Array((body.length + 3) >>> 2);
  for (let i = 0; i < body.length; i += 1) {
    words[i >>> 2] = (words[i >>> 2] ?? 0) | ((body[i] ?? 0) << ((i & 3) * 8));
  }
  return words;
}
