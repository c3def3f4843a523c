/** What the peers ask of the kernel, and the way there from whatever it holds: after the difference it holds just that. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Address, formatAddress, formatPrefix, type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import { AddressColumn } from "../ip/columns.ts";
import { ADDRESS_WORDS, addressAt, putAddress, wideLength } from "../ip/words.ts";
import type { Entry } from "../netlink/entries/entry.ts";
import { EntryTable } from "../netlink/entries/table.ts";
import {
  addressDifference,
  differenceOf as differenceOfTables,
  hostsOf,
  tooManyLost as tooManyLostOf,
} from "./difference.ts";
import { describeEntry, entriesFor as entriesOf } from "./entries.ts";
import { FOREIGN, markRoutes, metricOf as metricIn, OURS, type Overlay, STAMP } from "./ownership.ts";
import type { Peer } from "./peer.ts";
import { PeerTable } from "./peer-table.ts";
import { vtepMac } from "./peers.ts";
import { isSameStamp, stampRoute } from "./stamp.ts";

const address = (text: string): Address => parseAddress(text) as Address;
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;

function peer(number: number, more: Partial<Peer> = {}): Peer {
  const nodeIp = more.nodeIp ?? address(`192.0.${number >> 8}.${number & 255}`);
  const podCidrs = [prefix(`10.${number >> 8}.${number & 255}.0/24`), prefix(`fd44:0:0:${number.toString(16)}::/64`)];
  return { place: `peers[${number}]`, nodeIp, podCidrs, mac: vtepMac(nodeIp), ownMac: false, ...more };
}

const CLASSIC: Overlay = { datapath: "classic", vni: 1, link: 5 };
const GPE: Overlay = { datapath: "gpe", vni: 1, link: 5 };

const entriesIn = (table: EntryTable): Entry[] => Array.from({ length: table.count }, (_, row) => table.entry(row));

function entriesFor(overlay: Overlay, peers: readonly Peer[], direct: readonly number[]): Entry[] {
  return entriesIn(entriesOf(overlay, PeerTable.of(peers), -1, Int32Array.from(direct), 0));
}

function differenceOf(desired: readonly Entry[], found: readonly Entry[]): { remove: Entry[]; put: Entry[] } {
  const [to, from] = [EntryTable.of(desired), EntryTable.of(found)];
  const { remove, put } = differenceOfTables(to, from);
  return { remove: Array.from(remove, (row) => from.entry(row)), put: Array.from(put, (row) => to.entry(row)) };
}

const tooManyLost = (desired: readonly Entry[], found: readonly Entry[], changes: number): number =>
  tooManyLostOf(EntryTable.of(desired), EntryTable.of(found), changes);

function metricOf(dst: Prefix, vni: number): number {
  return metricIn(AddressColumn.of(dst.address), 0, wideLength(dst), vni);
}

/** What makes an entry this one and no other. */
function keyOf(entry: Entry): string {
  if (entry.kind === "fdb") return `f${entry.mac}`;
  if (entry.kind === "neighbour") return `n${formatAddress(entry.address)}`;
  return `r${formatPrefix(entry.route.dst)} ${entry.route.priority}`;
}

const described = (entries: readonly Entry[]): string[] => entries.map((entry) => describeEntry(entry));

