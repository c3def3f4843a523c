import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, test } from "vitest";
import {
  type Address,
  addressOf,
  bits,
  compareAddresses,
  contains,
  type Family,
  formatAddress,
  formatPrefix,
  lastOf,
  networkOf,
  overlap,
  type Prefix,
  parseAddress,
  parsePrefix,
  rangeSize,
  sameAddress,
  step,
} from "./address.ts";

/* IPv6 bytes that are often zero or all ones, where the rules of RFC 5952 and carries matter. */
const byte = fc.oneof(fc.constantFrom(0, 0, 0, 0xff, 1), fc.nat({ max: 255 }));
const bytes4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
const bytes6 = fc.array(byte, { minLength: 16, maxLength: 16 }).map((list) => new Uint8Array(list));
const v4 = bytes4.map(addressOf);
const v6 = bytes6.map(addressOf);
const address = fc.oneof(v4, v6);
const prefix: fc.Arbitrary<Prefix> = address.chain((value) =>
  fc.nat({ max: bits(value.family) }).map((length) => ({ address: value, length })),
);
/* Two of a family that are often near each other. */
const twoPrefixes = fc.oneof(
  fc.tuple(prefix, prefix),
  prefix.chain((first) =>
    fc
      .tuple(fc.constant(first), fc.nat({ max: bits(first.address.family) }), fc.nat({ max: 15 }))
      .map(([a, length, at]) => {
        const bytes = Uint8Array.from(a.address.bytes);
        bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ 1;
        return [a, { address: addressOf(bytes), length }] as [Prefix, Prefix];
      }),
  ),
);

const oracle = (value: Address) => ipaddr.fromByteArray([...value.bytes]);

function numberOf(value: Address): bigint {
  return BigInt(`0x${Buffer.from(value.bytes).toString("hex")}`);
}

function must(text: string): Address {
  const value = parseAddress(text);
  if (value === null) throw new Error(`not an address: ${text}`);
  return value;
}

describe("text", () => {
  test("IPv4 is printed and read as ipaddr.js does", () => {
    fc.assert(
      fc.property(v4, (value) => {
        expect(formatAddress(value)).toBe(oracle(value).toString());
        expect(parseAddress(formatAddress(value))).toEqual(value);
      }),
    );
  });

  test("IPv6 is printed as RFC 5952 has it and read back", () => {
    fc.assert(
      fc.property(v6, (value) => {
        const text = formatAddress(value);
        const other = ipaddr.parse(text) as ipaddr.IPv6;
        expect(other.toByteArray()).toEqual([...value.bytes]);
        expect(parseAddress(text)).toEqual(value);
        if (!other.isIPv4MappedAddress()) expect(text).toBe(other.toRFC5952String());
      }),
      { numRuns: 2000 },
    );
  });

  test("every other spelling of an IPv6 address is read alike", () => {
    fc.assert(
      fc.property(v6, (value) => {
        const other = oracle(value) as ipaddr.IPv6;
        expect(parseAddress(other.parts.map((part) => part.toString(16).padStart(4, "0")).join(":"))).toEqual(value);
        expect(parseAddress(other.toNormalizedString())).toEqual(value);
        expect(parseAddress(other.toNormalizedString().toUpperCase())).toEqual(value);
        const groups = other.toNormalizedString().split(":");
        const dotted = [...value.bytes.subarray(12)].join(".");
        expect(parseAddress(`${groups.slice(0, 6).join(":")}:${dotted}`)).toEqual(value);
      }),
    );
  });

  test.each([
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
    ["::ffff:102:304", "::ffff:1.2.3.4"],
    ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
  ])("%s is %s", (text, canonical) => {
    expect(formatAddress(must(text))).toBe(canonical);
  });

  test.each([
    "",
    " ",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "1.2.3.04",
    "01.2.3.4",
    "1.2.3.-4",
    "1.2.3.+4",
    " 1.2.3.4",
    "1.2.3.4 ",
    "1.2.3.",
    ".1.2.3",
    "1..2.3",
    "0x1.2.3.4",
    "1.2.3.4/24",
    "1.2.3.a",
    "٣.2.3.4",
    ":",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "::1::",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "::1.2.3",
    "::1.2.3.4.5",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "1:2:3:4:5:6:7:1.2.3.4",
    "[::1]",
    "::-1",
    ":: ",
    "::\u0000",
    "1:2:3:4:5:6:7:8:",
    "::01234",
  ])("%j is no address", (text) => {
    expect(parseAddress(text)).toBeNull();
  });

  test("refuses what ipaddr.js refuses, and reads the same where both accept", () => {
    const character = fc.constantFrom(..."0123456789abcdefF:::...%/ g-".split(""));
    fc.assert(
      fc.property(
        fc.array(character, { maxLength: 24 }).map((list) => list.join("")),
        (text) => {
          const value = parseAddress(text);
          if (value === null) return;
          expect(ipaddr.isValid(text), text).toBe(true);
          expect(ipaddr.parse(text).toByteArray()).toEqual([...value.bytes]);
        },
      ),
      { numRuns: 20_000 },
    );
  });

  test("prefixes", () => {
    fc.assert(
      fc.property(prefix, (value) => {
        expect(parsePrefix(formatPrefix(value))).toEqual(value);
      }),
    );
    for (const text of [
      "",
      "/",
      "/24",
      "1.2.3.4",
      "1.2.3.4/",
      "1.2.3.4/33",
      "1.2.3.4/-1",
      "1.2.3.4/024",
      "1.2.3.4/2 ",
      "1.2.3.4/1/2",
      "::/129",
      "::/1000",
      "1.2.3.4/255.255.255.0",
      "1.2.3.4/a",
      "1.2.3.4/+8",
    ]) {
      expect(parsePrefix(text), text).toBeNull();
    }
  });
});

