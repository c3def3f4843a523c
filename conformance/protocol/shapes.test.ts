/** What the comparison of results with the specification's shapes finds: it has to fail where a result is wrong. */
import { describe, expect, test } from "vitest";
import { ipamShapeProblems, shapeProblems } from "./shapes.ts";

const NETNS = "/run/netns/pod";

const ip = { address: "10.1.0.5/16", gateway: "10.1.0.1", interface: 1 };
const interfaces = [
  { name: "cni0", mac: "02:00:00:00:00:01" },
  { name: "eth0", mac: "02:00:00:00:00:02", sandbox: NETNS },
];
const dns = { nameservers: ["10.1.0.1", "fd00::1"], domain: "a.example", search: ["b.example"], options: ["ndots:5"] };
const OLDEST = {
  cniVersion: "0.2.0",
  ip4: { ip: "10.1.0.5/16", gateway: "10.1.0.1", routes: [{ dst: "0.0.0.0/0" }] },
  dns,
};
const MIDDLE = { cniVersion: "0.4.0", interfaces, ips: [{ version: "4", ...ip }], routes: [{ dst: "0.0.0.0/0" }], dns };
const MIDDLE_NEW = { cniVersion: "1.0.0", interfaces, ips: [ip], routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }], dns };
const NEWEST = {
  cniVersion: "1.1.0",
  interfaces: [
    { ...interfaces[0], mtu: 1500 },
    { ...interfaces[1], socketPath: "/run/x", pciID: "0000:00:01.0" },
  ],
  ips: [ip],
  routes: [{ dst: "::/0", gw: "fd00::1", mtu: 1400, advmss: 1360, priority: 5, table: 0, scope: 253 }],
};

test("results of every version, with everything that they may hold, are right", () => {
  for (const [result, versions] of [
    [OLDEST, ["0.1.0", "0.2.0"]],
    [MIDDLE, ["0.3.0", "0.3.1", "0.4.0"]],
    [MIDDLE_NEW, ["1.0.0", "1.1.0"]],
    [NEWEST, ["1.1.0"]],
  ] as const) {
    for (const version of versions) {
      expect(shapeProblems({ ...result, cniVersion: version }, version, NETNS)).toEqual([]);
    }
  }
});

describe("wrong is", () => {
  test.each([
    ["another version", { ...MIDDLE, cniVersion: "0.3.1" }, "0.4.0", "result.cniVersion"],
    ["no version", { ...NEWEST, cniVersion: undefined }, "1.1.0", "result.cniVersion"],
    ["an unknown version", { ...NEWEST, cniVersion: "1.2.0" }, "1.2.0", "no shape"],
    ["a newer version's shape", { ...MIDDLE_NEW, cniVersion: "0.4.0" }, "0.4.0", "result.ips[0].version: missing"],
    [
      "an older version's shape",
      { ...MIDDLE, cniVersion: "1.0.0" },
      "1.0.0",
      "result.ips[0].version: not in this version",
    ],
    ["the oldest shape at 0.3.0", { ...OLDEST, cniVersion: "0.3.0" }, "0.3.0", "result.ip4: not in this version"],
    [
      "an MTU before 1.1.0",
      { ...MIDDLE_NEW, interfaces: [{ name: "x", mtu: 1 }], ips: [] },
      "1.0.0",
      "result.interfaces[0].mtu",
    ],
    [
      "a route's table before 1.1.0",
      { ...MIDDLE_NEW, routes: [{ dst: "::/0", table: 1 }] },
      "1.0.0",
      "result.routes[0].table",
    ],
    ["no dns before 1.0.0", { ...MIDDLE, dns: undefined }, "0.4.0", "result.dns"],
    ["a field of ours", { ...NEWEST, podwire: 1 }, "1.1.0", "result.podwire: not in this version"],
    [
      "an address without length",
      { ...MIDDLE_NEW, ips: [{ ...ip, address: "10.1.0.5" }] },
      "1.0.0",
      "result.ips[0].address",
    ],
    [
      "a length beyond the address",
      { ...MIDDLE_NEW, ips: [{ ...ip, address: "10.1.0.5/33" }] },
      "1.0.0",
      "result.ips[0].address",
    ],
    ["ips that are no list", { ...MIDDLE_NEW, ips: ip }, "1.0.0", "result.ips: no list"],
    ["an index as text", { ...MIDDLE_NEW, ips: [{ ...ip, interface: "1" }] }, "1.0.0", "result.ips[0].interface"],
    [
      "an index of nothing",
      { ...MIDDLE_NEW, ips: [{ ...ip, interface: 2 }] },
      "1.0.0",
      "10.1.0.5/16: no such interface",
    ],
    [
      "a gateway of the other IP version",
      { ...MIDDLE_NEW, ips: [{ ...ip, gateway: "fd00::1" }] },
      "1.0.0",
      "10.1.0.5/16: gateway",
    ],
    ["the other IP version named", { ...MIDDLE, ips: [{ ...ip, version: "6" }] }, "0.4.0", "10.1.0.5/16: version"],
    ["a route between IP versions", { ...MIDDLE_NEW, routes: [{ dst: "::/0", gw: "10.1.0.1" }] }, "1.0.0", "::/0: gw"],
    [
      "an interface without name",
      { ...MIDDLE_NEW, interfaces: [{ mac: "02:00:00:00:00:01" }], ips: [] },
      "1.0.0",
      "result.interfaces[0].name",
    ],
    [
      "a MAC in capitals",
      { ...MIDDLE_NEW, interfaces: [{ name: "x", mac: "AA:00:00:00:00:01" }], ips: [] },
      "1.0.0",
      "result.interfaces[0].mac",
    ],
    [
      "another sandbox",
      { ...MIDDLE_NEW, interfaces: [{ name: "x", sandbox: "/y" }], ips: [] },
      "1.0.0",
      "x: sandbox /y",
    ],
    [
      "a name server's name",
      { ...MIDDLE_NEW, dns: { nameservers: ["dns.example"] } },
      "1.0.0",
      "result.dns.nameservers[0]",
    ],
    ["an IPv6 address in ip4", { ...OLDEST, ip4: { ip: "fd00::1/64" } }, "0.2.0", "result.ip4.ip"],
    ["a list", [], "1.1.0", "result: no object"],
  ])("%s", (_name, result, version, where) => {
    const problems = shapeProblems(result, version, NETNS);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(where);
  });

  test("an interface in what IPAM says", () => {
    expect(ipamShapeProblems({ cniVersion: "1.0.0", ips: [{ address: "10.1.0.5/16" }] }, "1.0.0")).toEqual([]);
    const inside = [{ name: "eth0" }];
    const problems = ipamShapeProblems(
      { cniVersion: "1.0.0", interfaces: inside, ips: [{ ...ip, interface: 0 }] },
      "1.0.0",
    );
    expect(problems).toEqual(["result.interfaces: not IPAM's matter", "result.ips: an interface, not IPAM's matter"]);
  });
});