describe("entries", () => {
  const metric4 = metricOf(prefix("10.0.2.0/24"), 1);
  const metric6 = metricOf(prefix("fd44:0:0:2::/64"), 1);

  test("of a classic peer: one for its device, two for each network", () => {
    expect(described(entriesFor(CLASSIC, [peer(2)], [0]))).toEqual([
      "forwarding entry 0e:f4:c0:00:00:02 dst 192.0.0.2",
      "neighbour 10.0.2.0 lladdr 0e:f4:c0:00:00:02",
      `route 10.0.2.0/24 via 10.0.2.0 metric ${metric4}`,
      "neighbour fd44:0:0:2:: lladdr 0e:f4:c0:00:00:02",
      `route fd44:0:0:2::/64 via fd44:0:0:2:: metric ${metric6}`,
    ]);
  });

  test("of a gpe peer: a route for each network", () => {
    expect(described(entriesFor(GPE, [peer(2)], [0]))).toEqual([
      `route 10.0.2.0/24 encap ip id 1 dst 192.0.0.2 metric ${metric4}`,
      `route fd44:0:0:2::/64 encap ip id 1 dst 192.0.0.2 metric ${metric6}`,
    ]);
  });

  test("of a peer on the same segment: plain routes for the networks of its own IP version", () => {
    const direct = `route 10.0.2.0/24 via 192.0.0.2 metric ${metric4}`;
    for (const overlay of [CLASSIC, GPE]) {
      expect(described(entriesFor(overlay, [peer(2, { podCidrs: [prefix("10.0.2.0/24")] })], [3]))).toEqual([direct]);
    }
    expect(described(entriesFor(CLASSIC, [peer(2)], [3]))).toEqual([
      direct,
      "forwarding entry 0e:f4:c0:00:00:02 dst 192.0.0.2",
      "neighbour fd44:0:0:2:: lladdr 0e:f4:c0:00:00:02",
      `route fd44:0:0:2::/64 via fd44:0:0:2:: metric ${metric6}`,
    ]);
  });

  test("of a peer without pods: none", () => {
    expect(entriesFor(CLASSIC, [peer(2, { podCidrs: [] })], [0])).toEqual([]);
  });

  test("have metrics that keep 5,000 routes apart, and two overlays", () => {
    const metrics = new Set<number>();
    for (let i = 0; i < 5000; i += 1) metrics.add(metricOf(prefix(`10.${i >> 8}.${i & 255}.0/24`), 1));
    expect(metrics.size).toBe(5000);
    for (const metric of metrics) expect(metric >= 2 ** 30 && metric < 2 ** 31).toBe(true);
    expect(metricOf(prefix("10.0.2.0/24"), 1)).not.toBe(metricOf(prefix("10.0.2.0/24"), 2));
  });

  test("found: what is on the device and not the kernel's own, and direct routes with the overlay's metric", () => {
    const [direct, foreign] = [prefix("10.0.2.0/24"), prefix("10.0.3.0/24")];
    const route = (dst: Prefix, link: number, protocol: number, priority: number): Entry => ({
      kind: "route",
      route: { dst, link, protocol, priority, gateway: null, onlink: false, tunnel: null },
    });
    const table = EntryTable.of([
      route(direct, 5, 2, 0),
      route(direct, 5, 3, 0),
      route(direct, 3, 112, metricOf(direct, 1)),
      route(direct, 3, 112, metricOf(direct, 2)),
      route(foreign, 3, 4, metricOf(foreign, 1)),
      { kind: "route", route: stampRoute(5, "vni 1", "12 340 1") },
      { kind: "route", route: stampRoute(6, "vni 1", "12 340 1") },
    ]);
    const marks = (overlay: Overlay): number[] => {
      markRoutes(overlay, table);
      return Array.from({ length: table.count }, (_, row) => table.mark(row));
    };
    expect(marks(CLASSIC)).toEqual([FOREIGN, OURS, OURS, FOREIGN, FOREIGN, STAMP, FOREIGN]);
    expect(marks({ ...CLASSIC, link: 0 })).toEqual([FOREIGN, FOREIGN, OURS, FOREIGN, FOREIGN, FOREIGN, FOREIGN]);
  });

  test("do not cover this node", () => {
    const peers = PeerTable.of([peer(2), peer(3), peer(4)]);
    const without = entriesIn(entriesOf(CLASSIC, peers, 1, new Int32Array(3), 0));
    expect(without).toEqual(entriesFor(CLASSIC, [peer(2), peer(4)], [0, 0]));
  });

  test("are of the IP versions that this node's pods have", () => {
    for (const [without, left] of [
      [6, /10\.0\.2\./],
      [4, /fd44:/],
    ] as const) {
      const found = described(entriesIn(entriesOf(CLASSIC, PeerTable.of([peer(2)]), -1, new Int32Array(1), without)));
      expect(found).toHaveLength(3);
      for (const line of found.slice(1)) expect(line).toMatch(left);
    }
  });
});

/** Everything about an entry but its key. */
function contentOf(entry: Entry): string {
  if (entry.kind === "fdb") return `${formatAddress(entry.host)} ${entry.permanent}`;
  if (entry.kind === "neighbour") return `${entry.mac} ${entry.permanent}`;
  const { link, protocol, gateway, tunnel } = entry.route;
  const via = gateway === null ? "" : formatAddress(gateway);
  return `${link} ${protocol} ${via} ${tunnel === null ? "" : `${tunnel.vni} ${formatAddress(tunnel.host)}`}`;
}

