import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, formatPrefix } from "../lib/ip/address.ts";
import { parsePeersFile } from "../lib/overlay/peers-file.ts";
import type { ClusterNode } from "./node.ts";
import { headerLine, type PeersOptions, PeersText } from "./peers-text.ts";

const node = (name: string, more: Partial<ClusterNode> = {}): ClusterNode => ({
  ...{ name, uid: name, podCidrs: ["10.244.1.0/24"], addresses: ["192.0.2.1", "2001:db8::1"], flannel: null },
  ...more,
});
const OPTIONS = { family: 4, vni: 1 };
const flannel = {
  backend: "vxlan",
  address: "192.0.2.7",
  address6: "",
  vxlan: { vni: 1, mac: "5a:e2:ee:a4:b0:83", mac6: "" },
};

function peerLines(nodes: readonly ClusterNode[], options: PeersOptions) {
  const peers = new PeersText(options);
  for (const one of nodes) peers.add(one);
  return { text: peers.text(), count: peers.count, notes: peers.notes };
}

function parsed(nodes: readonly ClusterNode[], options = OPTIONS) {
  const { text, count } = peerLines(nodes, options);
  return parsePeersFile(new TextEncoder().encode(`${headerLine(3, count)}${text}`), "peers");
}

describe("PeersText", () => {
  it("has a record for each node, which the overlay reads", () => {
    const { peers, rejects, generation, force } = parsed([node("a"), node("b", { addresses: ["192.0.2.2"] })]);
    expect([peers.count, rejects.length, generation, force]).toEqual([2, 0, 3, true]);
    expect(formatAddress(peers.hosts.address(1))).toBe("192.0.2.2");
    expect(formatPrefix(peers.networks.prefix(0))).toBe("10.244.1.0/24");
  });

  it("takes the address of the IP version that the nodes speak", () => {
    const { text } = peerLines([node("a")], { ...OPTIONS, family: 6 });
    expect(text).toBe('{"nodeIP":"2001:db8::1","podCIDRs":["10.244.1.0/24"],"name":"a"}\n');
  });

  it("gives the device of a node of flannel the MAC that it has", () => {
    expect(peerLines([node("a", { flannel })], OPTIONS).text).toContain('"nodeIP":"192.0.2.7"');
    expect(peerLines([node("a", { flannel })], OPTIONS).text).toContain('"mac":"5a:e2:ee:a4:b0:83"');
  });

  it.each([
    ["has no podCIDRs yet", { podCidrs: [] }],
    ["has no IPv4 address, and the nodes speak IPv4 with each other", { addresses: ["2001:db8::1"] }],
    ['runs flannel with the backend "host-gw", which has no tunnels', { flannel: { ...flannel, backend: "host-gw" } }],
    ["runs flannel, but its annotation backend-data cannot be read", { flannel: { ...flannel, vxlan: null } }],
    ["runs flannel with VNI 9, this network has 1", { flannel: { ...flannel, vxlan: { vni: 9, mac: "", mac6: "" } } }],
  ])("leaves a node out that %s", (problem, more) => {
    const { count, notes } = peerLines([node("a"), node("b", more)], OPTIONS);
    expect([count, notes]).toEqual([1, [`node b ${problem}`]]);
  });

  it("is a whole list whatever the API says of nodes", () => {
    const text = fc.oneof(fc.string(), fc.constantFrom("10.244.1.0/24", "fd00::/64", '"', "\\", "\n"));
    const any = fc.record({
      name: fc.string(),
      uid: fc.string(),
      podCidrs: fc.array(text, { maxLength: 3 }),
      addresses: fc.array(fc.constantFrom("192.0.2.1", "2001:db8::1"), { maxLength: 3 }),
      flannel: fc.constantFrom(null, flannel),
    });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 5 }), (nodes) => {
        const { count } = peerLines(nodes, OPTIONS);
        const { peers, rejects } = parsed(nodes);
        expect(peers.count + rejects.length).toBe(count);
      }),
    );
  });
});
