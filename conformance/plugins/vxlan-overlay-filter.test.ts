/** What the overlay keeps out and what it translates: strangers' packets, and traffic that leaves the cluster. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess } from "../../testbed/harness.ts";
import { type Cluster, type Node, withCluster } from "./overlay-lab.ts";

const CLUSTER = ["10.244.0.0/16", "fd44::/48"];

/** Makes a node that is no peer send to pods of node 1 through a device of its own, as if it were one. */
async function forge(cluster: Cluster, stranger: Node, datapath: "classic" | "gpe"): Promise<void> {
  const lines =
    datapath === "classic"
      ? `ip link add vx0 address 0e:00:00:00:00:66 mtu 1450 type vxlan id 1 dstport 8472 nolearning
         ip address add 10.244.66.1/32 dev vx0
         ip link set vx0 up
         ip neigh add 10.244.1.0 lladdr 0e:f4:ac:1f:00:01 dev vx0 nud permanent
         bridge fdb add 0e:f4:ac:1f:00:01 dev vx0 dst ${cluster.nodeIp(1)} self permanent
         ip route add 10.244.1.0/24 via 10.244.1.0 dev vx0 onlink`
      : `ip link add vx0 mtu 1464 type vxlan external gpe dstport 8472
         ip address add 10.244.66.1/32 dev vx0
         ip link set vx0 up
         ip route add 10.244.1.0/24 encap ip id 1 dst ${cluster.nodeIp(1)} dev vx0`;
  await stranger.netns.exec("sh", ["-ec", lines]);
}

describe.each(["classic", "gpe"] as const)("VXLAN packets from a host that is no peer (%s)", (datapath) => {
  test.each([
    [true, []],
    [false, ["10.244.66.1"]],
  ] as const)("with peersOnly %s", (peersOnly, expected) =>
    withCluster({ nodes: 3, datapath, overlay: { peersOnly } }, async (cluster) => {
      await cluster.writePeers([cluster.record(1), cluster.record(2)]);
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      const stranger = cluster.node(3);
      await forge(cluster, stranger, datapath);
      const question = { address: a.v4, port: 80, protocol: "udp", text: "forged", timeoutMs: 300 } as const;
      await cluster.traffic.ask({ netns: stranger.netns, ...question });
      const seen = await cluster.traffic.seen(a.netns, "pod-1");
      expect(seen.map(([peer]) => peer)).toEqual(expected);
      /* Peers are not concerned, and as one the stranger would be heard. */
      expect(await cluster.ask(b.netns, a.v4)).toBe(`pod-1 saw ${b.v4}`);
      await cluster.writePeers([cluster.record(1), cluster.record(2), cluster.record(3)]);
      await cluster.tick(a.node);
      await cluster.traffic.seen(a.netns, "pod-1");
      await cluster.traffic.ask({ netns: stranger.netns, ...question });
      expect((await cluster.traffic.seen(a.netns, "pod-1")).map(([peer]) => peer)).toEqual(["10.244.66.1"]);
    }),
  );
});

describe("the packet filter", () => {
  test("is put back by the next call after a flush, a rule deleted, or the table deleted", () =>
    withCluster({ nodes: 2, overlay: { clusterCIDRs: CLUSTER } }, async (cluster) => {
      const a = await cluster.pod(cluster.node(1));
      const { netns } = a.node;
      const rules = () => netns.exec("nft", ["list", "table", "inet", "podwire_overlay1"]);
      const before = await rules();
      expect(before).toContain("172.31.0.2");
      for (const harm of [
        "flush ruleset",
        "delete table inet podwire_overlay1",
        "flush chain inet podwire_overlay1 output",
      ]) {
        await netns.exec("nft", [harm]);
        await cluster.tick(a.node);
        expect(await rules(), harm).toBe(before);
      }
      await netns.exec("nft", ["delete element inet podwire_overlay1 peers4 { 172.31.0.2 }"]);
      await netns.exec("nft", ["add element inet podwire_overlay1 peers4 { 172.31.0.99 }"]);
      expectSuccess(await cluster.callFor(a, "CHECK"));
      expect(await rules()).toBe(before);
      /* With the peers file broken it is made from what the kernel knows of the peers. */
      await cluster.replacePeers("{");
      await netns.exec("nft", ["flush ruleset"]);
      await cluster.tick(a.node);
      expect(await rules()).toBe(before);
    }));

  test("gives what leaves the cluster the node's address, and nothing else", () =>
    withCluster({ nodes: 3, overlay: { clusterCIDRs: CLUSTER } }, async (cluster) => {
      await cluster.writePeers([cluster.record(1), cluster.record(2)]);
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      expect(await cluster.ask(a.netns, b.v4)).toBe(`pod-2 saw ${a.v4}`);
      expect(await cluster.ask(a.netns, b.v6)).toBe(`pod-2 saw ${a.v6}`);
      const outside = cluster.node(3).netns;
      await cluster.traffic.serveAll(outside, "outside", 80);
      expect(await cluster.ask(a.netns, cluster.nodeIp(3))).toBe("outside saw 172.31.0.1");
      expect(await cluster.ask(a.netns, cluster.nodeIp(3, 6))).toBe("outside saw fd31::1");
      /* To the pod's own node by the pod's address. */
      await cluster.traffic.serveAll(a.node.netns, "node", 80);
      expect(await cluster.ask(a.netns, cluster.nodeIp(1))).toBe(`node saw ${a.v4}`);
      /* A peer's own address is outside the cluster's networks, unless it is named. */
      await cluster.traffic.serveAll(b.node.netns, "peer", 80);
      expect(await cluster.ask(a.netns, cluster.nodeIp(2))).toBe("peer saw 172.31.0.1");
      expectSuccess(await cluster.call(a.node, "STATUS", { nonMasqueradeCIDRs: ["172.31.0.0/16"] }));
      expect(await cluster.ask(a.netns, cluster.nodeIp(2))).toBe(`peer saw ${a.v4}`);
      const flows = await a.node.netns.exec("cat", ["/proc/net/nf_conntrack"]).catch(() => "");
      expect(flows).not.toContain("dport=8472");
    }));

  test("needs the cluster's networks to translate, and these hold the node's own", () =>
    withCluster({ nodes: 1 }, async (cluster) => {
      const node = cluster.node(1);
      expectError(await cluster.call(node, "STATUS", { masquerade: true }), { code: 7, msg: /clusterCIDRs/ });
      const wrong = { clusterCIDRs: ["10.245.0.0/16", "fd44::/48"] };
      expectError(await cluster.call(node, "STATUS", wrong), { code: 7, msg: /clusterCIDRs.*10\.244\.1\.0\/24/ });
    }));
});