/** A kernel: puts replace the first of the same key, and of routes it can hold several. */
function applied(found: readonly Entry[], remove: readonly Entry[], put: readonly Entry[]): string[] {
  const held = [...found];
  for (const entry of remove) {
    const at = held.findIndex((other) => keyOf(other) === keyOf(entry) && contentOf(other) === contentOf(entry));
    expect(at, `${describeEntry(entry)} is there to be removed`).toBeGreaterThanOrEqual(0);
    held.splice(at, 1);
  }
  for (const entry of put) {
    const at = held.findIndex((other) => keyOf(other) === keyOf(entry));
    if (at < 0) held.push(entry);
    else held[at] = entry;
  }
  return held.map((entry) => `${keyOf(entry)}=${contentOf(entry)}`).sort();
}

const state = (entries: readonly Entry[]): string[] => applied([], [], entries);

describe("the difference", () => {
  test("is nothing between equals", () => {
    const entries = entriesFor(CLASSIC, [peer(2), peer(3)], [0, 4]);
    expect(differenceOf(entries, [...entries].reverse())).toEqual({ remove: [], put: [] });
  });

  test("puts routes last and takes them away first", () => {
    const entries = entriesFor(CLASSIC, [peer(2)], [0]);
    const kinds = (list: readonly Entry[]) => list.map((entry) => entry.kind);
    expect(kinds(differenceOf(entries, []).put)).toEqual(["fdb", "neighbour", "neighbour", "route", "route"]);
    expect(kinds(differenceOf([], entries).remove)).toEqual(["route", "route", "neighbour", "neighbour", "fdb"]);
  });

  test("of a node with a new address leaves its routes alone", () => {
    const before = entriesFor(CLASSIC, [peer(2)], [0]);
    const moved = peer(2, { nodeIp: address("198.51.100.2") });
    const { remove, put } = differenceOf(entriesFor(CLASSIC, [moved], [0]), before);
    expect(described(remove)).toEqual(["forwarding entry 0e:f4:c0:00:00:02 dst 192.0.0.2"]);
    expect(put.map((entry) => entry.kind)).toEqual(["fdb", "neighbour", "neighbour"]);
  });

  test("leads to what is wanted, from anything, by the fewest changes", () => {
    const peers = fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { maxLength: 12 });
    const direct = fc.array(fc.constantFrom(0, 0, 3), { minLength: 12, maxLength: 12 });
    const nodes = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 12, maxLength: 12 });
    const side = fc.record({ peers, direct, nodes });
    fc.assert(
      fc.property(fc.constantFrom(CLASSIC, GPE), side, side, fc.boolean(), (overlay, from, to, doubled) => {
        const list = (which: typeof from): Entry[] =>
          entriesFor(
            overlay,
            which.peers.map((n, i) => peer(n, { nodeIp: address(`192.0.2.${n * 4 + (which.nodes[i] ?? 0)}`) })),
            which.direct,
          );
        const desired = list(to);
        const found = list(from);
        /* Routes of one prefix and metric by other ways, as somebody may have appended them. */
        if (doubled)
          found.push(
            ...list(to)
              .filter((entry) => entry.kind === "route")
              .map((entry) => elsewhere(entry)),
          );
        const { remove, put } = differenceOf(desired, found);
        expect(applied(found, remove, put)).toEqual(state(desired));
        const same = new Set(found.map((entry) => `${keyOf(entry)}=${contentOf(entry)}`));
        expect(put.every((entry) => !same.has(`${keyOf(entry)}=${contentOf(entry)}`))).toBe(true);
      }),
    );
  });
});

function elsewhere(entry: Entry): Entry {
  if (entry.kind !== "route") return entry;
  return { kind: "route", route: { ...entry.route, link: 9, gateway: null, tunnel: null } };
}

