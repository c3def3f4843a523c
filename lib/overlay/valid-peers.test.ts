/** Lists that contradict themselves or the node: what goes is named, what can be used is used. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { type Address, formatAddress, type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import { type PeerList, vtepMac } from "./peers.ts";
import { parsePeersFile } from "./peers-file.ts";
import { type OwnNode, ownRowOf, type ValidPeers, validPeers } from "./valid-peers.ts";

const address = (text: string): Address => parseAddress(text) as Address;
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;

interface Record {
  readonly nodeIP: string;
  readonly podCIDRs?: readonly string[];
  readonly mac?: string;
}

const OWN: OwnNode = {
  nodeIp: address("192.0.2.1"),
  podCidrs: [prefix("10.244.1.0/24"), prefix("fd44:0:0:1::/64")],
  mac: vtepMac(address("192.0.2.1")),
  mixed: false,
  near: ["192.0.2.1", "192.0.2.254"].map(address),
};
const OWN_RECORD: Record = { nodeIP: "192.0.2.1", podCIDRs: ["fd44:0:0:1::/64", "10.244.1.0/24"] };

const node = (number: number, more: Partial<Record> = {}): Record => ({
  nodeIP: `192.0.2.${number}`,
  podCIDRs: [`10.244.${number}.0/24`, `fd44:0:0:${number}::/64`],
  ...more,
});

function listOf(records: readonly Record[]): PeerList {
  const first = { generation: 7, complete: true, peers: records.length };
  const text = [first, ...records].map((line) => `${JSON.stringify(line)}\n`).join("");
  return parsePeersFile(new TextEncoder().encode(text), "peers.ndjson");
}

function sound(records: readonly Record[], own = OWN): ValidPeers {
  const list = listOf(records);
  return validPeers(list, ownRowOf(list.peers, own.nodeIp, own.podCidrs), own);
}

const usedOf = ({ peers }: ValidPeers): string[] =>
  Array.from({ length: peers.count }, (_, row) => formatAddress(peers.host(row)).replace("192.0.2.", ""));

describe("a list", () => {
  test("may name this node, which is no peer of its own", () => {
    expect(sound([node(2), OWN_RECORD]).ownRow).toBe(1);
    expect(sound([node(2), node(3)]).ownRow).toBe(-1);
  });

  test("knows this node by its networks where its address is translated on the way", () => {
    const { peers, ownRow, rejects } = sound([node(2), { ...OWN_RECORD, nodeIP: "203.0.113.9" }]);
    expect([ownRow, peers.count, rejects]).toEqual([1, 2, []]);
  });

  test.each<[string, readonly Record[], readonly string[], RegExp]>([
    ["one address twice", [node(2), node(3), node(9, { nodeIP: "192.0.2.2" })], ["3"], /line 2 .* line 4 have one/],
    ["the same twice", [node(2), node(3), node(2)], ["2", "3"], /line 4 .* line 2/],
    ["this node twice", [OWN_RECORD, node(2), { nodeIP: "192.0.2.1" }], ["1", "2"], /line 4 .* one address/],
    ["this node twice, first wrongly", [{ nodeIP: "192.0.2.1" }, node(2), OWN_RECORD], ["2", "1"], /line 2 .* one/],
    [
      "one Ethernet address twice",
      [node(2), node(3, { mac: "02:00:00:00:00:03" }), node(4, { mac: "02:00:00:00:00:03" })],
      ["2"],
      /line 3 .*02:00:00:00:00:03 .* line 4/,
    ],
    ["this node's Ethernet address", [node(2), node(4, { mac: "0e:f4:c0:00:02:01" })], ["2"], /line 3 .* this node/],
    ["one network twice", [node(2), node(3), node(4, { podCIDRs: ["10.244.2.0/24"] })], ["3"], /line [24] .* overlap/],
    [
      "one network that holds all others",
      [node(2), node(3), node(4, { podCIDRs: ["10.244.0.0/16"] }), node(5)],
      ["2", "3", "5"],
      /line 4 .*10\.244\.0\.0\/16.* overlap/,
    ],
    [
      "two networks that overlap in one record",
      [node(2), node(4, { podCIDRs: ["10.9.0.0/16", "10.9.1.0/24"] })],
      ["2"],
      /line 3 .* overlap/,
    ],
    [
      "this node's network under another address",
      [node(2), node(4, { podCIDRs: ["10.244.1.0/24"] })],
      ["2"],
      /line 3 .* of this node .* overlap/,
    ],
    [
      "a node inside a network of pods",
      [node(2), node(3), node(4, { nodeIP: "10.244.2.9" })],
      ["3"],
      /line [24] .* circles/,
    ],
    ["a node inside its own pods", [node(2), node(4, { podCIDRs: ["192.0.2.4/32"] })], ["2"], /line 3 .* circles/],
    ["a network around nodes", [node(2), node(3), node(4, { podCIDRs: ["192.0.2.0/29"] })], ["2", "3"], /line 4/],
    ["a network around this node", [node(8), node(9, { podCIDRs: ["192.0.2.0/30"] })], ["8"], /line 3 .*192\.0\.2\.1,/],
    ["a network around its router", [node(8), node(9, { podCIDRs: ["192.0.2.252/30"] })], ["8"], /line 3 .*2\.254/],
    ["the other IP version", [node(2), node(4, { nodeIP: "fd31::2" })], ["2"], /line 3 .*fd31::2.*gpe/],
  ])("with %s is used without it, and its line is named", (_what, records, used, text) => {
    const found = sound(records);
    expect(usedOf(found)).toEqual(used);
    expect(found.rejects.map((reject) => reject.text).join("\n")).toMatch(text);
    expect(found.rejects.length + used.length).toBe(records.length);
  });

  test.each<[string, readonly Record[], OwnNode, RegExp]>([
    [
      "other pods of this node",
      [node(2), { nodeIP: "192.0.2.1", podCIDRs: ["10.244.7.0/24"] }],
      OWN,
      /line 3.*other pods/,
    ],
    ["a configuration that overlaps", [], { ...OWN, podCidrs: ["10.9.0.0/16", "10.9.1.0/24"].map(prefix) }, /overlap/],
  ])("with %s is refused: that is this node's mistake", (_what, records, own, text) => {
    expect(() => sound(records, own)).toThrow(CniError);
    expect(() => sound(records, own)).toThrow(text);
  });

  test("may mix IP versions where the datapath can", () => {
    const { rejects } = sound([node(2, { nodeIP: "fd31::2" })], { ...OWN, mixed: true });
    expect(rejects).toEqual([]);
  });

  test("of any records is used as far as no two contradict each other, and nothing goes without a reason", () => {
    const cidr = fc
      .tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 20, max: 28 }))
      .map(([third, length]) => `10.10.${third}.0/${length}`);
    const record = fc
      .tuple(fc.integer({ min: 10, max: 30 }), fc.array(cidr, { maxLength: 3 }))
      .map(([last, podCIDRs]) => ({ nodeIP: `192.0.2.${last}`, podCIDRs }));
    const ends = (text: string): readonly [number, number] => {
      const [ip = "", length = "0"] = text.split("/");
      const size = 2 ** (32 - Number(length));
      const first = Math.floor((Number(ip.split(".")[2]) * 256) / size) * size;
      return [first, first + size - 1];
    };
    const clash = (a: Record, b: Record): boolean =>
      a.nodeIP === b.nodeIP ||
      (a.podCIDRs ?? []).some((one) =>
        (b.podCIDRs ?? []).some((other) => {
          const [[from, to], [since, until]] = [ends(one), ends(other)];
          return from <= until && since <= to;
        }),
      );
    const isSound = (one: Record): boolean =>
      (one.podCIDRs ?? []).every((cidr, i) =>
        (one.podCIDRs ?? []).every(
          (other, j) => i === j || !clash({ nodeIP: "", podCIDRs: [cidr] }, { nodeIP: "x", podCIDRs: [other] }),
        ),
      );
    fc.assert(
      fc.property(fc.array(record, { maxLength: 12 }), (records) => {
        const { peers, rejects } = sound(records);
        const lines = Array.from({ length: peers.count }, (_, row) => Number(/\d+$/.exec(peers.place(row))?.[0]) - 2);
        const used = lines.map((line) => records[line] as Record);
        expect(used.every((a, i) => isSound(a) && used.every((b, j) => i >= j || !clash(a, b)))).toBe(true);
        expect(used.length + rejects.length).toBe(records.length);
        records.forEach((one, i) => {
          if (isSound(one) && records.every((other, j) => i === j || !clash(one, other))) expect(lines).toContain(i);
        });
      }),
      { numRuns: 500 },
    );
  });
});
