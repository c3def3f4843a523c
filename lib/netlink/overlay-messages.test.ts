/**
 * What an overlay needs of the kernel: the encoders against what ip(8) and bridge(8) of iproute2 6.1 send, and the decoders
 * against what Linux 6.18 answers. captured-overlay.json holds both, by command; overlay1 has index 2, overlay4 index 5.
 */
import { describe, expect, test } from "vitest";
import { type Shape, TEXT, treeOf, written } from "../../testbed/message-tree.ts";
import { type Address, formatAddress, formatPrefix, type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import { formatMac, parseMac } from "../ip/mac.ts";
import captured from "./captured-overlay.json" with { type: "json" };
import type { Entry, TunnelRoute } from "./entries/entry.ts";
import {
  decodeFdb as decodeFdbWords,
  decodeNeighbour as decodeNeighbourWords,
  writeDeleteNeighbour,
  writeReplaceNeighbour,
} from "./entries/neighbours.ts";
import { decodeRoute as decodeRouteWords, writeDeleteRoute, writeReplaceRoute } from "./entries/routes.ts";
import { EntryTable } from "./entries/table.ts";
import { splitMessages } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import { decodePath } from "./path.ts";
import { wordsOf } from "./rows.ts";
import type { NetlinkSocket } from "./socket.ts";
import { decodeVxlan, writeLinkMtu, writeNewVxlan, writeVni } from "./vxlan.ts";

const LINK: Shape = { fixed: 16, 3: TEXT, 18: { 1: TEXT, 2: {} } };
const VNI: Shape = { fixed: 8, 1: {} };
const NEIGHBOUR: Shape = { fixed: 12 };
const ROUTE: Shape = { fixed: 12, 22: {} };

const OURS = 112;
const mac = (text: string): Uint8Array => parseMac(text) ?? new Uint8Array();
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const address = (text: string): Address => parseAddress(text) as Address;
const route = (dst: string, link: number, priority: number, more: Partial<TunnelRoute>): TunnelRoute => ({
  dst: prefix(dst),
  link,
  protocol: OURS,
  priority,
  gateway: null,
  onlink: false,
  tunnel: null,
  ...more,
});

const PEER = mac("0e:f4:c0:00:02:02");
const VIA4 = route("10.244.2.0/24", 2, 77, { gateway: address("10.244.2.0"), onlink: true });
const VIA6 = route("fd44:0:0:2::/64", 2, 77, { gateway: address("fd44:0:0:2::"), onlink: true });
const TUNNEL4 = route("10.244.3.0/24", 4, 78, { tunnel: { vni: 3, host: address("192.0.2.3") } });

const fdb = (bytes: Uint8Array, host: Address): EntryTable =>
  EntryTable.of([{ kind: "fdb", mac: formatMac(bytes), host, permanent: true }]);
const neighbour = (of: Address, bytes: Uint8Array): EntryTable =>
  EntryTable.of([{ kind: "neighbour", address: of, mac: formatMac(bytes), permanent: true }]);

/* The decoders take words; these tests have bytes. */
const words = (body: Uint8Array): [Int32Array, number, number] => [wordsOf(body), 0, Math.ceil(body.length / 4)];
const decodeFdb = (body: Uint8Array, table: EntryTable) => decodeFdbWords(...words(body), table);
const decodeNeighbour = (body: Uint8Array, by: number, table: EntryTable) =>
  decodeNeighbourWords(...words(body), by, table);
const decodeRoute = (body: Uint8Array, table: EntryTable) => decodeRouteWords(...words(body), table);

/** What a decoder adds to a table for some messages. */
function entriesOf(bodies: readonly Uint8Array[], decode: (body: Uint8Array, table: EntryTable) => void): Entry[] {
  const table = new EntryTable(0);
  for (const body of bodies) decode(body, table);
  return Array.from({ length: table.count }, (_, row) => table.entry(row));
}

const SAME: readonly (readonly [string, Shape, (socket: NetlinkSocket) => void])[] = [
  [
    "ip link add overlay1 address 0e:f4:c0:00:02:01 mtu 1450 type vxlan id 1 local 192.0.2.1 dstport 8472 nolearning",
    LINK,
    (socket) =>
      writeNewVxlan(socket, {
        name: "overlay1",
        mtu: 1450,
        port: 8472,
        inheritDf: false,
        tunnel: { vni: 1, mac: mac("0e:f4:c0:00:02:01"), local: address("192.0.2.1") },
        vniFilter: false,
      }),
  ],
  [
    "ip link add overlay2 address 0e:00:00:00:00:02 mtu 1430 type vxlan id 2 local fd31::1 dstport 8473 nolearning df inherit",
    LINK,
    (socket) =>
      writeNewVxlan(socket, {
        name: "overlay2",
        mtu: 1430,
        port: 8473,
        inheritDf: true,
        tunnel: { vni: 2, mac: mac("0e:00:00:00:00:02"), local: address("fd31::1") },
        vniFilter: false,
      }),
  ],
  [
    "ip link add overlay3 mtu 1464 type vxlan external gpe dstport 4790",
    LINK,
    (socket) => writeNewVxlan(socket, external("overlay3", 4790, false)),
  ],
  [
    "ip link add overlay4 mtu 1464 type vxlan external vnifilter gpe dstport 4791",
    LINK,
    (socket) => writeNewVxlan(socket, external("overlay4", 4791, true)),
  ],
  ["bridge vni add vni 4 dev overlay4", VNI, (socket) => writeVni(socket, 5, 4)],
  ["ip link set overlay1 mtu 1400", LINK, (socket) => writeLinkMtu(socket, 2, 1400)],
  [
    "bridge fdb replace 0e:f4:c0:00:02:02 dev overlay1 dst 192.0.2.2 self permanent",
    NEIGHBOUR,
    (socket) => writeReplaceNeighbour(socket, 2, fdb(PEER, address("192.0.2.2")), 0, OURS),
  ],
  [
    "bridge fdb replace 0e:00:00:00:00:03 dev overlay2 dst fd31::2 self permanent",
    NEIGHBOUR,
    (socket) => writeReplaceNeighbour(socket, 3, fdb(mac("0e:00:00:00:00:03"), address("fd31::2")), 0, OURS),
  ],
  [
    "bridge fdb del 0e:f4:c0:00:02:02 dev overlay1 dst 192.0.2.2 self permanent",
    NEIGHBOUR,
    (socket) => writeDeleteNeighbour(socket, 2, fdb(PEER, address("192.0.2.2")), 0),
  ],
  [
    "ip neigh replace 10.244.2.0 lladdr 0e:f4:c0:00:02:02 dev overlay1 nud permanent protocol 112",
    NEIGHBOUR,
    (socket) => writeReplaceNeighbour(socket, 2, neighbour(address("10.244.2.0"), PEER), 0, OURS),
  ],
  [
    "ip neigh replace fd44:0:0:2:: lladdr 0e:f4:c0:00:02:02 dev overlay1 nud permanent protocol 112",
    NEIGHBOUR,
    (socket) => writeReplaceNeighbour(socket, 2, neighbour(address("fd44:0:0:2::"), PEER), 0, OURS),
  ],
  [
    "ip route replace 10.244.2.0/24 via 10.244.2.0 dev overlay1 onlink proto 112 metric 77",
    ROUTE,
    (socket) => writeReplaceRoute(socket, EntryTable.of([{ kind: "route", route: VIA4 }]), 0),
  ],
  [
    "ip route replace fd44:0:0:2::/64 via fd44:0:0:2:: dev overlay1 onlink proto 112 metric 77",
    ROUTE,
    (socket) => writeReplaceRoute(socket, EntryTable.of([{ kind: "route", route: VIA6 }]), 0),
  ],
  [
    "ip route replace 10.244.3.0/24 encap ip id 3 dst 192.0.2.3 dev overlay3 proto 112 metric 78",
    ROUTE,
    (socket) => writeReplaceRoute(socket, EntryTable.of([{ kind: "route", route: TUNNEL4 }]), 0),
  ],
  [
    "ip -6 route replace fd44:0:0:3::/64 encap ip id 3 dst 192.0.2.3 dev overlay3 proto 112 metric 78",
    ROUTE,
    (socket) =>
      writeReplaceRoute(
        socket,
        EntryTable.of([
          { kind: "route", route: route("fd44:0:0:3::/64", 4, 78, { tunnel: { vni: 3, host: address("192.0.2.3") } }) },
        ]),
        0,
      ),
  ],
  [
    "ip route replace 10.244.4.0/24 encap ip6 id 3 dst fd31::4 csum dev overlay3 proto 112 metric 79",
    ROUTE,
    (socket) =>
      writeReplaceRoute(
        socket,
        EntryTable.of([
          { kind: "route", route: route("10.244.4.0/24", 4, 79, { tunnel: { vni: 3, host: address("fd31::4") } }) },
        ]),
        0,
      ),
  ],
  [
    "ip route del 10.244.2.0/24 via 10.244.2.0 dev overlay1 onlink proto 112 metric 77",
    ROUTE,
    (socket) => writeDeleteRoute(socket, EntryTable.of([{ kind: "route", route: VIA4 }]), 0),
  ],
  [
    "ip route del 10.244.3.0/24 encap ip id 3 dst 192.0.2.3 dev overlay3 proto 112 metric 78",
    ROUTE,
    (socket) => writeDeleteRoute(socket, EntryTable.of([{ kind: "route", route: TUNNEL4 }]), 0),
  ],
  [
    "ip -6 route del fd44:0:0:2::/64 dev overlay1 proto 112 metric 77",
    ROUTE,
    (socket) =>
      writeDeleteRoute(socket, EntryTable.of([{ kind: "route", route: { ...VIA6, gateway: null, onlink: false } }]), 0),
  ],
];

function external(name: string, port: number, vniFilter: boolean) {
  return { name, mtu: 1464, port, inheritDf: false, tunnel: null, vniFilter };
}

function sent(command: string): Buffer {
  return Buffer.from((captured.sent as Record<string, string>)[command] ?? "", "hex");
}

function received(command: string): Uint8Array[] {
  const messages = (captured.received as Record<string, string[]>)[command] ?? [];
  return messages.flatMap((hex) => splitMessages(Buffer.from(hex, "hex")).map((message) => message.body));
}

describe("encoders write what iproute2 writes", () => {
  test.each(SAME)("%s", (command, shape, encode) => {
    expect(treeOf(written(encode), shape)).toEqual(treeOf(sent(command), shape));
  });

  /* iproute2 tells the state of what is to be deleted; the kernel does not look at it. */
  test("ip neigh del 10.244.2.0 dev overlay1", () => {
    const ours = written((socket) => writeDeleteNeighbour(socket, 2, neighbour(address("10.244.2.0"), PEER), 0));
    const theirs = sent("ip neigh del 10.244.2.0 dev overlay1");
    theirs.writeUInt16LE(0, 24);
    expect(treeOf(ours, NEIGHBOUR)).toEqual(treeOf(theirs, NEIGHBOUR));
  });
});

describe("decoders read what the kernel answers", () => {
  const device = (command: string) => {
    const found = decodeVxlan(received(command)[0] ?? new Uint8Array());
    return (
      found && {
        ...found,
        link: `${found.link.index} ${found.link.name} ${found.link.mac} ${found.link.mtu}`,
        local: found.local === null ? null : formatAddress(found.local),
      }
    );
  };

  test("a device with one VNI", () => {
    expect(device("ip -d link show dev overlay1")).toEqual({
      link: "2 overlay1 0e:f4:c0:00:02:01 1450",
      vni: 1,
      port: 8472,
      local: "192.0.2.1",
      learning: false,
      external: false,
      gpe: false,
      vniFilter: false,
      inheritDf: false,
      lower: 0,
    });
  });

  test("one over IPv6 that hands the DF bit on", () => {
    expect(device("ip -d link show dev overlay2")).toMatchObject({ vni: 2, local: "fd31::1", inheritDf: true });
  });

  test("an external one", () => {
    expect(device("ip -d link show dev overlay4")).toEqual({
      link: "5 overlay4  1464",
      vni: 0,
      port: 4791,
      local: null,
      learning: expect.any(Boolean),
      external: true,
      gpe: true,
      vniFilter: true,
      inheritDf: false,
      lower: 0,
    });
  });

  test("forwarding entries", () => {
    const read = (command: string) => entriesOf(received(command), decodeFdb);
    const entry = { kind: "fdb", permanent: true };
    expect(read("bridge fdb show dev overlay1")).toEqual([
      { ...entry, mac: "0e:f4:c0:00:02:02", host: address("192.0.2.2") },
    ]);
    expect(read("bridge fdb show dev overlay2")).toEqual([
      { ...entry, mac: "0e:00:00:00:00:03", host: address("fd31::2") },
    ]);
    expect(read("ip -4 neigh show dev overlay1")).toEqual([]);
  });

  test("neighbours, those that the kernel learned left out", () => {
    const read = (command: string) => entriesOf(received(command), (body, table) => decodeNeighbour(body, OURS, table));
    const entry = { kind: "neighbour", mac: "0e:f4:c0:00:02:02", permanent: true };
    expect(read("ip -4 neigh show dev overlay1")).toEqual([{ ...entry, address: address("10.244.2.0") }]);
    expect(read("ip -6 neigh show dev overlay1")).toContainEqual({ ...entry, address: address("fd44:0:0:2::") });
    expect(read("bridge fdb show dev overlay1")).toEqual([]);
    const [body = new Uint8Array()] = received("ip -4 neigh show dev overlay1");
    const learned = Uint8Array.from(body);
    learned[8] = 2;
    expect(entriesOf([learned], (of, table) => decodeNeighbour(of, OURS, table))).toHaveLength(1);
    expect(entriesOf([learned], (of, table) => decodeNeighbour(of, OURS + 1, table))).toEqual([]);
  });

  test("routes", () => {
    const read = (command: string) =>
      entriesOf(received(command), decodeRoute).flatMap((entry) =>
        entry.kind === "route" && entry.route.protocol === OURS ? [shown(entry.route)] : [],
      );
    const shown = (from: TunnelRoute) => ({ ...from, dst: formatPrefix(from.dst) });
    const v4 = read("ip -4 route show table main");
    expect(v4).toContainEqual(shown(VIA4));
    expect(v4).toContainEqual(shown(TUNNEL4));
    expect(v4).toContainEqual(shown(route("10.244.4.0/24", 4, 79, { tunnel: { vni: 3, host: address("fd31::4") } })));
    expect(read("ip -6 route show table main")).toContainEqual(shown(VIA6));
  });

  test("entries come back from a table as they were put", () => {
    const entries: Entry[] = [
      { kind: "fdb", mac: "0e:f4:c0:00:02:02", host: address("192.0.2.2"), permanent: true },
      { kind: "neighbour", address: address("fd44:0:0:2::"), mac: "fe:ff:ff:ff:ff:ff", permanent: false },
      ...[VIA4, VIA6, TUNNEL4].map((one): Entry => ({ kind: "route", route: one })),
    ];
    const table = EntryTable.of(entries);
    expect(entries.map((_, row) => table.entry(row))).toEqual(entries);
  });

  /* What tells of a route in a listing is what tells of the way to an address. */
  test("ways", () => {
    const [first] = received("ip -4 route show table main").map((body) => decodePath(body));
    expect(first).toEqual({ link: 2, source: null, gateway: address("10.244.2.0"), mtu: 0, local: false });
    const writer = new MessageWriter();
    writer.begin(24, 0);
    for (const byte of [2, 32, 0, 0, 254, 0, 0, 2]) writer.u8(byte);
    writer.u32(0);
    writer.attributeU32(4, 7);
    writer.attributeBytes(7, address("192.0.2.1").bytes);
    const metrics = writer.beginNested(8);
    writer.attributeU32(2, 1400);
    writer.endNested(metrics);
    writer.end();
    const [message] = splitMessages(writer.bytes);
    const local = { link: 7, source: address("192.0.2.1"), gateway: null, mtu: 1400, local: true };
    expect(decodePath(message?.body ?? new Uint8Array())).toEqual(local);
  });

  test("messages cut short are errors or less, never a crash", () => {
    for (const bodies of Object.keys(captured.received).map((command) => received(command))) {
      for (const body of bodies) {
        for (let length = 0; length < body.length; length += 1) {
          const table = new EntryTable(0);
          const decoders = [
            decodeVxlan,
            decodePath,
            (of: Uint8Array) => decodeFdb(of, table),
            (of: Uint8Array) => decodeNeighbour(of, OURS, table),
            (of: Uint8Array) => decodeRoute(of, table),
          ];
          for (const decode of decoders) {
            try {
              decode(body.subarray(0, length));
            } catch (error) {
              expect((error as Error).name).toBe("NetlinkFormatError");
            }
          }
        }
      }
    }
  });
});
