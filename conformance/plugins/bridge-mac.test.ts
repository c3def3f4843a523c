/** bridge with a requested MAC: nobody gets one that another link on the bridge has, since then it got the other's packets. */
import { describe, expect, test } from "vitest";
import { type CallResult, expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { hostEnd } from "./bridge-lab.ts";
import { remains } from "./node-filter.ts";
import { type Node, withNode } from "./portmap-lab.ts";
import { FOREIGN, macOf } from "./sender-lab.ts";

const WANTED = "02:11:22:33:44:55";

/** An ADD that asks for a MAC, in one of the three ways. */
async function ask(node: Node, mac: string, way = "runtimeConfig"): Promise<CallResult> {
  const netns = await node.namespace();
  const who = { netns, containerId: netns.name, ifname: "eth0" };
  const more: Record<string, JsonObject> = {
    runtimeConfig: { capabilities: { mac: true }, runtimeConfig: { mac } },
    "args.cni": { args: { cni: { mac } } },
  };
  const environment = way === "CNI_ARGS" ? { args: `IgnoreUnknown=1;MAC=${mac}` } : {};
  return node.call("bridge", "ADD", who, node.bridgeConfig(more[way] ?? {}), environment);
}

async function expectTaken(node: Node, mac: string, holder: RegExp | string): Promise<void> {
  const links = await node.host.query("link", "show");
  const result = await ask(node, mac);
  expectError(result, { code: 102, msg: new RegExp(`the requested MAC ${mac} is taken by `) });
  expect(result.stdout).toMatch(holder);
  const names = (list: readonly JsonObject[]) => list.map((link) => link.ifname);
  expect(names(await node.host.query("link", "show"))).toEqual(names(links));
}

describe("a MAC is refused that", () => {
  test("the bridge or one of its ports has", () =>
    withNode({}, async (node) => {
      const pod = await node.pod({ portmap: null });
      await expectTaken(node, await macOf(node.host, "cni0"), "bridge cni0");
      await expectTaken(node, await macOf(node.host, hostEnd(pod.bridged)), hostEnd(pod.bridged));
    }));

  test("a pod has, in its namespace, silent as it may be", () =>
    withNode({}, async (node) => {
      const pod = await node.pod({ portmap: null });
      const holder = new RegExp(`${hostEnd(pod.bridged)} .*${pod.containerId} eth0`);
      await expectTaken(node, await macOf(pod.netns), holder);
      const requested = await ask(node, WANTED);
      expectSuccess(requested);
      await node.host.exec("bridge", ["fdb", "flush", "dev", "cni0"]).catch(() => "");
      await expectTaken(node, WANTED, hostEnd(requested.json as JsonObject));
    }));

  test("a pod had when it was made, and one that it uses inside", () =>
    withNode({}, async (node) => {
      const pod = await node.pod({ portmap: null });
      const before = await macOf(pod.netns);
      await pod.netns.exec("sh", [
        "-c",
        `ip link set eth0 down; ip link set eth0 address ${FOREIGN}; ip link set eth0 up`,
      ]);
      await expectTaken(node, before, pod.containerId);
      await expectTaken(node, FOREIGN, pod.containerId);
      const frame = Buffer.from(`ffffffffffff${WANTED.replaceAll(":", "")}88b5${"00".repeat(46)}`, "hex");
      await node.traffic.send(pod.netns, "eth0", frame);
      await expectTaken(node, WANTED, pod.containerId);
    }));

  test("somebody else's link has behind a port of the bridge", () =>
    withNode({}, async (node) => {
      await node.pod({ portmap: null });
      const other = await node.namespace();
      const peer = ["peer", "name", "eth0", "address", FOREIGN, "netns", other.name];
      await node.host.ip("link", "add", "x0", "type", "veth", ...peer);
      await node.host.ip("link", "set", "x0", "master", "cni0", "up");
      await expectTaken(node, FOREIGN, "x0");
    }));
});

test.each(["runtimeConfig", "args.cni", "CNI_ARGS"])("it is the same however it is asked for: %s", (way) =>
  withNode({}, async (node) => {
    const pod = await node.pod({ portmap: null });
    expectError(await ask(node, await macOf(pod.netns), way), { code: 102 });
    const result = await ask(node, WANTED, way);
    expectSuccess(result);
    expect(result.stdout).toContain(WANTED);
  }),
);

test("what was only heard of behind another port is no reason: a pod may have moved here", () =>
  withNode({}, async (node) => {
    await node.pod({ portmap: null });
    const other = await node.namespace();
    await node.host.ip("link", "add", "x0", "type", "veth", "peer", "name", "eth0", "netns", other.name);
    await node.host.ip("link", "set", "x0", "master", "cni0", "up");
    await other.ip("link", "set", "eth0", "up");
    await node.traffic.send(
      other,
      "eth0",
      Buffer.from(`ffffffffffff${WANTED.replaceAll(":", "")}88b5${"00".repeat(46)}`, "hex"),
    );
    expectSuccess(await ask(node, WANTED));
  }));

test("of many that ask for one at once exactly one gets it, and it is free again when its link has gone", () =>
  withNode({}, async (node) => {
    await node.pod({ portmap: null });
    const asked = await Promise.all(Array.from({ length: 8 }, () => ask(node, WANTED)));
    const won = asked.filter((result) => result.exitCode === 0);
    expect(won).toHaveLength(1);
    for (const result of asked) if (!won.includes(result)) expectError(result, { code: 102 });
    await node.host.ip("link", "del", hostEnd(won[0]?.json as JsonObject));
    expectSuccess(await ask(node, WANTED));
    expect((await remains(node)).filter((line) => line.includes("record"))).toEqual([]);
  }));
