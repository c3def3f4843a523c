/**
 * Writing netlink messages (include/uapi/linux/netlink.h). Numbers are in the machine's byte order, which on every
 * supported machine is little-endian, except those with "be" in their function's name: netfilter's attributes are in
 * network byte order.
 */

import { readU16, readU32 } from "./message-reader.ts";
import { ATTRIBUTE_HEADER_BYTES, MESSAGE_HEADER_BYTES, NLA_F_NESTED } from "./netlink.ts";

/** Writes messages one after the other, to be sent at once. */
export class MessageWriter {
  #bytes = new Uint8Array(1024);
  #length = 0;
  #start = 0;
  #count = 0;

  /** How many messages were begun. */
  get count(): number {
    return this.#count;
  }

  /** How many bytes were written. */
  get length(): number {
    return this.#length;
  }

  /** All that was written; a view, valid until more is written. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Drops all that was written. */
  reset(): void {
    this.#length = 0;
    this.#count = 0;
  }

  /** Begins a message. Its length is set by `end`, its sequence number by `number`. */
  begin(type: number, flags: number): void {
    this.#count += 1;
    const at = this.#extend(MESSAGE_HEADER_BYTES);
    this.#start = at;
    putU16(this.#bytes, at + 4, type);
    putU16(this.#bytes, at + 6, flags);
    putU32(this.#bytes, at + 8, 0);
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

  /** Gives the messages, which are all ended, sequence numbers: `first`, `first` + 1 and so on. */
  number(first: number): void {
    let at = 0;
    for (let i = 0; i < this.#count; i += 1) {
      putU32(this.#bytes, at + 8, first + i);
      at += (readU32(this.#bytes, at) + 3) & ~3;
    }
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

  /** The words [at, at + count), each in network byte order. */
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

  /** Begins an attribute that holds attributes. @returns the argument for `endNested` */
  beginNested(type: number): number {
    return this.#attribute(type | NLA_F_NESTED);
  }

  /** Begins an attribute with any other content. @returns the argument for `endNested` */
  beginAttribute(type: number): number {
    return this.#attribute(type);
  }

  endNested(at: number): void {
    this.#close(at);
  }

  #attribute(type: number): number {
    const at = this.#extend(ATTRIBUTE_HEADER_BYTES);
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

  /** Adds bytes at the end, not cleared. @returns where they begin */
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

function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 0xff;
  bytes[at + 1] = (value >>> 8) & 0xff;
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  putU16(bytes, at, value);
  putU16(bytes, at + 2, value >>> 16);
}

function putBe16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
}
