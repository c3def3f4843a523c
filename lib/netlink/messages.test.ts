/**
 * The encoders against what ip(8) and bridge(8) of iproute2 6.1 send, and the decoders against what Linux 6.18 answers.
 * captured.json holds both as `strace -e write=all` and `-e read=all` showed them, by command; pwt0 has index 3, veth0 4.
 * Attributes may be in another order, so trees are compared.
 */
import { describe, expect, test } from "vitest";
import { type Shape, TEXT, type Tree, treeOf, written } from "../../testbed/message-tree.ts";
import { type Address, type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import { parseMac } from "../ip/mac.ts";
import { decodeAddress, writeDeleteAddress, writeNewAddress } from "./address.ts";
import { writePort } from "./bridge-port.ts";
import captured from "./captured.json" with { type: "json" };
import { decodeLink, writeDeleteLink, writeLinkAddress, writeLinkUp, writeNewBridge, writeNewVeth } from "./link.ts";
import { decodeLinkAttributes, writeLinkFlag, writeLinkMtu, writeTransmitQueue } from "./link-attributes.ts";
import { splitMessages } from "./message-reader.ts";
import { decodeRoute, type Route, writeDeleteNeighbour, writeNewRoute, writeOnlyRoute } from "./route.ts";
import type { NetlinkSocket } from "./socket.ts";
import { decodePortVlans, writePortVlans } from "./vlan.ts";

const BRIDGE = 3;
const VETH = 4;
const INFO: Shape = { 1: TEXT, 4: TEXT, 2: {}, 5: {} };
const LINK: Shape = { fixed: 16, 3: TEXT, 18: INFO, 20: TEXT };
const PEER: Shape = { ...LINK, 18: { 1: TEXT, 2: { 1: { fixed: 16, 3: TEXT } } } };
const VLAN: Shape = { fixed: 16, 26: {} };
const ADDRESS: Shape = { fixed: 8 };
const ROUTE: Shape = { fixed: 12, 8: {} };
const NEIGHBOUR: Shape = { fixed: 12 };

function sent(command: string): Buffer {
  return Buffer.from((captured.sent as Record<string, string>)[command] ?? "", "hex");
}

const mac = (text: string): Uint8Array => parseMac(text) ?? new Uint8Array();
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const address = (text: string): Address => parseAddress(text) as Address;
const route = (dst: string, more: Partial<Route>): Route => ({
  dst: prefix(dst),
  gateway: null,
  mtu: 0,
  advmss: 0,
  priority: 0,
  table: null,
  scope: 0,
  onlink: false,
  source: null,
  ...more,
});

const BRIDGE_MAC = mac("02:00:00:00:00:01");

const SAME: readonly (readonly [string, Shape, (socket: NetlinkSocket) => void])[] = [
  [
    "ip link add pwt0 address 02:00:00:00:00:01 mtu 1400 type bridge vlan_filtering 1",
    LINK,
    (socket) =>
      writeNewBridge(socket, { name: "pwt0", mac: BRIDGE_MAC, mtu: 1400, vlanFiltering: true, groupForwardMask: 0 }),
  ],
  [
    "ip link add pwt0 address 02:00:00:00:00:01 mtu 1400 type bridge",
    LINK,
    (socket) =>
      writeNewBridge(socket, { name: "pwt0", mac: BRIDGE_MAC, mtu: 1400, vlanFiltering: false, groupForwardMask: 0 }),
  ],
  [
    "ip link add veth0 address 02:00:00:00:00:02 mtu 1400 numtxqueues 1 numrxqueues 1 master pwt0 type veth peer name eth0 address 02:00:00:00:00:03 mtu 1400 numtxqueues 1 numrxqueues 1 netns pod",
    PEER,
    (socket) =>
      writeNewVeth(socket, {
        name: "veth0",
        mac: mac("02:00:00:00:00:02"),
        mtu: 1400,
        group: 0,
        master: BRIDGE,
        peerName: "eth0",
        peerMac: mac("02:00:00:00:00:03"),
        peerNamespaceFd: 4,
      }),
  ],
  ["ip link set pwt0 up promisc on", LINK, (socket) => writeLinkUp(socket, BRIDGE, true, true)],
  ["ip link set veth0 up", LINK, (socket) => writeLinkUp(socket, VETH, true, false)],
  ["ip link set veth0 down", LINK, (socket) => writeLinkUp(socket, VETH, false, false)],
  ["ip link set veth0 mtu 1400", LINK, (socket) => writeLinkMtu(socket, VETH, 1400)],
  ["ip link set veth0 txqueuelen 500", LINK, (socket) => writeTransmitQueue(socket, VETH, 500)],
  ["ip link set veth0 promisc on", LINK, (socket) => writeLinkFlag(socket, VETH, "promisc", true)],
  ["ip link set veth0 promisc off", LINK, (socket) => writeLinkFlag(socket, VETH, "promisc", false)],
  ["ip link set veth0 allmulticast on", LINK, (socket) => writeLinkFlag(socket, VETH, "allmulticast", true)],
  ["ip link set veth0 allmulticast off", LINK, (socket) => writeLinkFlag(socket, VETH, "allmulticast", false)],
  [
    "ip address add 10.77.1.5/22 broadcast + dev pwt0",
    ADDRESS,
    (socket) => writeNewAddress(socket, BRIDGE, prefix("10.77.1.5/22"), true),
  ],
  [
    "ip address add 10.77.9.5/32 dev pwt0",
    ADDRESS,
    (socket) => writeNewAddress(socket, BRIDGE, prefix("10.77.9.5/32"), true),
  ],
  ["ip link set veth0 up alias pwt", LINK, (socket) => writeLinkUp(socket, VETH, true, false, "pwt")],
  [
    "ip route add 10.77.9.5 dev veth0 proto static scope host",
    ROUTE,
    (socket) => writeOnlyRoute(socket, VETH, route("10.77.9.5/32", { scope: 254 })),
  ],
  [
    "ip -6 route add fd77::5 dev veth0 proto static",
    ROUTE,
    (socket) => writeOnlyRoute(socket, VETH, route("fd77::5/128", {})),
  ],
  [
    "ip address add 10.77.9.5/24 broadcast + dev pwt0 noprefixroute",
    ADDRESS,
    (socket) => writeNewAddress(socket, BRIDGE, prefix("10.77.9.5/24"), true, 0, true),
  ],
  ["bridge vlan del dev veth0 vid 1", VLAN, (socket) => writePortVlans(socket, VETH, [vlan(1, 1)], false)],
  ["bridge vlan add dev veth0 vid 200-210", VLAN, (socket) => writePortVlans(socket, VETH, [vlan(200, 210)], true)],
];

function vlan(first: number, last: number, access = false) {
  return { first, last, pvid: access, untagged: access };
}

describe("encoders write what iproute2 writes", () => {
  test.each(SAME)("%s", (command, shape, encode) => {
    expect(treeOf(written(encode), shape)).toEqual(treeOf(sent(command), shape));
  });

  /* A route may be there through another gateway: iproute2 appends, we let the kernel put it first. Otherwise the same. */
  test.each([
    [
      "ip route append 192.0.2.0/24 via 10.77.0.1 dev pwt0 proto static metric 77 mtu 1300 advmss 1200 table 1000",
      route("192.0.2.0/24", { gateway: address("10.77.0.1"), priority: 77, mtu: 1300, advmss: 1200, table: 1000 }),
    ],
    [
      "ip route append default via 169.254.1.1 dev pwt0 proto static onlink",
      route("0.0.0.0/0", { gateway: address("169.254.1.1"), onlink: true }),
    ],
    [
      "ip route append 198.51.100.0/24 dev pwt0 proto static scope link table 100",
      route("198.51.100.77/24", { scope: 253, table: 100 }),
    ],
    [
      "ip route append 192.0.2.0/24 via 10.77.0.1 dev pwt0 proto static src 10.77.0.5",
      route("192.0.2.0/24", { gateway: address("10.77.0.1"), source: address("10.77.0.5") }),
    ],
    [
      "ip -6 route append 2001:db8::/32 via fd77::1 dev pwt0 proto static metric 10",
      route("2001:db8::/32", { gateway: address("fd77::1"), priority: 10 }),
    ],
  ])("%s", (command, wanted) => {
    const ours = treeOf(
      written((socket) => writeNewRoute(socket, BRIDGE, wanted)),
      ROUTE,
    );
    expect(ours.header).toBe("type 24 flags 405");
    expect({ ...ours, header: "" }).toEqual({ ...treeOf(sent(command), ROUTE), header: "" });
  });

  test("ip address add fd77::5/64 dev pwt0 nodad: the flag is an attribute, since not all flags fit the fixed part", () => {
    const theirs = treeOf(sent("ip address add fd77::5/64 dev pwt0 nodad"), ADDRESS);
    const ours = treeOf(
      written((socket) => writeNewAddress(socket, BRIDGE, prefix("fd77::5/64"), true)),
      ADDRESS,
    );
    expect(theirs.fixed).toBe("0a40020003000000");
    expect(ours).toEqual({ ...theirs, fixed: "0a40000003000000", 8: ["02000000"] });
    const routeless = treeOf(
      written((socket) => writeNewAddress(socket, BRIDGE, prefix("fd77::5/64"), true, 0, true)),
      ADDRESS,
    );
    const withoutRoute = treeOf(sent("ip address add fd77::5/64 dev pwt0 nodad noprefixroute"), ADDRESS);
    expect(routeless).toEqual({ ...withoutRoute, fixed: "0a40000003000000" });
    const looking = treeOf(
      written((socket) => writeNewAddress(socket, BRIDGE, prefix("fd77::5/64"), false)),
      ADDRESS,
    );
    expect(looking[8]).toBeUndefined();
  });

  test("ip address delete: one of the two addresses is enough", () => {
    const { 1: _peer, ...theirs } = treeOf(sent("ip address delete 10.77.9.5/32 dev pwt0"), ADDRESS);
    const ours = treeOf(
      written((socket) => writeDeleteAddress(socket, BRIDGE, prefix("10.77.9.5/32"))),
      ADDRESS,
    );
    expect(ours).toEqual(theirs);
  });

  test("alias, port options and up in one message", () => {
    const alias = treeOf(sent("ip link set veth0 alias 'podwire net c1 eth0'"), LINK);
    const options = treeOf(sent("ip link set veth0 type bridge_slave hairpin on isolated off"), LINK);
    const up = treeOf(sent("ip link set veth0 up"), LINK);
    const ours = treeOf(
      written((socket) => writePort(socket, VETH, "podwire net c1 eth0", true, false)),
      LINK,
    );
    /* iproute2 names the kind of port where the link's own kind belongs; the kernel takes the data either way. */
    const info = (tree: Tree) => (tree[18] as Tree[])[0] as Tree;
    expect(info(options)[1]).toEqual(["bridge_slave"]);
    expect(info(ours)[4]).toEqual(["bridge"]);
    const data = (tree: Tree) => ((tree[18] as Tree[])[0] as Tree)[5];
    expect(data(ours)).toEqual(data(options));
    expect(ours[20]).toEqual(alias[20]);
    expect(ours.fixed).toBe(up.fixed);
  });

  test("setting an Ethernet address: the older message, RTM_SETLINK, changes nothing else", () => {
    const theirs = treeOf(sent("ip link set veth0 address 02:00:00:00:00:02"), LINK);
    const ours = treeOf(
      written((socket) => writeLinkAddress(socket, VETH, mac("02:00:00:00:00:02"))),
      LINK,
    );
    expect(ours).toEqual({ ...theirs, header: "type 19 flags 5" });
  });

  test("VLANs of a port: without the flag for the port's master, which is the default", () => {
    const theirs = treeOf(sent("bridge vlan add dev veth0 vid 100 pvid untagged master"), { fixed: 16, 26: {} });
    const ours = treeOf(
      written((socket) => writePortVlans(socket, VETH, [vlan(100, 100, true)], true)),
      VLAN,
    );
    const spec = (tree: Tree) => (tree[26] as Tree[])[0] as Tree;
    expect(spec(theirs)[0]).toEqual(["0100"]);
    expect(spec(ours)).toEqual({ fixed: "", 2: spec(theirs)[2] });
  });

  test("several VLANs in one message", () => {
    const ours = written((socket) => writePortVlans(socket, VETH, [vlan(100, 100, true), vlan(200, 210)], true));
    expect(((treeOf(ours, VLAN)[26] as Tree[])[0] as Tree)[2]).toEqual(["06006400", "0800c800", "1000d200"]);
  });

  test("forgetting a neighbour, and removing a link", () => {
    const theirs = treeOf(sent("ip neigh del 10.77.0.9 dev pwt0"), NEIGHBOUR);
    const ours = treeOf(
      written((socket) => writeDeleteNeighbour(socket, BRIDGE, address("10.77.0.9"))),
      NEIGHBOUR,
    );
    /* iproute2 names a state, which the kernel does not look at. */
    expect(ours).toEqual({ ...theirs, fixed: "020000000300000000000000" });
    expect(
      treeOf(
        written((socket) => writeDeleteLink(socket, VETH)),
        LINK,
      ),
    ).toEqual({
      header: "type 17 flags 5",
      fixed: "00000000040000000000000000000000",
    });
  });
});

describe("decoders read what the kernel answers", () => {
  const answers = (command: string) =>
    splitMessages(new Uint8Array(Buffer.from((captured.received as Record<string, string>)[command] ?? "", "hex")));
  const body = (command: string): Uint8Array => answers(command)[0]?.body ?? new Uint8Array();

  test("ip -d link show veth0", () => {
    expect(decodeLink(body("ip -d link show veth0"))).toEqual({
      index: VETH,
      name: "veth0",
      kind: "veth",
      mac: "02:00:00:00:00:02",
      mtu: 1400,
      up: false,
      promiscuous: false,
      operstate: 2,
      master: BRIDGE,
      peer: 2,
      peerNamespace: 0,
      alias: "podwire net c1 eth0",
      port: { state: 0, hairpin: true, isolated: true },
      servesIpv4: false,
      vlanFiltering: null,
      groupForwardMask: 0,
    });
  });

  test("what people tune of a link", () => {
    expect(decodeLinkAttributes(body("ip -d link show veth0"))).toEqual({
      index: VETH,
      mac: "02:00:00:00:00:02",
      mtu: 1400,
      promiscuous: false,
      allMulticast: false,
      transmitQueue: 1000,
    });
    expect(decodeLinkAttributes(body("ip -d link show pwt0"))).toMatchObject({ mtu: 1400, promiscuous: true });
  });

  test("ip -d link show pwt0, of a kernel that cannot filter VLANs although it says that it does not", () => {
    expect(decodeLink(body("ip -d link show pwt0"))).toMatchObject({
      index: BRIDGE,
      name: "pwt0",
      kind: "bridge",
      mac: "02:00:00:00:00:01",
      mtu: 1400,
      up: true,
      promiscuous: true,
      master: 0,
      alias: "",
      port: null,
      vlanFiltering: null,
      groupForwardMask: 0,
    });
  });

  test.each([
    [1, true],
    [0, false],
  ])("a bridge with the VLAN attributes: filtering %d", (value, expected) => {
    const message = written((socket) => {
      const writer = socket.request(16, 0);
      for (let i = 0; i < 16; i += 1) writer.u8(0);
      const info = writer.beginNested(18);
      writer.attributeText(1, "bridge");
      const data = writer.beginNested(2);
      writer.attributeU8(7, value);
      writer.attributeU16(8, 0x0081);
      writer.endNested(data);
      writer.endNested(info);
      writer.end();
    });
    expect(decodeLink(splitMessages(message)[0]?.body ?? new Uint8Array()).vlanFiltering).toBe(expected);
  });

  test("ip address show dev pwt0", () => {
    const found = answers("ip address show dev pwt0").map((message) => decodeAddress(message.body));
    expect(found).toEqual([
      { prefix: prefix("10.77.1.5/22"), tentative: false, failed: false, protocol: 0 },
      { prefix: prefix("fd77::5/64"), tentative: false, failed: false, protocol: 0 },
    ]);
  });

  test("ip route show table all", () => {
    const found = answers("ip route show table all").map((message) => decodeRoute(message.body));
    const common = { link: BRIDGE, protocol: 4, gateway: null, mtu: 0, advmss: 0, priority: 0, scope: 0 };
    expect(found.filter((entry) => entry?.protocol === 4 && entry.dst.address.family === 4)).toEqual([
      { ...common, dst: prefix("198.51.100.0/24"), table: 100, scope: 253 },
      {
        ...common,
        dst: prefix("192.0.2.0/24"),
        gateway: address("10.77.0.1"),
        table: 1000,
        priority: 77,
        mtu: 1300,
        advmss: 1200,
      },
      { ...common, dst: prefix("0.0.0.0/0"), gateway: address("169.254.1.1"), table: 254 },
    ]);
    /* Local and broadcast routes are none that a plugin makes. */
    expect(found.filter((entry) => entry === null).length).toBeGreaterThan(0);
  });

  test("ip -6 route show table all", () => {
    const found = answers("ip -6 route show table all").map((message) => decodeRoute(message.body));
    expect(found.filter((entry) => entry?.protocol === 4)).toMatchObject([
      { dst: prefix("2001:db8:1::/48"), gateway: address("fd77::1"), table: 1000, priority: 10, mtu: 1300 },
      { dst: prefix("2001:db8::/32"), gateway: address("fd77::1"), table: 254, priority: 10, mtu: 0 },
    ]);
  });

  test("the VLANs of a port", () => {
    const message = written((socket) => writePortVlans(socket, VETH, [vlan(100, 100, true), vlan(7, 7)], true));
    expect(decodePortVlans(splitMessages(message)[0]?.body ?? new Uint8Array())).toEqual([
      vlan(100, 100, true),
      vlan(7, 7),
    ]);
  });
});
