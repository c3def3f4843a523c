import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { decodeAddress } from "./address.ts";
import captured from "./captured.json" with { type: "json" };
import { decodeLink } from "./link.ts";
import {
  AttributeReader,
  NetlinkFormatError,
  readBe16,
  readBe32,
  readU8,
  readU16,
  readU32,
  splitMessages,
} from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import netfilter from "./nftables/captured.json" with { type: "json" };
import { decodeChain, decodeElements, decodeRule, decodeTable } from "./nftables/decode.ts";
import { decodeRoute } from "./route.ts";
import { decodePortVlans } from "./vlan.ts";

/** An attribute as a test sees it: a value, or attributes inside. */
interface Attribute {
  readonly type: number;
  readonly value: Uint8Array | readonly Attribute[];
}

const leaf = fc.record({ type: fc.integer({ min: 0, max: 0x3fff }), value: fc.uint8Array({ maxLength: 40 }) });
const attributes: fc.Arbitrary<readonly Attribute[]> = fc.array(
  fc.oneof(leaf, fc.record({ type: fc.integer({ min: 0, max: 0x3fff }), value: fc.array(leaf, { maxLength: 4 }) })),
  { maxLength: 8 },
);

function write(writer: MessageWriter, list: readonly Attribute[]): void {
  for (const { type, value } of list) {
    if (value instanceof Uint8Array) {
      writer.attributeBytes(type, value);
    } else {
      const nested = writer.beginNested(type);
      write(writer, value);
      writer.endNested(nested);
    }
  }
}

/** Reads what `like` describes: bytes do not say whether they hold attributes. */
function read(reader: AttributeReader, like: readonly Attribute[]): Attribute[] {
  const list: Attribute[] = [];
  for (const { value } of like) {
    expect(reader.next()).toBe(true);
    const inner = value instanceof Uint8Array ? new Uint8Array(reader.bytes()) : read(reader.nested(), value);
    list.push({ type: reader.type, value: inner });
  }
  expect(reader.next()).toBe(false);
  return list;
}

test("what is written is read back: messages, fixed parts, attributes, nested ones", () => {
  const message = fc.record({
    type: fc.integer({ min: 16, max: 0xffff }),
    flags: fc.integer({ min: 0, max: 0xffff }),
    fixed: fc
      .integer({ min: 0, max: 4 })
      .chain((words) => fc.uint8Array({ minLength: words * 4, maxLength: words * 4 })),
    list: attributes,
  });
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 5 }), fc.nat(1000), (messages, first) => {
      const writer = new MessageWriter();
      for (const { type, flags, fixed, list } of messages) {
        writer.begin(type, flags);
        writer.raw(fixed);
        write(writer, list);
        writer.end();
      }
      writer.number(first);
      expect(writer.count).toBe(messages.length);
      const found = splitMessages(writer.bytes);
      expect(found).toHaveLength(messages.length);
      messages.forEach(({ type, flags, fixed, list }, i) => {
        expect(found[i]).toMatchObject({ type, flags, sequence: first + i });
        const body = found[i]?.body ?? new Uint8Array();
        expect(body.subarray(0, fixed.length)).toEqual(fixed);
        expect(read(new AttributeReader(body, fixed.length), list)).toEqual(list);
      });
    }),
  );
});

test("numbers and text", () => {
  const writer = new MessageWriter();
  writer.begin(16, 0);
  writer.attributeU8(1, 0xff);
  writer.attributeU16(2, 0xfffe);
  writer.attributeU32(3, 0xfffffffd);
  writer.attributeText(4, "héllo");
  writer.attributeText(5, "");
  writer.end();
  const [message] = splitMessages(writer.bytes);
  const reader = new AttributeReader(message?.body ?? new Uint8Array(), 0);
  const values: unknown[] = [];
  for (const next of ["u8", "u16", "u32", "text", "text"] as const) {
    reader.next();
    values.push(reader[next]());
  }
  expect(values).toEqual([0xff, 0xfffe, 0xfffffffd, "héllo", ""]);
});

test("numbers in network order", () => {
  const writer = new MessageWriter();
  writer.begin(16, 0);
  writer.attributeBe16(1, 0x1234);
  writer.attributeBe32(2, 0xfedcba98);
  writer.attributeBe32(3, -99);
  writer.attributeBe64(4, 0x8000_0001_0000_0002n);
  writer.end();
  const [message] = splitMessages(writer.bytes);
  expect(message?.flags).toBe(0);
  const reader = new AttributeReader(message?.body ?? new Uint8Array(), 0);
  const values: unknown[] = [];
  for (const next of ["be16", "be32", "be32", "be64"] as const) {
    reader.next();
    values.push(reader[next]());
  }
  expect(values).toEqual([0x1234, 0xfedcba98, 2 ** 32 - 99, 0x8000_0001_0000_0002n]);
  expect(readBe16(Uint8Array.from([0, 1, 2]), 1)).toBe(0x102);
  expect(() => readBe32(Uint8Array.from([0, 1, 2, 3]), 1)).toThrow(NetlinkFormatError);
  expect(() => reader.be64()).not.toThrow();
});

test("flags added to the message begun last", () => {
  const writer = new MessageWriter();
  for (const flags of [1, 0x401]) {
    writer.begin(16, flags);
    writer.u32(0);
    writer.end();
  }
  writer.addFlags(4);
  expect(splitMessages(writer.bytes).map((message) => message.flags)).toEqual([1, 0x405]);
});

