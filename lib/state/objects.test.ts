import { expect, test } from "vitest";
import { type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import { NO_SETTINGS } from "./former.ts";
import { inTheWay } from "./kinds/gateways.ts";
import { describeRoute } from "./kinds/route.ts";
import { type KernelObject, kindOf } from "./objects.ts";

const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const route = {
  dst: prefix("192.0.2.0/24"),
  gateway: parseAddress("10.77.0.1"),
  mtu: 0,
  advmss: 0,
  priority: 0,
  table: null,
  scope: 0,
  onlink: false,
  source: null,
};

/* Each follows "cannot", in messages that people read. */
test.each<[KernelObject, string]>([
  [{ kind: "bridge", name: "cni0", mtu: 0, vlanFiltering: false, groupForwardMask: 0 }, "make bridge cni0"],
  [
    {
      kind: "veth",
      name: "veth1",
      mac: new Uint8Array(6),
      bridge: "cni0",
      trunk: false,
      mtu: 0,
      containerName: "eth0",
      containerMac: new Uint8Array(6),
      containerMtu: 0,
      alias: "",
    },
    "make veth pair veth1 with eth0 in the container",
  ],
  [
    { kind: "free-mac", mac: new Uint8Array(6), bridge: "cni0", port: "veth1" },
    "see whether MAC 00:00:00:00:00:00 is free on cni0",
  ],
  [
    { kind: "port", name: "veth1", alias: "", hairpin: false, isolated: false, vlans: null, dropDefaultVlan: true },
    "set up bridge port veth1",
  ],
  [
    { kind: "vlan-gateway", name: "cni0.5", portName: "vbp1", alias: "", bridge: "cni0", mtu: 0, vlan: 5 },
    "make cni0.5, the gateway of VLAN 5",
  ],
  [{ kind: "sysctl", where: "host", path: ["net", "ipv4", "ip_forward"], value: "1" }, "set net.ipv4.ip_forward to 1"],
  [
    { kind: "required-sysctl", where: "container", path: ["net", "ipv4", "ip_forward"], value: "1", former: null },
    "set net/ipv4/ip_forward to 1",
  ],
  [
    {
      kind: "link-attributes",
      where: "container",
      name: "eth0",
      wanted: { mac: "02:00:00:00:00:01", promiscuous: true, mtu: 1400, allMulticast: false, transmitQueue: 0 },
      former: NO_SETTINGS,
    },
    "set address 02:00:00:00:00:01 promisc on mtu 1400 allmulticast off txqueuelen 0 of eth0",
  ],
  [
    {
      kind: "former-values",
      directory: "/run/cni/tuning",
      attachment: { network: "n", containerId: "c", ifname: "eth0" },
      record: { link: NO_SETTINGS, sysctls: [], origin: null },
      earlier: null,
    },
    "keep what eth0 was before",
  ],
  [{ kind: "up", where: "container", name: "eth0", promiscuous: false, alias: "" }, "bring eth0 up"],
  [{ kind: "arp-notify", link: "eth0" }, "set net.ipv4.conf.eth0.arp_notify"],
  [
    {
      ...{ kind: "address", where: "container", link: "eth0", address: prefix("fd77::5/64"), nodad: true },
      prefixRoute: true,
    },
    "add address fd77::5/64 to eth0",
  ],
  [{ kind: "carrier", where: "host", link: "veth1" }, "wait until veth1 carries traffic"],
  [
    { kind: "pod-route", link: "veth1", address: prefix("10.77.0.5/32").address },
    "add the host's route to 10.77.0.5 through veth1",
  ],
  [{ kind: "route", link: "eth0", route }, "add route 192.0.2.0/24 via 10.77.0.1 through eth0"],
  [
    { kind: "gateways", link: "cni0", addresses: [], bridge: "cni0", port: "", force: false },
    "give cni0 the gateway's address",
  ],
  [{ kind: "forwarding", family: 6, link: "cni0" }, "turn IPv6 forwarding on"],
  [
    { kind: "forgotten-neighbour", link: "cni0", address: prefix("10.77.0.5/32").address },
    "forget the neighbour 10.77.0.5 on cni0",
  ],
  [
    { kind: "announcement", port: "veth1", containerLink: "eth0", containerMac: new Uint8Array(6) },
    "announce the addresses of eth0",
  ],
])("$kind", (object, expected) => {
  expect(kindOf(object).describe()).toBe(expected);
});

test("a route without gateway", () => {
  expect(describeRoute({ ...route, gateway: null })).toBe("192.0.2.0/24");
});

test.each([
  ["10.99.0.1/24", "10.77.0.1/24", [], true],
  ["10.77.0.2/24", "10.77.0.1/24", [], true],
  ["10.77.0.1/16", "10.77.0.1/24", [], true],
  ["10.78.0.1/24", "10.77.0.1/24", ["10.78.0.1/24"], false],
  ["fd77::1/64", "10.77.0.1/24", [], false],
  ["fd78::1/64", "fd77::1/64", [], false],
  ["fd77::2/64", "fd77::1/64", [], true],
  ["fd77::2/48", "fd77:0:0:1::1/64", [], true],
  ["fd77::2/48", "fd77:0:0:1::1/64", ["fd77::2/48"], false],
  ["fe80::1/64", "fd77::1/64", [], false],
])("%s on the bridge, %s wanted besides %j: in the way is %s", (present, wanted, others, expected) => {
  const all = [wanted, ...others].map(prefix);
  expect(inTheWay(prefix(present), prefix(wanted), all)).toBe(expected);
});
