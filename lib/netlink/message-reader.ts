/**
 * Reading netlink messages and attributes (include/uapi/linux/netlink.h). Every read is checked against the length of what
 * is read. Numbers are in the machine's byte order, which on every supported machine is little-endian, except those with
 * "be" in their function's name: netfilter's attributes are in network byte order. Long dumps are read by rows.ts.
 */
import { ATTRIBUTE_HEADER_BYTES, MESSAGE_HEADER_BYTES, NLA_TYPE_MASK } from "./netlink.ts";

/** Bytes from the kernel that are not a well-formed message. A sound kernel never sends any. */
export class NetlinkFormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NetlinkFormatError";
  }
}

/** One message from the kernel. `body` is what follows the netlink header. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** The messages in some of the bytes that were received. @throws NetlinkFormatError */
export function splitMessages(bytes: Uint8Array): Message[] {
  const messages: Message[] = [];
  let at = 0;
  while (at + MESSAGE_HEADER_BYTES <= bytes.length) {
    const length = readU32(bytes, at);
    if (length < MESSAGE_HEADER_BYTES || at + length > bytes.length) {
      throw new NetlinkFormatError(`netlink message of ${length} bytes where ${bytes.length - at} are left`);
    }
    messages.push({
      type: readU16(bytes, at + 4),
      flags: readU16(bytes, at + 6),
      sequence: readU32(bytes, at + 8),
      body: bytes.subarray(at + MESSAGE_HEADER_BYTES, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** Goes over the attributes in some bytes. Each read throws a NetlinkFormatError if the attribute is too short for it. */
export class AttributeReader {
  readonly #bytes: Uint8Array;
  #next: number;
  #at = 0;
  #length = 0;
  #type = 0;

  /** @param offset where the attributes begin: after the fixed part of the message */
  constructor(bytes: Uint8Array, offset: number) {
    this.#bytes = bytes;
    this.#next = align(offset);
  }

  /** Goes to the next attribute; false at the end. @throws NetlinkFormatError */
  next(): boolean {
    const bytes = this.#bytes;
    const at = this.#next;
    if (at + ATTRIBUTE_HEADER_BYTES > bytes.length) return false;
    /* Not by readU16: dumps have tens of thousands of attributes. */
    const length = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > bytes.length) {
      throw new NetlinkFormatError(`attribute of ${length} bytes where ${bytes.length - at} are left`);
    }
    this.#type = ((bytes[at + 2] ?? 0) | ((bytes[at + 3] ?? 0) << 8)) & NLA_TYPE_MASK;
    this.#at = at + ATTRIBUTE_HEADER_BYTES;
    this.#length = length - ATTRIBUTE_HEADER_BYTES;
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

  /** The 32-bit word in network byte order that begins `at` bytes into the attribute, as a signed number. */
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

  /** The text up to its NUL. */
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

/** The text up to its NUL, or to the end. */
export function textOf(bytes: Uint8Array): string {
  let length = 0;
  while (length < bytes.length && bytes[length] !== 0) length += 1;
  return new TextDecoder().decode(bytes.subarray(0, length));
}

/** One byte of the fixed part of a message. @throws NetlinkFormatError if the message ends before it, as do those below */
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

function align(length: number): number {
  return (length + 3) & ~3;
}
