/** Rows read as words say what the messages say that the writer made, and what the reader of attributes reads. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Address, formatAddress } from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import { addressAt, isIpv4At } from "../ip/words.ts";
import { ipAddress } from "./address.ts";
import { decodeFdb, decodeNeighbour } from "./entries/neighbours.ts";
import { decodeRoute } from "./entries/routes.ts";
import { EntryTable } from "./entries/table.ts";
import { AttributeReader, splitMessages } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";

import { type Addresses, decodeAddresses } from "./nftables/address-sets.ts";
import { behindAttribute, behindMessage, HEADER_WORDS, networkOrder, rowsFrom, typeOf, wordsOf } from "./rows.ts";

const OURS = 112;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_BRIDGE = 7;

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const address = fc.oneof(bytes(4), bytes(16));
/* The types that the decoders know among others, with any content. */
const attribute = fc.tuple(
  fc.oneof(fc.integer({ min: 0, max: 24 }), fc.constantFrom(0x8001, 0x4005)),
  fc.oneof(address, bytes(6), fc.uint8Array({ maxLength: 9 })),
);
const attributes = fc.array(attribute, { maxLength: 8 });

/** A message's body: its fixed part and its attributes. */
function bodyOf(fixed: readonly number[], pairs: readonly (readonly [number, Uint8Array])[]): Uint8Array {
  const writer = new MessageWriter();
  writer.begin(1, 0);
  for (const byte of fixed) writer.u8(byte);
  for (const [type, value] of pairs) writer.attributeBytes(type, value);
  writer.end();
  return splitMessages(writer.bytes)[0]?.body.slice() ?? new Uint8Array();
}

/** What the last attribute of each type holds, read by the general reader. */
function lastOf(body: Uint8Array, offset: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const reader = new AttributeReader(body, offset);
  while (reader.next()) found.set(reader.type, reader.bytes());
  return found;
}

const isAddress = (value: Uint8Array | undefined): value is Uint8Array => value?.length === 4 || value?.length === 16;
const text = (value: Uint8Array): string => formatAddress(ipAddress(value) as Address);
const number = (value: Uint8Array | undefined): number =>
  value === undefined || value.length < 4 ? 0 : Buffer.from(value).readUInt32LE(0);

function decoded(body: Uint8Array, decode: (words: Int32Array, at: number, end: number, into: EntryTable) => void) {
  const table = new EntryTable(0);
  const words = wordsOf(body);
  decode(words, 0, words.length, table);
  return table.count === 0 ? null : table.entry(0);
}

/** Whether each type that a decoder takes stands there once at most: of two, decoders may take parts of both. */
const isPlain = (pairs: readonly (readonly [number, Uint8Array])[], ...types: number[]): boolean =>
  types.every((type) => pairs.filter(([other]) => (other & 0x3fff) === type).length < 2);

