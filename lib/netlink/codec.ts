/**
 * Netlink messages and attributes as bytes (include/uapi/linux/netlink.h). All offset arithmetic of the project's netlink
 * code is in this file and, for long listings, in rows.ts; numbers are in the machine's order, which on every supported
 * machine is little-endian, except those with "Be" in their function's name: netfilter's attributes are in network order.
 */

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_ACK_TLVS = 0x200;
/* For messages that make something: */
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const HEADER_LENGTH = 16;
const ATTRIBUTE_HEADER_LENGTH = 4;

/** Bytes from the kernel that are no well-formed message; never seen from a sound kernel. */
export class NetlinkFormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NetlinkFormatError";
  }
}

/** Builds one or more messages behind each other, to be sent at once. */
export class MessageWriter {
  #bytes = new Uint8Array(1024);
  #length = 0;
  #start = 0;
  #count = 0;

  /** How many messages have been begun. */
  get count(): number {
    return this.#count;
  }

  /** All that was written; valid until more is. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Drops all that was written. */
  reset(): void {
    this.#length = 0;
    this.#count = 0;
  }

  /** Begins a message; NLM_F_REQUEST and NLM_F_ACK are added. `sequence` must be the caller's first plus `count`. */
  begin(type: number, flags: number, sequence: number): void {
    this.beginExact(type, flags | NLM_F_REQUEST | NLM_F_ACK, sequence);
  }