describe("arithmetic", () => {
  test("the order is IPv4 before IPv6, then by number", () => {
    fc.assert(
      fc.property(address, address, (a, b) => {
        const expected =
          a.family !== b.family
            ? a.family - b.family
            : numberOf(a) < numberOf(b)
              ? -1
              : numberOf(a) > numberOf(b)
                ? 1
                : 0;
        expect(Math.sign(compareAddresses(a, b))).toBe(Math.sign(expected));
        expect(sameAddress(a, b)).toBe(expected === 0);
        expect(sameAddress(a, addressOf(a.bytes))).toBe(true);
      }),
    );
  });

  test("a step is one up or down and wraps round", () => {
    fc.assert(
      fc.property(address, (value) => {
        const size = 1n << BigInt(bits(value.family));
        expect(numberOf(step(value, 1))).toBe((numberOf(value) + 1n) % size);
        expect(numberOf(step(value, -1))).toBe((numberOf(value) - 1n + size) % size);
        expect(step(step(value, 1), -1)).toEqual(value);
      }),
      { numRuns: 1000 },
    );
    expect(formatAddress(step(must("255.255.255.255"), 1))).toBe("0.0.0.0");
    expect(formatAddress(step(must("::"), -1))).toBe("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    expect(formatAddress(step(must("10.0.0.255"), 1))).toBe("10.0.1.0");
  });

  test("the first and last address of a network", () => {
    fc.assert(
      fc.property(prefix, (value) => {
        const kind = value.address.family === 4 ? ipaddr.IPv4 : ipaddr.IPv6;
        const text = formatPrefix({ address: value.address, length: value.length });
        expect([...networkOf(value).bytes]).toEqual(kind.networkAddressFromCIDR(text).toByteArray());
        expect([...lastOf(value).bytes]).toEqual(kind.broadcastAddressFromCIDR(text).toByteArray());
      }),
      { numRuns: 1000 },
    );
  });

  test("a network holds an address exactly if ipaddr.js matches it", () => {
    fc.assert(
      fc.property(twoPrefixes, ([network, other]) => {
        const same = network.address.family === other.address.family;
        const expected =
          same && (oracle(other.address) as ipaddr.IPv4).match(oracle(network.address) as ipaddr.IPv4, network.length);
        expect(contains(network, other.address)).toBe(expected);
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(prefix, (network) => {
        expect(contains(network, networkOf(network))).toBe(true);
        expect(contains(network, lastOf(network))).toBe(true);
      }),
    );
  });

  test("networks overlap exactly if their ranges do", () => {
    fc.assert(
      fc.property(twoPrefixes, ([a, b]) => {
        const expected =
          a.address.family === b.address.family &&
          numberOf(networkOf(a)) <= numberOf(lastOf(b)) &&
          numberOf(networkOf(b)) <= numberOf(lastOf(a));
        expect(overlap(a, b)).toBe(expected);
        expect(overlap(b, a)).toBe(expected);
      }),
      { numRuns: 2000 },
    );
  });

  test("the size of a range", () => {
    fc.assert(
      fc.property(fc.oneof(fc.tuple(v4, v4), fc.tuple(v6, v6)), ([first, last]) => {
        const expected = numberOf(last) - numberOf(first) + 1n;
        const found = rangeSize(first, last);
        if (expected > -(2n ** 53n) && expected < 2n ** 53n) expect(found).toBe(Number(expected));
        else expect(Math.abs(found / Number(expected) - 1)).toBeLessThan(1e-9);
      }),
      { numRuns: 2000 },
    );
    expect(rangeSize(must("10.0.0.1"), must("10.0.0.254"))).toBe(254);
    expect(rangeSize(must("::"), must("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))).toBe(2 ** 128);
    expect(rangeSize(must("2001:db8::1"), must("2001:db8::1"))).toBe(1);
    expect(rangeSize(must("2001:db8::2"), must("2001:db8::1"))).toBe(0);
    expect(rangeSize(must("2001:db8:ffff::"), must("2001:db8:ffff::5"))).toBe(6);
  });

  test("values are not shared with their source", () => {
    const bytes = new Uint8Array([10, 0, 0, 1]);
    const value = addressOf(bytes);
    bytes[3] = 9;
    expect(formatAddress(value)).toBe("10.0.0.1");
    step(value, 1);
    networkOf({ address: value, length: 8 });
    expect(formatAddress(value)).toBe("10.0.0.1");
  });

  test("bits of a family", () => {
    expect(([4, 6] as Family[]).map(bits)).toEqual([32, 128]);
  });
});