describe("decoders of rows read what the reader of attributes reads", () => {
  const ndmsg = (family: number, state: number): number[] => [family, 0, 0, 0, 7, 0, 0, 0, state, 0, 2, 0];

  test("forwarding entries", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(AF_BRIDGE, AF_INET),
        fc.constantFrom(0x80, 0xc0, 2),
        attributes,
        (family, state, all) => {
          fc.pre(isPlain(all, 1, 2));
          const body = bodyOf(ndmsg(family, state), all);
          const found = lastOf(body, 12);
          const host = found.get(1);
          const mac = found.get(2);
          const expected = {
            kind: "fdb",
            mac: formatMac(mac?.length === 6 ? mac : new Uint8Array(6)),
            host: isAddress(host) ? text(host) : "",
            permanent: (state & 0x80) !== 0,
          };
          const entry = decoded(body, decodeFdb);
          const shown = entry?.kind === "fdb" ? { ...entry, host: formatAddress(entry.host) } : entry;
          expect(shown).toEqual(family === AF_BRIDGE && isAddress(host) ? expected : null);
        },
      ),
    );
  });

  test("neighbours", () => {
    const family = fc.constantFrom(AF_INET, AF_INET6, AF_BRIDGE);
    fc.assert(
      fc.property(family, fc.constantFrom(0x80, 2), attributes, (of, state, all) => {
        fc.pre(isPlain(all, 1, 2, 12));
        const body = bodyOf(ndmsg(of, state), all);
        const found = lastOf(body, 12);
        const of1 = found.get(1);
        const mac = found.get(2);
        const isWanted = state === 0x80 || found.get(12)?.[0] === OURS;
        const entry = decoded(body, (words, at, end, table) => decodeNeighbour(words, at, end, OURS, table));
        const shown = entry?.kind === "neighbour" ? { ...entry, address: formatAddress(entry.address) } : entry;
        expect(shown).toEqual(
          of !== AF_BRIDGE && isAddress(of1) && isWanted
            ? {
                kind: "neighbour",
                address: text(of1),
                mac: formatMac(mac?.length === 6 ? mac : new Uint8Array(6)),
                permanent: state === 0x80,
              }
            : null,
        );
      }),
    );
  });

  test("routes, into tunnels and not", () => {
    const tunnel = fc.option(fc.tuple(fc.nat(0xffffff), address), { nil: null });
    const flags = fc.constantFrom(0, 4);
    fc.assert(
      fc.property(fc.boolean(), fc.nat(255), flags, attributes, tunnel, (isIpv4, protocol, onlink, all, encap) => {
        const others = all.filter(([type]) => (type & 0x3fff) !== 22 && ((type & 0x3fff) !== 1 || isIpv4));
        fc.pre(isPlain(others, 1, 4, 5, 6));
        fc.pre(others.every(([type, value]) => value.length >= 4 || ![4, 6].includes(type & 0x3fff)));
        const id = new Uint8Array(8);
        if (encap !== null) new DataView(id.buffer).setUint32(4, encap[0]);
        const inner =
          encap === null
            ? []
            : bodyOf(
                [],
                [
                  [1, id],
                  [2, encap[1]],
                ],
              );
        const outer: [number, Uint8Array][] = encap === null ? [] : [[0x8000 | 22, Uint8Array.from(inner)]];
        const dst: [number, Uint8Array][] = isIpv4 ? [] : [[1, Uint8Array.from({ length: 16 }, () => 0x20)]];
        const length = isIpv4 ? 24 : 64;
        const fixed = [isIpv4 ? AF_INET : AF_INET6, length, 0, 0, 254, protocol, 0, 1, onlink, 0, 0, 0];
        const body = bodyOf(fixed, [...dst, ...others, ...outer]);
        const found = lastOf(body, 12);
        const entry = decoded(body, decodeRoute);
        const to = found.get(1);
        /* A destination of the other family, or that stands for IPv4. */
        if (isIpv4 && to?.length === 16) {
          expect(entry).toBeNull();
          return;
        }
        const gateway = found.get(5);
        const route = entry?.kind === "route" ? entry.route : null;
        expect(route).toMatchObject({
          link: number(found.get(4)) | 0,
          protocol,
          priority: number(found.get(6)),
          onlink: onlink === 4,
        });
        expect(route?.dst.length).toBe(length);
        expect(formatAddress(route?.dst.address as Address)).toBe(isAddress(to) ? text(to) : "0.0.0.0");
        expect(route?.gateway === null ? null : formatAddress(route?.gateway as Address)).toBe(
          isAddress(gateway) ? text(gateway) : null,
        );
        const seen = route?.tunnel ?? null;
        expect(seen === null ? null : [seen.vni, formatAddress(seen.host)]).toEqual(
          encap === null ? null : [encap[0], text(encap[1])],
        );
      }),
    );
  });

  test("a number that is too short is refused", () => {
    for (const type of [4, 6]) {
      const body = bodyOf([AF_INET, 24, 0, 0, 254, 2, 0, 1, 0, 0, 0, 0], [[type, new Uint8Array(3)]]);
      expect(() => decoded(body, decodeRoute)).toThrow("attribute of 7 bytes, expected 8");
    }
  });

  test("elements of a set", () => {
    fc.assert(
      fc.property(fc.array(address, { maxLength: 6 }), attributes, (keys, others) => {
        const elements = keys.map((key): [number, Uint8Array] => {
          const value = bodyOf([], [[1, key]]);
          return [
            0x8001,
            bodyOf(
              [],
              [
                [3, Uint8Array.of(1)],
                [0x8001, value],
              ],
            ),
          ];
        });
        const around = others.filter(([type]) => (type & 0x3fff) !== 3);
        const body = bodyOf([1, 0, 0, 0], [...around, [0x8003, bodyOf([], elements)], ...around]);
        const words = wordsOf(body);
        const list: Addresses = { words: new Int32Array(0), count: 0 };
        decodeAddresses(words, 0, words.length, list);
        const found = Array.from({ length: list.count }, (_, row) => addressAt(list.words, row * 4));
        expect(found.map(formatAddress)).toEqual(
          keys.map((key) => {
            const mapped = wordsOf(key).length === 4 && isIpv4At(wordsOf(key).map(networkOrder), 0);
            return mapped ? formatAddress(ipAddress(key.subarray(12)) as Address) : text(key);
          }),
        );
      }),
    );
  });
});

