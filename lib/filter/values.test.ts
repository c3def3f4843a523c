import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addressOf, formatAddress } from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import {
  NFT_GOTO,
  type NftSet,
  TYPE_INET_PROTO,
  TYPE_INET_SERVICE,
  TYPE_VERDICT,
} from "../netlink/nftables/objects.ts";
import { elementOf, formatData, formatVerdict, parseVerdict } from "./elements.ts";
import { decodeValues, encodeValues, fieldsNamed, LanguageError } from "./values.ts";

/** Texts of each type as they come out of decodeValues. */
const TEXTS: Record<string, fc.Arbitrary<string>> = {
  ipv4_addr: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => formatAddress(addressOf(bytes))),
  ipv6_addr: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => formatAddress(addressOf(bytes))),
  ether_addr: fc.uint8Array({ minLength: 6, maxLength: 6 }).map(formatMac),
  inet_proto: fc.constantFrom("tcp", "udp", "sctp", "icmp", "ipv6-icmp", "99", "255", "0"),
  inet_service: fc.nat({ max: 65535 }).map(String),
  mark: fc.nat({ max: 2 ** 32 - 1 }).map(String),
  ct_state: fc.constantFrom("new", "established", "10"),
  ifname: fc.constantFrom("eth0", "eth0.100", "a", "veth0123456789a", "br-a.b", "čárka"),
};

function bytes(types: string, text: string): string {
  return Buffer.from(encodeValues(fieldsNamed(types), text)).toString("hex");
}

function setOf(key: string, data: string): NftSet {
  return { family: 1, table: "t", name: "s", key: fieldsNamed(key), data: data === "" ? [] : fieldsNamed(data) };
}

describe("encodeValues", () => {
  test("as nft sends elements", () => {
    expect(bytes("inet_proto . inet_service", "tcp . 8080")).toBe("060000001f900000");
    expect(bytes("ipv4_addr . inet_service", "10.1.0.5 . 80")).toBe("0a01000500500000");
    expect(bytes("ifname . ether_addr", "veth1 . 00:11:22:33:44:55")).toBe(
      "76657468310000000000000000000000" + "0011223344550000",
    );
    expect(bytes("inet_service", "80")).toBe("0050");
    expect(bytes("mark", "0x1")).toBe("01000000");
    expect(bytes("ct_state", "new,established")).toBe("0a000000");
  });

  test.each([
    ["inet_service", "65536"],
    ["inet_service", "080"],
    ["inet_service", ""],
    ["inet_service", "0x"],
    ["inet_service", "0x12345"],
    ["inet_proto", "256"],
    ["inet_proto", "tcp=6 udp"],
    ["mark", "4294967296"],
    ["mark", "0x100000000"],
    ["mark", "-1"],
    ["ipv4_addr", "::1"],
    ["ipv4_addr", "01.1.1.1"],
    ["ipv4_addr", "10.0.0.0/8"],
    ["ipv6_addr", "1.1.1.1"],
    ["ether_addr", "00:11:22:33:44"],
    ["ifname", "0123456789abcdef"],
    ["ifname", "a b"],
    ["ifname", "eth*"],
    ["ifname", ".."],
    ["ifname", ""],
    ["ct_state", "new,"],
    ["verdict", "drop "],
    ["inet_proto . inet_service", "tcp"],
    ["inet_proto . inet_service", "tcp . 80 . 90"],
  ])("refuses for %s: %j", (types, text) => {
    expect(() => bytes(types, text)).toThrow(LanguageError);
  });

  test("what is encoded is decoded", () => {
    const types = fc.array(fc.constantFrom(...Object.keys(TEXTS)), { minLength: 1, maxLength: 5 });
    const cases = types.chain((names) =>
      fc.tuple(fc.constant(names), fc.tuple(...names.map((name) => TEXTS[name] ?? fc.constant("")))),
    );
    fc.assert(
      fc.property(cases, ([names, texts]) => {
        const fields = fieldsNamed(names.join(" . "));
        expect(decodeValues(fields, encodeValues(fields, texts.join(" . ")))).toBe(texts.join(" . "));
      }),
    );
  });
});

describe("decodeValues", () => {
  test("never fails, whatever the kernel holds", () => {
    const field = fc.record({ type: fc.nat({ max: 45 }), length: fc.nat({ max: 20 }) });
    fc.assert(
      fc.property(fc.array(field, { maxLength: 5 }), fc.uint8Array({ maxLength: 64 }), (fields, data) => {
        expect(typeof decodeValues(fields, data)).toBe("string");
      }),
    );
    expect(decodeValues([{ type: 99, length: 6 }], new Uint8Array([1, 2, 3, 4, 5, 6]))).toBe("0x010203040506");
    expect(decodeValues(fieldsNamed("inet_proto . inet_service"), new Uint8Array([17, 0, 0, 0, 0, 53, 0, 0]))).toBe(
      "udp . 53",
    );
  });
});

describe("elements", () => {
  test("fields have nft's numbers", () => {
    expect(fieldsNamed("inet_proto . inet_service")).toEqual([
      { type: TYPE_INET_PROTO, length: 1 },
      { type: TYPE_INET_SERVICE, length: 2 },
    ]);
    expect(fieldsNamed("verdict")[0]?.type).toBe(TYPE_VERDICT);
    expect(() => fieldsNamed("inet_proto. inet_service")).toThrow(LanguageError);
  });

  test("of sets, maps and verdict maps", () => {
    const set = elementOf(setOf("ipv4_addr", ""), "10.1.0.5", "", "pod");
    expect(set).toEqual({ key: new Uint8Array([10, 1, 0, 5]), data: null, verdict: null, comment: "pod" });
    const map = setOf("inet_proto . inet_service", "ipv4_addr . inet_service");
    expect(formatData(map, elementOf(map, "tcp . 8080", "10.1.0.5 . 80", ""))).toBe("10.1.0.5 . 80");
    const verdicts = setOf("ifname", "verdict");
    const jump = elementOf(verdicts, "eth0", "goto check_mac", "");
    expect(jump.verdict).toEqual({ code: NFT_GOTO, chain: "check_mac" });
    expect(jump.data).toBeNull();
    expect(formatData(verdicts, jump)).toBe("goto check_mac");
  });

  test("verdicts", () => {
    for (const text of ["drop", "accept", "return", "jump x", "goto masquerade-net-abc.x"]) {
      expect(formatVerdict(parseVerdict(text))).toBe(text);
    }
    for (const text of ["", "jump", "goto ", "drop x", "goto a b", "reject"]) {
      expect(() => parseVerdict(text)).toThrow(LanguageError);
    }
  });
});
