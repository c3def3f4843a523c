import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isUnicastMac, parseMac } from "../ip/mac.ts";
import { type FormerRecord, formatFormer, NO_SETTINGS, parseFormer, withFormer } from "./former.ts";

const ORIGIN = {
  attachment: { network: "n1", containerId: "a1", ifname: "eth0" },
  ...{ link: 4, netns: "/run/netns/x", device: 5, inode: 4026532000, boot: "b" },
};

const optional = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: null });
const mac = fc
  .array(fc.integer({ min: 0, max: 255 }), { minLength: 6, maxLength: 6 })
  .map((bytes) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":"))
  .filter((text) => isUnicastMac(parseMac(text) as Uint8Array));
const link = fc.record({
  mac: fc.oneof(fc.constant(""), mac),
  promiscuous: optional(fc.boolean()),
  mtu: fc.integer({ min: 0, max: 65535 }),
  allMulticast: optional(fc.boolean()),
  transmitQueue: optional(fc.integer({ min: 0, max: 0xffffffff })),
});
const path = fc.constantFrom("net/core/somaxconn", "net/ipv4/conf/eth0.100/arp_filter", "net/ipv4/é");
const sysctls = fc.array(fc.record({ path, value: fc.string().filter((text) => !text.includes("\u0000")) }));
const record = fc.record({ link, sysctls, origin: fc.constant(ORIGIN) });

describe("a record", () => {
  test("is read as it was written", () => {
    fc.assert(
      fc.property(record, (one) => {
        expect(parseFormer(formatFormer(one))).toEqual(one);
      }),
    );
  });

  test("is the reference suite's with one more field", () => {
    const whole: FormerRecord = {
      link: { mac: "02:00:00:00:00:01", promiscuous: false, mtu: 1500, allMulticast: true, transmitQueue: 0 },
      sysctls: [{ path: "net/core/somaxconn", value: "128" }],
      origin: ORIGIN,
    };
    const { podwire, ...theirs } = JSON.parse(formatFormer(whole));
    expect(theirs).toEqual({ mac: "02:00:00:00:00:01", promisc: false, mtu: 1500, allmulti: true, txQLen: 0 });
    expect(podwire).toEqual({
      ...{ network: "n1", containerID: "a1", ifname: "eth0", link: 4, netns: "/run/netns/x" },
      ...{ device: 5, inode: 4026532000, boot: "b" },
      sysctls: [{ path: "net/core/somaxconn", value: "128" }],
    });
    const text = JSON.stringify(theirs, null, 1);
    expect(parseFormer(text)).toEqual({ link: whole.link, sysctls: [], origin: null });
    expect(parseFormer("{}")).toEqual({ link: NO_SETTINGS, sysctls: [], origin: null });
  });

  const spoilt = (more: object): string => JSON.stringify({ podwire: { network: "n", sysctls: [], ...more } });
  test.each([
    "",
    "x",
    "[]",
    '{"mac":"01:00:5e:00:00:01"}',
    '{"mac":5}',
    '{"mtu":-1}',
    '{"mtu":1e3}',
    '{"promisc":"x"}',
    '{"txQLen":4294967296}',
    '{"podwire":5}',
    spoilt({ sysctls: [{ path: "kernel/core_pattern", value: "|x" }] }),
    spoilt({ sysctls: [{ path: "net/../kernel/core_pattern", value: "|x" }] }),
    spoilt({ sysctls: [{ path: "net/core/a\u0000", value: "1" }] }),
    spoilt({ sysctls: [{ path: "net/core/a", value: "1\u0000" }] }),
    spoilt({ sysctls: [{ path: "net/core/a", value: 1 }] }),
    spoilt({ link: -1 }),
    spoilt({ inode: "x" }),
  ])("that is not valid is none: %s", (text) => {
    expect(parseFormer(text)).toBeNull();
  });

  test("is only what any text makes of it: a record or nothing", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const found = parseFormer(text);
        for (const { path: one } of found?.sysctls ?? []) expect(one.startsWith("net/")).toBe(true);
      }),
    );
  });
});

test("of two records the first one's values count", () => {
  fc.assert(
    fc.property(record, record, (first, second) => {
      const both = withFormer(first, second);
      expect(both.link.mac).toBe(first.link.mac || second.link.mac);
      expect(both.link.mtu).toBe(first.link.mtu || second.link.mtu);
      expect(both.link.promiscuous).toBe(first.link.promiscuous ?? second.link.promiscuous);
      expect(both.sysctls.slice(0, first.sysctls.length)).toEqual(first.sysctls);
      for (const { path: one } of second.sysctls) expect(both.sysctls.map((item) => item.path)).toContain(one);
    }),
  );
});
