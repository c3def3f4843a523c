/** A cluster that grows node by node, carries what clusters carry, and changes while pods come. */
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { expectSuccess, type Netns } from "../../testbed/harness.ts";
import { type Cluster, type Datapath, type Family, type Pod, withCluster } from "./overlay-lab.ts";

const WAYS: readonly (readonly [Datapath, Family])[] = [
  ["classic", 4],
  ["classic", 6],
  ["gpe", 4],
  ["gpe", 6],
];

/** Every pod reaches every other one, and is seen by its own address. */
async function expectAllJoined(cluster: Cluster, pods: readonly Pod[]): Promise<void> {
  for (const from of pods) {
    for (const to of pods) {
      if (from === to) continue;
      expect(await cluster.ask(from.netns, to.v4)).toBe(`pod-${to.node.number} saw ${from.v4}`);
      expect(await cluster.ask(from.netns, to.v6)).toBe(`pod-${to.node.number} saw ${from.v6}`);
    }
  }
}

const MEGABYTES = 48;
/** Both print what hash the bytes had. */
const RECEIVE = `
import hashlib, socket, sys
server = socket.create_server((sys.argv[1], 5001), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
server.settimeout(20)
print("ready", flush=True)
connection, peer = server.accept()
connection.settimeout(20)
sha = hashlib.sha256()
while block := connection.recv(1 << 18): sha.update(block)
print(peer[0], sha.hexdigest())`;
const SEND = `
import hashlib, random, socket, sys
connection = socket.create_connection((sys.argv[1], 5001), timeout=20)
sha = hashlib.sha256()
source = random.Random(7)
for _ in range(${MEGABYTES}):
    block = source.randbytes(1 << 20)
    sha.update(block)
    connection.sendall(block)
connection.close()
print(sha.hexdigest())`;

/** Sends many megabytes from a pod to an address of another one, and returns who was seen and whether all arrived whole. */
async function transfer(from: Netns, to: Netns, address: string): Promise<string> {
  const python = (netns: Netns, script: string) =>
    execa("nsenter", [`--net=${netns.path}`, "--", "/usr/bin/python3", "-I", "-S", "-c", script, address]);
  const receiver = python(to, RECEIVE);
  await new Promise((resolve) => receiver.stdout?.once("data", resolve));
  const sent = (await python(from, SEND)).stdout.trim();
  const [peer = "", received = ""] = ((await receiver).stdout.split("\n")[1] ?? "").split(" ");
  return `${peer.replace("::ffff:", "")} ${received === sent ? "whole" : "spoilt"}`;
}

describe.each(WAYS)("%s over IPv%d", (datapath, underlay) => {
  test("carries large transfers between nodes, with a router between them and without, in both IP versions", () =>
    withCluster({ nodes: 4, datapath, underlay }, async (cluster) => {
      const one = await cluster.pod(cluster.node(1));
      for (const number of [2, 4]) {
        const other = await cluster.pod(cluster.node(number));
        expect(await transfer(one.netns, other.netns, other.v4)).toBe(`${one.v4} whole`);
        expect(await transfer(other.netns, one.netns, one.v6)).toBe(`${other.v6} whole`);
      }
    }));
});

describe.each(["classic", "gpe"] as const)("a cluster (%s)", (datapath) => {
  test("grows from one node to five on two segments, loses two, and gets them back with new addresses", () =>
    withCluster({ nodes: 1, datapath }, async (cluster) => {
      const pods: Pod[] = [];
      for (const number of [1, 2, 3, 4, 5]) {
        if (number > 1) await cluster.addNode(number);
        await cluster.writePeers(cluster.nodes.map((node) => cluster.record(node.number)));
        pods.push(await cluster.pod(cluster.node(number)));
        await cluster.tick();
        await expectAllJoined(cluster, pods.slice(-2));
      }
      await expectAllJoined(cluster, pods);

      const rest = pods.filter((pod) => ![2, 4].includes(pod.node.number));
      await cluster.writePeers(rest.map((pod) => cluster.record(pod.node.number)));
      await cluster.tick(...rest.map((pod) => pod.node));
      await expectAllJoined(cluster, rest);
      for (const pod of rest) {
        expect((await cluster.held(pod.node)).join("\n")).not.toMatch(/10\.244\.[24]\.|172\.31\.(0\.2|1\.4)\b/);
      }

      const moved = [
        [2, "172.31.0.22", "172.31.0.254"],
        [4, "172.31.1.44", "172.31.1.254"],
      ] as const;
      for (const [number, address, router] of moved) {
        const { netns } = cluster.node(number);
        await netns.ip("address", "del", `${cluster.nodeIp(number)}/24`, "dev", "eth0");
        await netns.ip("address", "add", `${address}/24`, "dev", "eth0");
        await netns.ip("route", "replace", "default", "via", router);
      }
      const records = [1, 3, 5].map((number) => cluster.record(number));
      await cluster.writePeers([...records, ...moved.map(([number, nodeIP]) => cluster.record(number, { nodeIP }))]);
      await cluster.tick();
      await expectAllJoined(cluster, pods);
    }));

  test("that changes while twenty pods come is brought up to date by one of them, and all pods come", () =>
    withCluster({ nodes: 2, datapath }, async (cluster) => {
      const node = cluster.node(1);
      const first = await cluster.pod(node);
      await cluster.addNode(3);
      await cluster.writePeers([1, 2, 3].map((number) => cluster.record(number)));
      const monitor = execa("nsenter", [`--net=${node.netns.path}`, "--", "ip", "monitor", "route"], { reject: false });
      await new Promise((resolve) => setTimeout(resolve, 300));
      const pods = await Promise.all(Array.from({ length: 20 }, () => cluster.pod(node)));
      await new Promise((resolve) => setTimeout(resolve, 300));
      monitor.kill();
      const seen = (await monitor).stdout.split("\n");
      /* The new node's route once, and the stamp. */
      expect(seen.filter((line) => line.startsWith("10.244.3.0/24"))).toHaveLength(1);
      expect(seen.filter((line) => /^2[45]\d\./.test(line))).toHaveLength(1);
      const [b, c] = [await cluster.pod(cluster.node(2)), await cluster.pod(cluster.node(3))];
      for (const pod of [first, pods[0], pods[19]]) {
        if (pod === undefined) throw new Error("a pod is missing");
        await expectAllJoined(cluster, [pod, b]);
        await expectAllJoined(cluster, [pod, c]);
      }
      for (const pod of pods) expectSuccess(await cluster.callFor(pod, "CHECK"));
    }));
});
