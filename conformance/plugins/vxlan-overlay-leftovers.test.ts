/** Whatever is changed about an overlay, nothing of what it was before stays on the node. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { binDirectory, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { type Node, withCluster } from "./overlay-lab.ts";

const CLUSTER = ["10.244.0.0/16", "fd44::/48"];

/** All that a node has of overlays: devices, tables, entries, and the rules' text. */
async function state(node: Node): Promise<string[]> {
  const { netns } = node;
  const links = (await netns.query("link", "show", "type", "vxlan")).map((link) => `link ${link.ifname}`);
  const tables = (await netns.exec("nft", ["list", "tables"])).split("\n").filter((line) => line.includes("overlay"));
  const rules = (await netns.exec("nft", ["list", "ruleset"]))
    .split("\n")
    .filter((line) => /8472|8473|10\.244|172\.31/.test(line));
  const entries = await Promise.all([
    netns.ip("neigh", "show", "nud", "permanent"),
    netns.ip("route", "show", "proto", "112"),
    netns.ip("-6", "route", "show", "proto", "112"),
    netns.exec("bridge", ["fdb", "show"]),
  ]);
  /* Not the stamp, which is another one each time, and not the kernel's own entries for multicast. */
  const lines = entries.flatMap((text) => text.split("\n")).filter((line) => !/^2[45]\d\.|^(33:33|01:00)/.test(line));
  return [...links, ...tables, ...rules, ...lines].map((line) => line.trim()).sort();
}

describe("a change of the configuration leaves what a fresh node would have", () => {
  const CHANGES: readonly JsonObject[] = [
    { vni: 7 },
    { vni: 7, port: 8473 },
    { port: 8473 },
    { datapath: "gpe" },
    { datapath: "gpe", vni: 7 },
    { directRouting: true },
    { peersOnly: false },
    { masquerade: false },
    { pmtud: true },
    { mtu: 1300 },
    { clusterCIDRs: ["10.0.0.0/8", "fd44::/32"] },
    { peersOnly: false, masquerade: false },
  ];

  test.each(CHANGES)("%j and back", (change) =>
    withCluster({ nodes: 3, overlay: { clusterCIDRs: CLUSTER } }, async (cluster) => {
      const node = cluster.node(1);
      const status = async (more: JsonObject) => expectSuccess(await cluster.call(node, "STATUS", more));
      await status({});
      const before = await state(node);
      expect(before.join("\n")).toContain("172.31.0.3");
      await status(change);
      const after = await state(node);
      /* What a timer calls knows of the last configuration only. */
      await node.netns.exec(join(binDirectory, "vxlan-overlay"), ["repair"]);
      expect(await state(node)).toEqual(after);
      await status({});
      expect(await state(node)).toEqual(before);
      /* The node again, from nothing. */
      await node.netns.exec("sh", ["-ec", "ip link del overlay1; ip route flush proto 112"]);
      await node.netns.exec("sh", ["-c", "nft list tables | sed 's/^/delete /' | nft -f -"]);
      await status(change);
      expect(await state(node)).toEqual(after);
    }),
  );

  test("pods go on talking through it", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      for (const more of [{ vni: 7 }, { vni: 8, datapath: "gpe" }, {}]) {
        for (const { node } of [a, b]) expectSuccess(await cluster.call(node, "STATUS", more));
        expect(await cluster.ask(a.netns, b.v4)).toBe(`pod-2 saw ${a.v4}`);
        expect(await cluster.ask(b.netns, a.v6)).toBe(`pod-1 saw ${b.v6}`);
      }
    }));
});

test("a second overlay of the network, for other pods, is left alone", () =>
  withCluster({ nodes: 1 }, async (cluster) => {
    const node = cluster.node(1);
    expectSuccess(await cluster.call(node, "STATUS"));
    const other = { vni: 9, port: 8473, podCIDRs: ["10.250.1.0/24"], peersFile: null };
    const peers = [{ nodeIP: "172.31.0.2", podCIDRs: ["10.250.2.0/24"] }];
    expectSuccess(await cluster.call(node, "STATUS", { ...other, peers }));
    expect((await node.netns.links()).filter((name) => name.startsWith("overlay"))).toEqual(["overlay1", "overlay9"]);
    expect(await node.netns.exec("nft", ["list", "tables"])).toMatch(/podwire_overlay1\n.*podwire_overlay9/);
  }));
