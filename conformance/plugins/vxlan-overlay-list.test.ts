/** Mistakes in the list of peers: they concern the nodes that they are about, nobody else's pods, and no STATUS. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, noted } from "../../testbed/harness.ts";
import { type Cluster, type Node, type PeerRecord, withCluster } from "./overlay-lab.ts";

/** What is wrong with a list, and what is said of it. */
type Mistake = readonly [string, (cluster: Cluster) => readonly unknown[], RegExp];

const record = (cluster: Cluster, number: number, more: Partial<PeerRecord> = {}): PeerRecord =>
  cluster.record(number, more);

/** Records 2 and 3 are in doubt, 4 and 5 are sound. */
const MISTAKES: readonly Mistake[] = [
  ["two networks overlap", (c) => [record(c, 2), record(c, 3, { podCIDRs: ["10.244.2.128/25"] })], /line 3 .* line 4/],
  ["one address twice", (c) => [record(c, 2), record(c, 3, { nodeIP: c.nodeIp(2) })], /line 3 .* line 4/],
  ["an address of the other IP version", (c) => [record(c, 2), record(c, 3, { nodeIP: "fd31::3" })], /line 4 .*gpe/],
  ["no address", (c) => [record(c, 2), record(c, 3, { nodeIP: "node-3" })], /line 4\.nodeIP/],
  ["no network", (c) => [record(c, 2), record(c, 3, { podCIDRs: ["10.244.3"] })], /line 4\.podCIDRs\[0\]/],
  [
    "loopback",
    (c) => [record(c, 2), record(c, 3, { podCIDRs: ["127.0.3.0/24"] })],
    /line 4\.podCIDRs.*127\.0\.0\.0\/8/,
  ],
  ["link-local", (c) => [record(c, 2), record(c, 3, { podCIDRs: ["fe80::/64"] })], /line 4\.podCIDRs.*fe80::\/10/],
  [
    "multicast",
    (c) => [record(c, 2), record(c, 3, { podCIDRs: ["239.1.3.0/24"] })],
    /line 4\.podCIDRs.*224\.0\.0\.0\/4/,
  ],
  ["this node's address inside", (c) => [record(c, 2), record(c, 3, { podCIDRs: ["172.31.0.0/29"] })], /line 4/],
  [
    "the router inside",
    (c) => [record(c, 2), record(c, 3, { podCIDRs: ["172.31.0.252/30"] })],
    /line 4 .*172\.31\.0\.254/,
  ],
  ["this node's network", (c) => [record(c, 2), record(c, 3, { podCIDRs: ["10.244.1.0/24"] })], /line 4 .* this node/],
  ["a line that is no JSON", (c) => [record(c, 2), "nonsense"], /line 4 is not JSON/],
];

/** Puts a list in place of which some lines are what they are. */
async function writeLines(cluster: Cluster, lines: readonly unknown[], header: JsonObject = {}): Promise<void> {
  const [first = ""] = cluster.peersText([], { peers: lines.length, ...header }).split("\n");
  const texts = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
  await cluster.replacePeers(`${[first, ...texts].join("\n")}\n`);
}

async function status(cluster: Cluster, node: Node): Promise<string> {
  return noted(await cluster.call(node, "STATUS"));
}

const about = (lines: readonly string[], ...numbers: readonly number[]): string[] =>
  lines.filter((line) =>
    numbers.some((number) =>
      new RegExp(`10\\.244\\.${number}\\.0|:${number}::|172\\.31\\.[01]\\.${number}\\b`).test(line),
    ),
  );

describe.each(["classic", "gpe"] as const)("a list with a mistake (%s)", (datapath) => {
  test.each(MISTAKES.filter(([what]) => datapath === "classic" || !what.includes("IP version")))(
    "%s: it is named, pods start, new nodes come, and what was known of the nodes in doubt stays",
    (_what, mistaken, text) =>
      withCluster({ nodes: 2, datapath }, async (cluster) => {
        const { node } = await cluster.pod(cluster.node(1));
        await cluster.writePeers([1, 2, 3, 4].map((number) => cluster.record(number)));
        expect(await status(cluster, node)).toBe("");
        await cluster.tick(cluster.node(2));
        const before = await cluster.held(node);
        await writeLines(cluster, [cluster.record(1), ...mistaken(cluster), cluster.record(5)]);
        expect(await status(cluster, node)).toMatch(text);
        const held = await cluster.held(node);
        expect(about(held, 2, 3)).toEqual(about(before, 2, 3));
        expect(about(held, 5)).toHaveLength(datapath === "classic" ? 5 : 2);
        /* What was said once is said as long as it is so. */
        expect(await status(cluster, node)).toMatch(text);
        const pod = await cluster.pod(node);
        const far = await cluster.pod(cluster.node(2));
        expect(await cluster.ask(pod.netns, far.v4)).toBe(`pod-2 saw ${pod.v4}`);
        expect(noted(await cluster.callFor(pod, "CHECK"))).toMatch(text);
        /* Nodes in doubt are peers still; the device may be lost meanwhile. */
        expect(await node.netns.exec("nft", ["list", "table", "inet", "podwire_overlay1"])).toContain("172.31.0.3");
        await cluster.writePeers([1, 2, 5].map((number) => cluster.record(number)));
        expect(await status(cluster, node)).toBe("");
        expect(about(await cluster.held(node), 3, 4)).toEqual([]);
      }),
  );
});