describe("a change that takes away many nodes at once", () => {
  const entries = (count: number) => {
    const peers = Array.from({ length: count }, (_, i) => peer(i + 1));
    return entriesFor(
      CLASSIC,
      peers,
      peers.map((_, i) => (i % 3 === 0 ? 4 : 0)),
    );
  };

  test.each([
    [10, 0, 0],
    [11, 6, 0],
    [11, 5, 6],
    [11, 0, 11],
    [5000, 2500, 0],
    [5000, 2499, 2501],
  ])("from %d to %d: %d are too many", (before, after, lost) => {
    expect(tooManyLost(entries(after), entries(before), before * 5)).toBe(lost);
    /* So few changes cannot take away so many. */
    expect(tooManyLost(entries(after), entries(before), before / 2)).toBe(0);
  });

  test("counts the nodes that are behind a tunnel and those that are not", () => {
    const nodes = (list: readonly Entry[]) => hostsOf(EntryTable.of(list)).count;
    expect(nodes(entries(3))).toBe(3);
    expect(nodes(entriesFor(GPE, [peer(1), peer(2)], [0, 0]))).toBe(2);
    expect(hostsOf(EntryTable.of(entries(9)), 4).words()).toEqual(
      hostsOf(EntryTable.of(entries(9)))
        .words()
        .subarray(0, 16),
    );
  });
});

describe("a metric", () => {
  /* Routes of nodes that run have it: another one would be another route. */
  test("is FNV-1a of the network's bytes, its length and the VNI", () => {
    const length4 = fc.integer({ min: 0, max: 32 });
    const network = fc.oneof(fc.tuple(fc.ipV4(), length4), fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 })));
    fc.assert(
      fc.property(network, fc.nat(0xffffff), ([ip, length], vni) => {
        const dst = { address: address(ip), length };
        fc.pre(!(dst.address.family === 6 && dst.address.bytes.subarray(0, 10).every((byte) => byte === 0)));
        let hash = 0x811c9dc5n;
        for (const byte of [...dst.address.bytes, length, vni & 255, (vni >> 8) & 255, vni >> 16]) {
          hash = ((hash ^ BigInt(byte)) * 0x01000193n) & 0xffffffffn;
        }
        expect(metricOf(dst, vni)).toBe(Number(hash >> 2n) | 0x40000000);
      }),
    );
    expect(metricOf(prefix("10.0.2.0/24"), 1)).toBe(1658822526);
  });
});

describe("two lists of addresses", () => {
  test("differ in what comes and what goes, in their order", () => {
    const list = fc.uniqueArray(fc.oneof(fc.ipV4(), fc.constantFrom("fd31::1", "fd31::2", "192.0.2.1")), {
      maxLength: 12,
    });
    const addresses = (texts: readonly string[]) => {
      const words = new Int32Array((texts.length + 2) * ADDRESS_WORDS);
      texts.forEach((text, i) => {
        putAddress(words, i * ADDRESS_WORDS, address(text));
      });
      return { words, count: texts.length };
    };
    const texts = ({ words, count }: { words: Int32Array; count: number }) =>
      Array.from({ length: count }, (_, i) => formatAddress(addressAt(words, i * ADDRESS_WORDS)));
    fc.assert(
      fc.property(list, list, fc.nat(12), (wanted, others, kept) => {
        const found = [...new Set([...wanted.slice(0, kept), ...others])];
        const { coming, going } = addressDifference(addresses(wanted), addresses(found));
        expect(texts(coming)).toEqual(wanted.filter((one) => !found.includes(one)));
        expect(texts(going)).toEqual(found.filter((one) => !wanted.includes(one)));
      }),
    );
  });
});

describe("the stamp", () => {
  test("is a route to nowhere that depends on configuration and list", () => {
    const stamp = stampRoute(5, "vni 1", "12 340 1");
    expect(formatPrefix(stamp.dst)).toMatch(/^2[45]\d\.\d+\.\d+\.\d+\/32$/);
    expect(isSameStamp(stamp, stampRoute(5, "vni 1", "12 340 1"))).toBe(true);
    for (const other of [
      stampRoute(5, "vni 2", "12 340 1"),
      stampRoute(5, "vni 1", "12 340 2"),
      stampRoute(6, "vni 1", "12 340 1"),
    ]) {
      expect(isSameStamp(stamp, other)).toBe(false);
    }
    expect(isSameStamp(stamp, null)).toBe(false);
  });

  test("is not another route that the kernel finds for its address", () => {
    const stamp = stampRoute(5, "", "");
    for (const dst of ["10.244.2.0/24", "0.0.0.0/0", "240.0.0.0/4", "240.0.0.1/32"])
      expect(isSameStamp(stamp, { ...stamp, dst: prefix(dst) })).toBe(false);
  });
});
