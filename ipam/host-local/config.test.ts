import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, it } from "vitest";
import { readConfig } from "../../lib/cni/config.ts";
import { formatAddress } from "../../lib/ip/address.ts";
import { formatSpans } from "../../lib/ip/range.ts";
import { dataDirOf, readHostLocal } from "./config.ts";

function config(ipam: unknown, more: object = {}) {
  return readConfig(new TextEncoder().encode(JSON.stringify({ cniVersion: "1.1.0", name: "net", ipam, ...more })));
}

function sets(ipam: unknown, more: object = {}): string[] {
  return readHostLocal(config(ipam, more), "").sets.map((set) => formatSpans(set.ranges));
}

describe("ranges", () => {
  it("default to all of the network except the network and broadcast addresses", () => {
    expect(sets({ subnet: "10.0.0.0/30" })).toEqual(["10.0.0.1-10.0.0.2"]);
    expect(sets({ subnet: "fd00::/126" })).toEqual(["fd00::1-fd00::3"]);
    expect(sets({ SUBNET: "10.0.0.0/24", rangestart: "10.0.0.0", RangeEnd: "10.0.0.255" })).toEqual([
      "10.0.0.1-10.0.0.254",
    ]);
    expect(() => sets({ subnet: "10.0.0.0/24", rangeStart: "10.0.0.255", rangeEnd: "10.0.0.255" })).toThrow(
      "invalid range set 0: no usable address in network 10.0.0.0/24 within the range",
    );
  });

  it("are both addresses of a subnet of two, and the one of a single address", () => {
    const range = (ipam: unknown) => {
      const [found] = readHostLocal(config(ipam), "").sets[0]?.ranges ?? [];
      const gateway = found?.gateway ?? null;
      return `${formatSpans(found === undefined ? [] : [found])} ${gateway === null ? "none" : formatAddress(gateway)}`;
    };
    expect(range({ subnet: "10.0.0.4/31" })).toBe("10.0.0.4-10.0.0.5 10.0.0.5");
    expect(range({ subnet: "10.0.0.4/31", gateway: "10.0.0.4" })).toBe("10.0.0.4-10.0.0.5 10.0.0.4");
    expect(range({ subnet: "fd00::4/127" })).toBe("fd00::4-fd00::5 fd00::5");
    expect(range({ subnet: "10.0.0.4/32" })).toBe("10.0.0.4-10.0.0.4 none");
    expect(range({ subnet: "fd00::4/128", gateway: "fe80::1" })).toBe("fd00::4-fd00::4 fe80::1");
  });

  it("are at most a thousand in all sets together", () => {
    const range = (i: number) => ({ subnet: `10.${i >> 8}.${i & 255}.0/24` });
    const ranges = (count: number) => Array.from({ length: count }, (_, i) => range(i));
    expect(sets({ ranges: [ranges(1000)] })).toHaveLength(1);
    const tooMany = "there are 1001 ranges, at most 1000 are allowed";
    expect(() => sets({ ranges: [ranges(1001)] })).toThrow(tooMany);
    expect(() => sets({ ranges: ranges(1001).map((one) => [one]) })).toThrow(tooMany);
  });

  it("stay within any network, as ipaddr.js computes it", () => {
    const networks = fc.tuple(fc.ipV4(), fc.integer({ min: 1, max: 30 }));
    fc.assert(
      fc.property(networks, ([address, length]) => {
        const network = ipaddr.IPv4.networkAddressFromCIDR(`${address}/${length}`).toString();
        const broadcast = ipaddr.IPv4.broadcastAddressFromCIDR(`${address}/${length}`).toString();
        const [set] = readHostLocal(config({ subnet: `${network}/${length}` }), "").sets;
        const range = set?.ranges[0];
        if (range === undefined) throw new Error("no range");
        const number = (text: string) => ipaddr.IPv4.parse(text).octets.reduce((sum, octet) => sum * 256 + octet, 0);
        expect(number(formatAddress(range.first))).toBe(number(network) + 1);
        expect(number(formatAddress(range.last))).toBe(number(broadcast) - 1);
        expect(formatAddress(range.gateway ?? range.last)).toBe(formatAddress(range.first));
      }),
    );
  });

  it("are in the order ipRanges, keys directly under ipam, ranges", () => {
    const more = { runtimeConfig: { ipRanges: [[{ subnet: "10.3.0.0/24" }]] } };
    const ipam = { ranges: [[{ subnet: "10.1.0.0/24" }, { subnet: "10.4.0.0/24" }]], subnet: "10.2.0.0/24" };
    expect(sets(ipam, more)).toEqual([
      "10.3.0.1-10.3.0.254",
      "10.2.0.1-10.2.0.254",
      "10.1.0.1-10.1.0.254,10.4.0.1-10.4.0.254",
    ]);
  });
});

describe("requested addresses", () => {
  it("are assigned to the set that holds them; a duplicate counts once", () => {
    const ipam = { ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "fd00::/64" }], [{ subnet: "10.2.0.0/24" }]] };
    const more = { runtimeConfig: { ips: ["fd00::5", "10.2.0.9/8"] }, args: { cni: { ips: ["10.2.0.9"] } } };
    const requested = readHostLocal(config(ipam, more), "MAC=02:00:00:00:00:01;IP=10.2.0.9").sets.map(
      (set) => set.requested,
    );
    expect(requested.map((address) => (address === null ? null : formatAddress(address)))).toEqual([
      null,
      "fd00::5",
      "10.2.0.9",
    ]);
  });
});

describe("the data directory", () => {
  it("must be absolute", () => {
    const relative = config({ dataDir: "leases", subnet: "10.1.0.0/24" });
    expect(() => readHostLocal(relative, "")).toThrow(/"ipam\.dataDir": expected an absolute path, found "leases"/);
  });

  it("is read from an invalid configuration as well", () => {
    expect(dataDirOf(config({ dataDir: "/x", ranges: 5 }))).toBe("/x");
    for (const ipam of [undefined, null, "text", {}, { dataDir: 7 }, { dataDir: "" }, { dataDir: null }]) {
      expect(dataDirOf(config(ipam))).toBe("/var/lib/cni/networks");
    }
  });
});