describe("nodes in doubt", () => {
  test("are kept with the device that is made again, and let go with a list that says so", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const node = cluster.node(1);
      await cluster.writePeers([1, 2, 3].map((number) => cluster.record(number)));
      await cluster.tick(node);
      const before = await cluster.held(node);
      await writeLines(cluster, [
        cluster.record(1),
        cluster.record(2),
        cluster.record(3, { nodeIP: cluster.nodeIp(2) }),
      ]);
      expect(noted(await cluster.call(node, "STATUS", { pmtud: true }))).toMatch(/line 3 .* line 4/);
      expect(await cluster.held(node)).toEqual(before);
      await cluster.writePeers([1, 2].map((number) => cluster.record(number)));
      await cluster.tick(node);
      expect(about(await cluster.held(node), 3)).toEqual([]);
    }));

  test("make way for a record that has their network", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const node = cluster.node(1);
      await cluster.writePeers([1, 2, 3].map((number) => cluster.record(number)));
      await cluster.tick(node);
      const heir = { nodeIP: "172.31.0.9", podCIDRs: ["10.244.3.0/24"] };
      await writeLines(cluster, [cluster.record(1), { nodeIP: cluster.nodeIp(3), podCIDRs: ["10.244.3"] }, heir]);
      await status(cluster, node);
      const route = await node.netns.ip("route", "get", "10.244.3.7");
      expect(route).toContain("via 10.244.3.0");
      expect(await node.netns.ip("neigh", "show", "10.244.3.0", "dev", "overlay1")).toContain("0e:f4:ac:1f:00:09");
    }));

  test("are few where one network holds those of all others: only that one goes", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const node = cluster.node(2);
      const wide = cluster.record(4, { podCIDRs: ["10.244.0.0/16"] });
      await cluster.writePeers([cluster.record(1), cluster.record(2), cluster.record(3), wide]);
      expect(await status(cluster, node)).toMatch(/line 5 .*10\.244\.0\.0\/16/);
      expect(about(await cluster.held(node), 1, 3)).toHaveLength(10);
      expect(about(await cluster.held(node), 4)).toEqual([]);
    }));
});

describe("an older list", () => {
  test("removes nobody and is named, unless it says force; one that does not count is taken", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const node = cluster.node(1);
      const [one, two, three] = [1, 2, 3].map((number) => cluster.record(number));
      await writeLines(cluster, [one, two, three], { generation: 50 });
      expect(await status(cluster, node)).toBe("");
      const before = await cluster.held(node);
      await writeLines(cluster, [one, two], { generation: 49 });
      for (const _ of [1, 2]) expect(await status(cluster, node)).toMatch(/of generation 49.* 50 .*"force":true/);
      expect(await cluster.held(node)).toEqual(before);
      expectSuccess(await cluster.call(node, "GC"));
      expect(await cluster.held(node)).toEqual(before);
      /* Better an old list than none. */
      await node.netns.ip("link", "del", "overlay1");
      expect(await status(cluster, node)).toBe("");
      expect(about(await cluster.held(node), 2, 3)).toHaveLength(5);
      /* One that is refused for this node's own record does not count. */
      await writeLines(cluster, [cluster.record(1, { podCIDRs: ["10.244.8.0/24"] }), two], { generation: 52 });
      expectError(await cluster.call(node, "STATUS"), { code: 50, msg: /line 2 gives this node .* other pods/ });
      await writeLines(cluster, [one, two, three], { generation: 51 });
      expect(await status(cluster, node)).toBe("");
      await writeLines(cluster, [one, two], { generation: 7, force: true });
      expect(await status(cluster, node)).toBe("");
      expect(about(await cluster.held(node), 3)).toEqual([]);
      await writeLines(cluster, [one, three], { generation: 8 });
      expect(await status(cluster, node)).toBe("");
      await writeLines(cluster, [one, two], { generation: 0 });
      expect(await status(cluster, node)).toBe("");
      expect(about(await cluster.held(node), 3)).toEqual([]);
    }));
});

describe("a list of another file", () => {
  test("has blank lines, line ends and a mark of other systems", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const node = cluster.node(1);
      const text = cluster.peersText([1, 2].map((number) => cluster.record(number)));
      await cluster.replacePeers(`\ufeff${text.replaceAll("\n", "\r\n \r\n")}`);
      expect(await status(cluster, node)).toBe("");
      expect(about(await cluster.held(node), 2)).toHaveLength(5);
    }));
});
