import { describe, expect, test } from "vitest";
import { EMPTY_DNS, type ResultIp, type ResultRoute, resultRoute } from "../../lib/cni/result.ts";
import { CniError } from "../../lib/errors.ts";
import { formatElement } from "../../lib/filter/record.ts";
import { NO_NAMESPACE } from "../../lib/host/namespace.ts";
import {
  type Address,
  formatAddress,
  formatPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../../lib/ip/address.ts";
import { formatMac } from "../../lib/ip/mac.ts";
import { attachmentNames, OWNER_MARK } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { BridgeConfig } from "./config.ts";
import { completeGateways, completeRoutes, gatewayLink, planBridge, planResult } from "./plan.ts";

const PLAIN: BridgeConfig = {
  bridge: "cni0",
  isGateway: false,
  isDefaultGateway: false,
  forceAddress: false,
  mtu: 0,
  hairpinMode: false,
  promiscMode: false,
  vlan: 0,
  vlanTrunk: [],
  filtersVlans: false,
  preserveDefaultVlan: false,
  groupForwardMask: 0,
  duplicateAddressDetection: false,
  disableContainerInterface: false,
  portIsolation: false,
  ipMasq: false,
  ipMasqBackend: "",
  nonMasqueradeCidrs: [],
  macSpoofCheck: false,
  ipSpoofCheck: false,
  mac: null,
  ipam: "host-local",
  dns: null,
};

const WHO = {
  masqueradeBackend: "nftables" as const,
  owner: { network: "n1", containerId: "c1", ifname: "eth0", plugin: "bridge" },
  netns: NO_NAMESPACE,
  timeMs: 0,
};

const address = (text: string): Address => parseAddress(text) as Address;
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const ip = (text: string, gateway?: string): ResultIp => ({
  interface: null,
  address: prefix(text),
  gateway: gateway === undefined ? null : address(gateway),
});
const route = (dst: string, more: Partial<ResultRoute> = {}): ResultRoute => ({
  ...resultRoute(prefix(dst), null),
  ...more,
});

const names = attachmentNames({ network: "n1", containerId: "c1", ifname: "eth0" });

function plan(
  config: Partial<BridgeConfig>,
  ips: readonly ResultIp[] = [],
  routes: readonly ResultRoute[] = [],
): KernelObject[] {
  const full = { ...PLAIN, ...config };
  const complete = completeGateways(full, ips);
  return planBridge({
    config: full,
    ifname: "eth0",
    names,
    containerMtu: full.mtu,
    ips: complete,
    routes: completeRoutes(full, complete, routes),
    ...WHO,
  });
}

/** An object as one line. */
function line(object: KernelObject): string {
  switch (object.kind) {
    case "sysctl":
      return `${object.where} ${object.path.slice(1).join(".")}=${object.value}`;
    case "up":
      return `${object.where} up ${object.name}${object.promiscuous ? " promiscuous" : ""}`;
    case "arp-notify":
      return `arp-notify ${object.link}`;
    case "address":
      return `address ${formatPrefix(object.address)}${object.nodad ? " nodad" : ""}`;
    case "route":
      return `route ${formatPrefix(object.route.dst)} via ${object.route.gateway === null ? "-" : formatAddress(object.route.gateway)}`;
    case "gateways":
      return `gateways ${object.link} ${object.addresses.map(formatPrefix).join(",")}${object.force ? " force" : ""}`;
    case "forwarding":
      return `forwarding ${object.family}`;
    case "forgotten-neighbour":
      return `forget ${formatAddress(object.address)} on ${object.link}`;
    case "announcement":
      return `announce ${object.containerLink}`;
    case "filter":
    case "free-mac":
    case "guard":
    case "hairpin":
    case "localnet":
    case "flows":
    case "shaper":
    case "redirect":
      return object.kind;
    default:
      return `${object.kind} ${"name" in object ? object.name : ""}`.trimEnd();
  }
}

const lines = (...args: Parameters<typeof plan>): string[] => plan(...args).map(line);
const find = <K extends KernelObject["kind"]>(objects: readonly KernelObject[], kind: K) =>
  objects.find((object) => object.kind === kind) as Extract<KernelObject, { kind: K }>;

test("a requested MAC is compared between the pair and its port, any other one is not", () => {
  const kinds = plan({ mac: new Uint8Array([2, 0, 0, 0, 0, 1]) }).map((object) => object.kind);
  expect(kinds.indexOf("free-mac")).toBe(kinds.indexOf("veth") + 1);
  expect(kinds.indexOf("free-mac")).toBeLessThan(kinds.indexOf("port"));
  expect(plan({}).map((object) => object.kind)).not.toContain("free-mac");
});

test("only a pod with a trunk is a trunk", () => {
  expect(find(plan({ vlan: 5, filtersVlans: true }), "veth").trunk).toBe(false);
  const vlanTrunk = [{ first: 7, last: 7, pvid: false, untagged: false }];
  expect(find(plan({ vlanTrunk, filtersVlans: true }), "veth").trunk).toBe(true);
});

const QUIET = (where: string, link: string): string[] => [
  `${where} ipv6.conf.${link}.accept_ra=0`,
  `${where} ipv6.conf.${link}.autoconf=0`,
];
const WIRED = [
  "bridge cni0",
  ...QUIET("host", "cni0"),
  "host ipv6.conf.cni0.accept_dad=0",
  "host up cni0",
  `veth ${names.hostLink}`,
  ...QUIET("host", names.hostLink),
  `port ${names.hostLink}`,
  "guard",
  ...QUIET("container", "eth0"),
];

describe("the packet filter", () => {
  const both = [ip("10.77.0.5/24"), ip("fd77::5/64")];
  const elements = (config: Partial<BridgeConfig>): string[] =>
    find(plan(config, both), "filter").record.elements.map(formatElement);

  test("is left alone but for the guard unless something is asked for", () => {
    expect(find(plan({ isGateway: true }, both), "filter")).toBeUndefined();
  });

  test("keeps an isolated pod's addresses with the link that leads to it", () => {
    expect(elements({ portIsolation: true })).toEqual([
      "inet podwire isolated4 { 10.77.0.5 . cni0 }",
      "inet podwire isolated6 { fd77::5 . cni0 }",
    ]);
    expect(elements({ portIsolation: true, vlan: 5 })[0]).toBe("inet podwire isolated4 { 10.77.0.5 . cni0.5 }");
    expect(find(plan({ portIsolation: true }), "filter")).toBeUndefined();
  });

  test("masquerades what leaves the pod's subnets and the exempt ranges", () => {
    const { record } = find(plan({ ipMasq: true, nonMasqueradeCidrs: [prefix("10.0.0.0/8")] }, both), "filter");
    const chain = record.chains[0];
    expect(chain?.name).toMatch(/^masquerade-n1-[0-9a-f]{8}$/);
    expect(chain?.rules).toEqual([
      "ip daddr 10.77.0.0/24 return",
      "ip6 daddr fd77::/64 return",
      "ip daddr 10.0.0.0/8 return",
      "ip daddr 224.0.0.0/4 return",
      "ip6 daddr ff00::/8 return",
      "masquerade fully-random",
    ]);
    expect(record.elements.map(formatElement)).toEqual([
      `inet podwire masquerade4 { 10.77.0.5 : goto ${chain?.name} }`,
      `inet podwire masquerade6 { fd77::5 : goto ${chain?.name} }`,
    ]);
  });

  test("other exempt ranges make another chain, the same ones the same", () => {
    const name = (cidr: string, address: string): string | undefined =>
      find(plan({ ipMasq: true, nonMasqueradeCidrs: [prefix(cidr)] }, [ip(address)]), "filter").record.chains[0]?.name;
    expect(name("10.0.0.0/8", "10.77.0.5/24")).toBe(name("10.9.0.0/8", "10.77.0.6/24"));
    expect(name("10.0.0.0/8", "10.77.0.5/24")).not.toBe(name("10.0.0.0/9", "10.77.0.5/24"));
  });

  test("holds the link to its Ethernet address", () => {
    const mac = formatMac(names.containerMac);
    expect(elements({ macSpoofCheck: true })).toEqual([
      `bridge podwire macs { ${names.hostLink} . ${mac} }`,
      `bridge podwire checked_links { ${names.hostLink} : jump check_mac }`,
    ]);
  });

  test("holds the link to its addresses and the link-local one of its Ethernet address", () => {
    const mac = new Uint8Array([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
    expect(elements({ ipSpoofCheck: true, mac })).toEqual([
      `bridge podwire addresses4 { ${names.hostLink} . 10.77.0.5 }`,
      `bridge podwire addresses6 { ${names.hostLink} . fd77::5 }`,
      `bridge podwire addresses6 { ${names.hostLink} . fe80::11:22ff:fe33:4455 }`,
      `bridge podwire checked_links { ${names.hostLink} : jump check_address }`,
    ]);
    expect(elements({ ipSpoofCheck: true, macSpoofCheck: true }).at(-1)).toContain("jump check_both");
  });
});

describe("a plan", () => {
  test("of a network without addresses", () => {
    const wired = WIRED.filter((entry) => !entry.endsWith("accept_dad=0"));
    expect(lines({})).toEqual([...wired, "arp-notify eth0", "container up eth0", "announce eth0"]);
  });

  test("of a default gateway for both families: settings before links come up, shared things last", () => {
    expect(lines({ isGateway: true, isDefaultGateway: true }, [ip("10.77.0.5/24"), ip("fd77::5/64")])).toEqual([
      ...WIRED,
      "container ipv6.conf.lo.disable_ipv6=0",
      "container ipv6.conf.eth0.disable_ipv6=0",
      "container ipv6.conf.eth0.keep_addr_on_down=1",
      "container ipv6.conf.eth0.ndisc_notify=1",
      "container ipv6.conf.eth0.accept_dad=0",
      "arp-notify eth0",
      "address 10.77.0.5/24 nodad",
      "address fd77::5/64 nodad",
      "container up eth0",
      "route 0.0.0.0/0 via 10.77.0.1",
      "route ::/0 via fd77::1",
      "host ipv6.conf.cni0.disable_ipv6=0",
      "gateways cni0 10.77.0.1/24,fd77::1/64",
      "forwarding 4",
      "forwarding 6",
      "forget 10.77.0.5 on cni0",
      "forget fd77::5 on cni0",
      "announce eth0",
    ]);
  });

  test("of IPv4 alone touches no IPv6 address, forwarding or switch", () => {
    const all = lines({ isGateway: true }, [ip("10.77.0.5/24")]);
    expect(all.filter((text) => /disable_ipv6|forwarding 6|fd77|ndisc/.test(text))).toEqual([]);
    expect(all).toContain("forwarding 4");
  });

  test("with duplicates looked for", () => {
    const all = lines({ duplicateAddressDetection: true }, [ip("fd77::5/64")]);
    expect(all).toContain("address fd77::5/64");
    expect(all).toContain("container ipv6.conf.eth0.accept_dad=1");
    expect(all).toContain("container ipv6.conf.eth0.enhanced_dad=1");
    expect(all).not.toContain("host ipv6.conf.cni0.accept_dad=0");
  });

  test("with the container's interface left down ends there", () => {
    const all = lines({ disableContainerInterface: true, ipam: "" });
    expect(all.filter((text) => /container up|announce|route/.test(text))).toEqual([]);
  });

  test("with everything of the port", () => {
    const mac = Uint8Array.from([2, 0, 0, 0, 0, 7]);
    const all = plan(
      {
        mtu: 1400,
        hairpinMode: true,
        portIsolation: true,
        promiscMode: true,
        forceAddress: true,
        isGateway: true,
        mac,
      },
      [ip("10.77.0.5/24")],
    );
    expect(find(all, "bridge")).toMatchObject({ mtu: 1400, vlanFiltering: false });
    expect(find(all, "veth")).toMatchObject({
      mtu: 1400,
      containerMac: mac,
      mac: names.hostMac,
      alias: "podwire n1 c1 eth0",
    });
    expect(find(all, "port")).toMatchObject({ hairpin: true, isolated: true, vlans: null });
    expect(find(all, "announcement")).toMatchObject({ containerMac: mac });
    expect(all.map(line)).toContain("host up cni0 promiscuous");
    expect(all.map(line)).toContain("gateways cni0 10.77.0.1/24 force");
  });

  test("for IPv6 needs an MTU that IPv6 can live with", () => {
    expect(() => plan({ mtu: 1279 }, [ip("fd77::5/64")])).toThrow(CniError);
    expect(() => plan({ mtu: 1280 }, [ip("fd77::5/64")])).not.toThrow();
    expect(() => plan({ mtu: 1279 }, [ip("10.77.0.5/24")])).not.toThrow();
  });
});

describe("VLANs", () => {
  const access = (id: number) => ({ first: id, last: id, pvid: true, untagged: true });
  const tagged = { first: 200, last: 210, pvid: false, untagged: false };

  test.each([
    ["access", { vlan: 100, filtersVlans: true }, [access(100)], true],
    ["trunk: VLAN 1 stays the untagged one", { vlanTrunk: [tagged], filtersVlans: true }, [access(1), tagged], true],
    ["both", { vlan: 100, vlanTrunk: [tagged], filtersVlans: true }, [access(100), tagged], true],
    ["an empty trunk", { filtersVlans: true }, [access(1)], true],
    ["the default VLAN kept", { vlan: 100, filtersVlans: true, preserveDefaultVlan: true }, [access(100)], false],
  ])("%s", (_name, config, vlans, dropDefaultVlan) => {
    const all = plan(config);
    expect(find(all, "bridge").vlanFiltering).toBe(true);
    expect(find(all, "port")).toMatchObject({ vlans, dropDefaultVlan });
  });

  test("the gateway's address is on a link of the VLAN's own", () => {
    const all = plan({ vlan: 100, filtersVlans: true, isGateway: true, mtu: 1400 }, [ip("10.77.0.5/24")]);
    expect(find(all, "vlan-gateway")).toMatchObject({ name: "cni0.100", bridge: "cni0", vlan: 100, mtu: 1400 });
    expect(find(all, "vlan-gateway").alias.startsWith(OWNER_MARK)).toBe(false);
    const all100 = all.map(line);
    expect(all100).toContain("gateways cni0.100 10.77.0.1/24");
    expect(all100).toContain("forget 10.77.0.5 on cni0.100");
    expect(all100.indexOf("host ipv6.conf.cni0.100.accept_ra=0")).toBeLessThan(all100.indexOf("host up cni0.100"));
  });

  test("whose name fits whatever the bridge is called", () => {
    expect(gatewayLink({ ...PLAIN, vlan: 4094, bridge: "cni0" })).toBe("cni0.4094");
    const long = gatewayLink({ ...PLAIN, vlan: 4094, bridge: "a2345678901234" });
    expect(long).toMatch(/^brv[0-9a-f]{12}$/);
    expect(long).not.toBe(gatewayLink({ ...PLAIN, vlan: 4093, bridge: "a2345678901234" }));
  });
});

describe("gateways", () => {
  test.each([
    ["10.77.0.5/24", "10.77.0.1"],
    ["10.77.3.5/22", "10.77.0.1"],
    ["fd77::5/64", "fd77::1"],
    ["10.77.0.5/31", "10.77.0.5"],
  ])("of %s is %s", (text, gateway) => {
    const [complete] = completeGateways({ ...PLAIN, isGateway: true }, [ip(text)]);
    expect(complete?.gateway).toEqual(address(gateway));
  });

  test("IPAM's own stays, and without isGateway none is made up", () => {
    expect(completeGateways({ ...PLAIN, isGateway: true }, [ip("10.77.0.5/24", "10.77.0.9")])[0]?.gateway).toEqual(
      address("10.77.0.9"),
    );
    expect(completeGateways(PLAIN, [ip("10.77.0.5/24")])[0]?.gateway).toBeNull();
  });
});

describe("routes", () => {
  const complete = (config: Partial<BridgeConfig>, ips: ResultIp[], routes: ResultRoute[]) =>
    completeRoutes({ ...PLAIN, ...config }, ips, routes).map(
      (entry) => `${formatPrefix(entry.dst)} ${entry.gw === null ? "-" : formatAddress(entry.gw)}`,
    );
  const IPS = [ip("10.77.0.5/24", "10.77.0.1"), ip("fd77::5/64", "fd77::1")];

  test("a default for each family that has none", () => {
    expect(complete({ isDefaultGateway: true }, IPS, [])).toEqual(["0.0.0.0/0 10.77.0.1", "::/0 fd77::1"]);
    expect(complete({ isDefaultGateway: true }, IPS, [route("0.0.0.0/0")])).toEqual(["0.0.0.0/0 -", "::/0 fd77::1"]);
    expect(complete({}, IPS, [])).toEqual([]);
  });

  test("a default route in another table does not count, table 0 is the main one", () => {
    const other = route("0.0.0.0/0", { table: 100 });
    expect(complete({ isDefaultGateway: true }, IPS.slice(0, 1), [other])).toEqual([
      "0.0.0.0/0 -",
      "0.0.0.0/0 10.77.0.1",
    ]);
    const main = route("0.0.0.0/0", { table: 0 });
    expect(complete({ isDefaultGateway: true }, IPS.slice(0, 1), [main])).toEqual(["0.0.0.0/0 -"]);
  });

  test("the same one twice is one; another priority or table is another one", () => {
    const one = route("192.0.2.0/24");
    const routes = [one, one, route("192.0.2.0/24", { priority: 5 }), route("192.0.2.0/24", { table: 7 })];
    expect(complete({}, IPS, routes)).toHaveLength(3);
  });

  test("one from one IP version to the other is refused", () => {
    const mixed = route("192.0.2.0/24", { gw: address("fd77::9") });
    expect(() => complete({}, IPS, [mixed])).toThrow(/192\.0\.2\.0\/24 has a gateway of the other IP version: fd77::9/);
  });

  test("the same one in other words is one: its gateway named, or host bits set", () => {
    const named = route("192.0.2.0/24", { gw: address("10.77.0.1") });
    expect(complete({}, IPS, [route("192.0.2.0/24"), named, route("192.0.2.9/24")])).toEqual(["192.0.2.0/24 -"]);
    const other = route("192.0.2.0/24", { gw: address("10.77.0.2") });
    expect(complete({}, IPS, [named, other])).toHaveLength(2);
  });

  test.each([
    [
      "through the first gateway of the family",
      route("192.0.2.0/24"),
      { gateway: address("10.77.0.1"), scope: 0, onlink: false },
    ],
    [
      "through its own gateway",
      route("192.0.2.0/24", { gw: address("10.77.0.9") }),
      { gateway: address("10.77.0.9"), onlink: false },
    ],
    [
      "through a gateway outside the subnet",
      route("192.0.2.0/24", { gw: address("169.254.1.1") }),
      { gateway: address("169.254.1.1"), onlink: true },
    ],
    ["with its scope", route("192.0.2.0/24", { scope: 200 }), { scope: 200 }],
    [
      "with all else",
      route("192.0.2.0/24", { mtu: 1, advmss: 2, priority: 3, table: 4 }),
      { mtu: 1, advmss: 2, priority: 3, table: 4 },
    ],
  ])("%s", (_name, given, expected) => {
    expect(find(plan({}, IPS, [given]), "route").route).toMatchObject(expected);
  });

  test("without any gateway are on the link", () => {
    const made = find(plan({}, [ip("10.77.0.5/24")], [route("192.0.2.0/24")]), "route").route;
    expect(made).toMatchObject({ gateway: null, scope: 253, onlink: false });
  });
});

test("the result tells of the container's interface for each address, and the configuration's dns goes first", () => {
  const input = {
    config: { ...PLAIN, dns: { ...EMPTY_DNS, domain: "x" } },
    ifname: "eth0",
    names,
    containerMtu: 0,
    ips: [ip("10.77.0.5/24")],
    routes: [],
    ...WHO,
  };
  const lease = { interfaces: [], ips: [], routes: [], dns: { ...EMPTY_DNS, domain: "y" } };
  expect(planResult(input, [], lease)).toMatchObject({ ips: [{ interface: 2 }], dns: { domain: "x" } });
  expect(planResult({ ...input, config: PLAIN }, [], lease)).toMatchObject({ dns: { domain: "y" } });
});