test("an attribute that is shorter than what is read from it", () => {
  const writer = new MessageWriter();
  writer.begin(16, 0);
  writer.attributeU8(7, 1);
  writer.end();
  const reader = new AttributeReader(splitMessages(writer.bytes)[0]?.body ?? new Uint8Array(), 0);
  reader.next();
  expect(() => reader.u16()).toThrow(new NetlinkFormatError("attribute 7 has 1 bytes, expected 2"));
  expect(() => reader.u32()).toThrow(NetlinkFormatError);
});

test.each([
  ["a length below the header's", [3, 0, 1, 0]],
  ["a length past the end", [9, 0, 1, 0, 1, 2, 3, 4]],
])("an attribute with %s", (_name, bytes) => {
  expect(() => new AttributeReader(Uint8Array.from(bytes), 0).next()).toThrow(NetlinkFormatError);
});

test("a message longer than what was received, and one shorter than its header", () => {
  const header = (length: number) => Uint8Array.from([length, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect(() => splitMessages(header(17))).toThrow("netlink message of 17 bytes where 16 are left");
  expect(() => splitMessages(header(15))).toThrow(NetlinkFormatError);
});

test("reads of the fixed part past the end", () => {
  const bytes = Uint8Array.from([1, 2, 3]);
  expect(readU16(bytes, 0)).toBe(0x201);
  for (const readPast of [
    () => readU8(bytes, 3),
    () => readU16(bytes, 2),
    () => readU32(bytes, 0),
    () => readU8(bytes, -1),
  ]) {
    expect(readPast).toThrow(NetlinkFormatError);
  }
});

/**
 * The compiled program ends at once if a byte array is read past its end, so every such read is looked for: the decoders
 * work on a stand-in that throws another error for it.
 */
describe("no bytes make a decoder read past their end", () => {
  const originals = new WeakMap<object, Uint8Array>();

  function guarded(bytes: Uint8Array): Uint8Array {
    const proxy = new Proxy(bytes, {
      get(target, key) {
        if (typeof key === "string" && /^-?\d+$/.test(key)) {
          const index = Number(key);
          if (index < 0 || index >= target.length) throw new RangeError(`read at ${index} of ${target.length} bytes`);
          return target[index];
        }
        if (key === "subarray") return (from: number, to: number) => guarded(target.subarray(from, to));
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    originals.set(proxy, bytes);
    return proxy;
  }

  beforeEach(() => {
    const Real = TextDecoder;
    vi.stubGlobal(
      "TextDecoder",
      class {
        decode(bytes: Uint8Array): string {
          return new Real().decode(originals.get(bytes) ?? bytes);
        }
      },
    );
  });

  afterEach(() => {
    vi.unstubAllGlobals();
  });

  type Decoder = (body: Uint8Array) => unknown;
  const ROUTE_DECODERS: readonly Decoder[] = [decodeLink, decodePortVlans, decodeAddress, decodeRoute];
  const NETFILTER_DECODERS: readonly Decoder[] = [decodeTable, decodeChain, decodeRule, decodeElements];
  const DECODERS = [...ROUTE_DECODERS, ...NETFILTER_DECODERS];
  /** The longest answer of each kind. */
  const NETFILTER = ["000a", "030a", "060a", "0c0a"].flatMap((type) => {
    const answers = Object.values(netfilter.answered).flat();
    const ofType = answers.filter((hex) => hex.slice(8, 12) === type);
    return ofType.toSorted((a, b) => b.length - a.length).slice(0, 1);
  });

  /** Decodes; only a NetlinkFormatError may come of it. */
  function decode(bytes: Uint8Array, decoders: readonly Decoder[]): void {
    const attempt = (action: () => unknown): void => {
      try {
        action();
      } catch (error) {
        if (!(error instanceof NetlinkFormatError)) throw error;
      }
    };
    for (const decoder of decoders) attempt(() => decoder(guarded(bytes)));
    attempt(() => splitMessages(guarded(bytes)).map((message) => decoders.map((decoder) => decoder(message.body))));
  }

  test.each(Object.entries(captured.received))("every prefix of the kernel's answer to %s", (_name, hex) => {
    const bytes = new Uint8Array(Buffer.from(hex, "hex"));
    for (let length = 0; length <= bytes.length; length += 1) decode(bytes.subarray(0, length), ROUTE_DECODERS);
    /* The body of the first message by itself. */
    for (let length = 16; length <= bytes.length; length += 1) decode(bytes.subarray(16, length), ROUTE_DECODERS);
  });

  test.each(NETFILTER)("every prefix of nf_tables' answer %s", (hex) => {
    const bytes = new Uint8Array(Buffer.from(hex, "hex"));
    for (let length = 16; length <= bytes.length; length += 1) decode(bytes.subarray(16, length), NETFILTER_DECODERS);
  });

  test("any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => decode(bytes, DECODERS)),
      { numRuns: 2000 },
    );
  });

  test("the kernel's answers with some bytes changed", () => {
    const answers = [...Object.values(captured.received), ...NETFILTER].map(
      (hex) => new Uint8Array(Buffer.from(hex, "hex")),
    );
    const change = fc.tuple(fc.nat(400), fc.nat(255));
    fc.assert(
      fc.property(fc.constantFrom(...answers), fc.array(change, { minLength: 1, maxLength: 4 }), (answer, changes) => {
        const bytes = answer.slice(0, 500);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        decode(bytes.subarray(16), DECODERS);
        decode(bytes, DECODERS);
      }),
      { numRuns: 500 },
    );
  });
});