describe("messages as words", () => {
  /** Messages of a type, sequence and flags each, behind one another. */
  function messages(...all: readonly (readonly [type: number, sequence: number, flags: number])[]): Int32Array {
    const parts = all.map(([type, sequence, flags]) => {
      const writer = new MessageWriter();
      writer.begin(type, flags);
      writer.u32(0);
      writer.end();
      writer.number(sequence);
      return writer.bytes;
    });
    return wordsOf(Buffer.concat(parts));
  }
  const LENGTH = HEADER_WORDS + 1;

  test("are rows up to the listing's end, an error or an answer to something else", () => {
    for (const stranger of [
      [3, 9, 0],
      [2, 9, 0],
      [24, 8, 0],
    ] as const) {
      const words = messages([24, 9, 2], [24, 9, 2], stranger, [24, 9, 2]);
      expect(rowsFrom(words, 0, words.length, 9)).toEqual({ to: 2 * LENGTH, interrupted: false });
      expect(rowsFrom(words, 2 * LENGTH, words.length, 9)).toEqual({ to: 2 * LENGTH, interrupted: false });
      expect(rowsFrom(words, 3 * LENGTH, words.length, 9)).toEqual({ to: 4 * LENGTH, interrupted: false });
    }
  });

  test("say if the listing is not of one moment", () => {
    const words = messages([24, 9, 2], [24, 9, 0x12]);
    expect(rowsFrom(words, 0, words.length, 9)).toEqual({ to: 2 * LENGTH, interrupted: true });
    expect(rowsFrom(words, 0, LENGTH, 9).interrupted).toBe(false);
  });

  test("that do not end where they should are refused", () => {
    for (const length of [0, 15, 24, -1, 0x7fffffff]) {
      const words = messages([24, 9, 0]);
      words[0] = length;
      expect(() => behindMessage(words, 0, words.length)).toThrow("message of");
    }
    expect(() => behindMessage(messages([24, 9, 0]), 0, 3)).toThrow("message of 0 bytes where 12 are left");
    for (const head of [0, 3, 9]) expect(() => behindAttribute(head, 0, 2)).toThrow("attribute of");
    expect(behindAttribute(8, 0, 2)).toBe(2);
    expect(behindAttribute(5, 0, 2)).toBe(2);
  });

  test("have attributes with flags in their type", () => {
    expect(typeOf(0x8005_0008 | 0)).toBe(5);
    expect(typeOf(0x4005_0008)).toBe(5);
    expect(networkOrder(0x0100007f)).toBe(0x7f000001);
    expect(networkOrder(0xff | 0)).toBe(0xff000000 | 0);
  });
});