  /** Begins a message with exactly these flags. */
  beginExact(type: number, flags: number, sequence: number): void {
    this.#count += 1;
    const at = this.#extend(HEADER_LENGTH);
    this.#start = at;
    putU16(this.#bytes, at + 4, type);
    putU16(this.#bytes, at + 6, flags);
    putU32(this.#bytes, at + 8, sequence);
    putU32(this.#bytes, at + 12, 0);
  }

  /** Ends the message: its length is now known. */
  end(): void {
    putU32(this.#bytes, this.#start, this.#length - this.#start);
    this.#pad();
  }

  /** Sets flags in the header of the message begun last. */
  addFlags(flags: number): void {
    const at = this.#start + 6;
    putU16(this.#bytes, at, readU16(this.#bytes, at) | flags);
  }

  /** How many bytes were written so far. */
  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    const at = this.#extend(1);
    this.#bytes[at] = value & 0xff;
  }

  u16(value: number): void {
    const at = this.#extend(2);
    putU16(this.#bytes, at, value);
  }

  u32(value: number): void {
    const at = this.#extend(4);
    putU32(this.#bytes, at, value);
  }

  be16(value: number): void {
    const at = this.#extend(2);
    putBe16(this.#bytes, at, value);
  }

  /** A number from -2^31 to 2^32 - 1. */
  be32(value: number): void {
    const at = this.#extend(4);
    putBe16(this.#bytes, at, value >>> 16);
    putBe16(this.#bytes, at + 2, value);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#extend(bytes.length);
    this.#bytes.set(bytes, at);
  }

  attributeU8(type: number, value: number): void {
    const at = this.#attribute(type);
    this.u8(value);
    this.#close(at);
  }

  attributeU16(type: number, value: number): void {
    const at = this.#attribute(type);
    this.u16(value);
    this.#close(at);
  }

  attributeU32(type: number, value: number): void {
    const at = this.#attribute(type);
    this.u32(value);
    this.#close(at);
  }

  attributeBe16(type: number, value: number): void {
    const at = this.#attribute(type);
    this.be16(value);
    this.#close(at);
  }

  /** A number from -2^31 to 2^32 - 1. */
  attributeBe32(type: number, value: number): void {
    const at = this.#attribute(type);
    this.be32(value);
    this.#close(at);
  }

  attributeBe64(type: number, value: bigint): void {
    const at = this.#attribute(type);
    this.be32(Number((value >> 32n) & 0xffffffffn));
    this.be32(Number(value & 0xffffffffn));
    this.#close(at);
  }

  attributeBytes(type: number, value: Uint8Array): void {
    const at = this.#attribute(type);
    this.raw(value);
    this.#close(at);
  }

  /** 32-bit words in network order, which an Int32Array holds as numbers. */
  attributeWords(type: number, words: Int32Array, at: number, count: number): void {
    const begin = this.#attribute(type);
    for (let i = at; i < at + count; i += 1) this.be32(words[i] ?? 0);
    this.#close(begin);
  }

  /** Text with a terminating NUL. */
  attributeText(type: number, value: string): void {
    const at = this.#attribute(type);
    this.raw(new TextEncoder().encode(value));
    this.u8(0);
    this.#close(at);
  }

  /** Begins an attribute that holds attributes, and returns what `endNested` wants. */
  beginNested(type: number): number {
    return this.#attribute(type | NLA_F_NESTED);
  }

  /** Begins an attribute of any other content. */
  beginAttribute(type: number): number {
    return this.#attribute(type);
  }

  endNested(at: number): void {
    this.#close(at);
  }

  #attribute(type: number): number {
    const at = this.#extend(ATTRIBUTE_HEADER_LENGTH);
    putU16(this.#bytes, at + 2, type);
    return at;
  }

  #close(at: number): void {
    putU16(this.#bytes, at, this.#length - at);
    this.#pad();
  }

  #pad(): void {
    const missing = -this.#length & 3;
    if (missing === 0) return;
    const at = this.#extend(missing);
    for (let i = at; i < at + missing; i += 1) this.#bytes[i] = 0;
  }

  /** Makes room for more at the end, whatever stands there, and returns where it begins. */
  #extend(length: number): number {
    const at = this.#length;
    const end = at + length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, end));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#length = end;
    return at;
  }
}

/** Writes two bytes, for which there is room. */
function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 0xff;
  bytes[at + 1] = (value >>> 8) & 0xff;
}

/** One message from the kernel. `body` is what follows the netlink header. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** Splits what one receive returned into messages. @throws NetlinkFormatError */
export function splitMessages(bytes: Uint8Array): Message[] {
  const messages: Message[] = [];
  let at = 0;
  while (at + HEADER_LENGTH <= bytes.length) {
    const length = readU32(bytes, at);
    if (length < HEADER_LENGTH || at + length > bytes.length) {
      throw new NetlinkFormatError(`netlink message of ${length} bytes where ${bytes.length - at} are left`);
    }
    messages.push({
      type: readU16(bytes, at + 4),
      flags: readU16(bytes, at + 6),
      sequence: readU32(bytes, at + 8),
      body: bytes.subarray(at + HEADER_LENGTH, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** Walks over the attributes in a stretch of bytes; every read is checked against the attribute's own length. */
export class AttributeReader {
  readonly #bytes: Uint8Array;
  #next: number;
  #at = 0;
  #length = 0;
  #type = 0;

  /** @param offset where the attributes begin: behind the message's fixed part */
  constructor(bytes: Uint8Array, offset: number) {
    this.#bytes = bytes;
    this.#next = align(offset);
  }

  /** Goes to the next attribute; false at the end. @throws NetlinkFormatError */
  next(): boolean {
    const bytes = this.#bytes;
    const at = this.#next;
    if (at + ATTRIBUTE_HEADER_LENGTH > bytes.length) return false;
    /* Read here, not by readU16: listings have tens of thousands of attributes. */
    const length = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
    if (length < ATTRIBUTE_HEADER_LENGTH || at + length > bytes.length) {
      throw new NetlinkFormatError(`attribute of ${length} bytes where ${bytes.length - at} are left`);
    }
    this.#type = ((bytes[at + 2] ?? 0) | ((bytes[at + 3] ?? 0) << 8)) & NLA_TYPE_MASK;
    this.#at = at + ATTRIBUTE_HEADER_LENGTH;
    this.#length = length - ATTRIBUTE_HEADER_LENGTH;
    this.#next = align(at + length);
    return true;
  }

  get type(): number {
    return this.#type;
  }

  /** How many bytes the attribute holds. */
  get length(): number {
    return this.#length;
  }

  /** A 32-bit word in network order, `at` bytes into the attribute, as a number of any sign. @throws NetlinkFormatError */
  wordAt(at: number): number {
    if (at < 0 || at + 4 > this.#length) throw tooShort(this.#type, this.#length, at + 4);
    const bytes = this.#bytes;
    const from = this.#at + at;
    const high = ((bytes[from] ?? 0) << 24) | ((bytes[from + 1] ?? 0) << 16);
    return high | ((bytes[from + 2] ?? 0) << 8) | (bytes[from + 3] ?? 0);
  }

  u8(): number {
    return readU8(this.#window(1), 0);
  }

  u16(): number {
    return readU16(this.#window(2), 0);
  }

  u32(): number {
    return readU32(this.#window(4), 0);
  }

  be16(): number {
    return readBe16(this.#window(2), 0);
  }

  be32(): number {
    return readBe32(this.#window(4), 0);
  }

  be64(): bigint {
    const bytes = this.#window(8);
    return (BigInt(readBe32(bytes, 0)) << 32n) | BigInt(readBe32(bytes, 4));
  }

  /** The attribute's bytes; a view, valid until the next receive. */
  bytes(): Uint8Array {
    return this.#window(0);
  }

  /** Text up to its NUL. */
  text(): string {
    return textOf(this.#window(0));
  }

  nested(): AttributeReader {
    return new AttributeReader(this.#window(0), 0);
  }

  #window(atLeast: number): Uint8Array {
    if (this.#length < atLeast) throw tooShort(this.#type, this.#length, atLeast);
    return this.#bytes.subarray(this.#at, this.#at + this.#length);
  }
}

function tooShort(type: number, length: number, expected: number): NetlinkFormatError {
  return new NetlinkFormatError(`attribute ${type} has ${length} bytes, expected ${expected}`);
}

/** Text up to its NUL, or to the end. */
export function textOf(bytes: Uint8Array): string {
  let length = 0;
  while (length < bytes.length && bytes[length] !== 0) length += 1;
  return new TextDecoder().decode(bytes.subarray(0, length));
}

/** One byte of a message's fixed part. @throws NetlinkFormatError past the end */
export function readU8(bytes: Uint8Array, at: number): number {
  if (at < 0 || at >= bytes.length) throw endsBefore(bytes, at);
  return bytes[at] ?? 0;
}

function endsBefore(bytes: Uint8Array, at: number): NetlinkFormatError {
  return new NetlinkFormatError(`message of ${bytes.length} bytes ends before ${at}`);
}

export function readU16(bytes: Uint8Array, at: number): number {
  if (at < 0 || at + 2 > bytes.length) throw endsBefore(bytes, at + 1);
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
}

export function readU32(bytes: Uint8Array, at: number): number {
  if (at < 0 || at + 4 > bytes.length) throw endsBefore(bytes, at);
  const high = (bytes[at + 2] ?? 0) | ((bytes[at + 3] ?? 0) << 8);
  return ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)) + high * 0x10000;
}

export function readI32(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) | 0;
}

export function readBe16(bytes: Uint8Array, at: number): number {
  if (at < 0 || at + 2 > bytes.length) throw endsBefore(bytes, at + 1);
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function readBe32(bytes: Uint8Array, at: number): number {
  return readBe16(bytes, at) * 0x10000 + readBe16(bytes, at + 2);
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  putU16(bytes, at, value);
  putU16(bytes, at + 2, value >>> 16);
}

function putBe16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
}

function align(length: number): number {
  return (length + 3) & ~3;
}
