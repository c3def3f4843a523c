/** A node that was started with ipv6.disable=1: IPv4 has everything, and what asks for IPv6 is told why not. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns } from "../../../testbed/harness.ts";
import { addressOf, BRIDGE, type SmallNode, withNode } from "./lab.ts";

const RANGE6 = [{ subnet: "fd77::/64" }];
const NO_IPV6 = { msg: /this kernel has no IPv6/, details: /\/proc\/sys\/net\/ipv6 is missing/ };

test("this kernel has no IPv6", () => {
  expect(existsSync("/proc/sys/net/ipv4")).toBe(true);
  expect(existsSync("/proc/sys/net/ipv6")).toBe(false);
});

test("loopback has its IPv4 address and no other", () =>
  withNode(async (node) => {
    const pod = await node.sandbox.pod();
    const request = { plugin: "loopback", ...node.who(pod), ifname: "lo" };
    const config = { cniVersion: "1.1.0", name: "lo", type: "loopback" };
    const result = expectSuccess(await node.call({ ...request, command: "ADD", config }));
    expect(result.ips).toEqual([{ address: "127.0.0.1/8", interface: 0 }]);
    expectSuccess(await node.call({ ...request, command: "CHECK", config: { ...config, prevResult: result } }));
    expectSuccess(await node.call({ ...request, command: "DEL", config }));
  }));

test("bridge: pods reach each other, the node and what is behind it, and go without a trace", () =>
  withNode(async (node) => {
    const extra = { ipMasq: true, macspoofchk: true };
    const [a, b] = [await node.pod(extra), await node.pod(extra)];
    expect(await a.pod.ping(addressOf(b.result))).toBe(true);
    expect(await a.pod.ping("10.77.0.1")).toBe(true);
    const outside = await node.sandbox.pod();
    await node.host.ip("link", "add", "out", "type", "veth", "peer", "name", "eth0", "netns", outside.name);
    await node.host.ip("address", "add", "192.0.2.1/24", "dev", "out");
    await node.host.ip("link", "set", "out", "up");
    await outside.ip("address", "add", "192.0.2.2/24", "dev", "eth0");
    await outside.ip("link", "set", "eth0", "up");
    /* It knows no way to pods: an answer comes only if it saw the node's address. */
    expect(await a.pod.ping("192.0.2.2")).toBe(true);
    for (const { pod, result } of [a, b]) {
      expectSuccess(await node.run("bridge", "CHECK", pod, { ...extra, prevResult: result }));
      expectSuccess(await node.run("bridge", "DEL", pod, extra));
      expect(await pod.links()).toEqual(["lo"]);
    }
    expect(await node.host.links()).toEqual(["lo", "out", BRIDGE]);
  }));

test.for([
  ["IPv6 alone", [RANGE6]],
  ["both families", [[{ subnet: "10.77.0.0/24" }], RANGE6]],
] as const)("bridge: %s is refused with the reason, and nothing is kept", ([_name, ranges]) =>
  withNode(async (node) => {
    const pod = await node.sandbox.pod();
    const ipam = { type: "host-local", dataDir: node.sandbox.dataDir, ranges };
    expectError(await node.run("bridge", "ADD", pod, { ipam }), { code: 100, ...NO_IPV6 });
    expect(await pod.links()).toEqual(["lo"]);
    expect(await node.host.links()).toEqual(["lo"]);
    expectSuccess(await node.run("bridge", "DEL", pod, { ipam }));
    const leases = await readdir(join(node.sandbox.dataDir, "pwt-net"));
    expect(leases.filter((name) => /^[\da-f.:_]+$/.test(name))).toEqual([]);
  }),
);

test("portmap: a published port answers, for others and for the node, and is gone after DEL", () =>
  withNode(async (node) => {
    const { pod, result } = await node.pod();
    const { pod: client } = await node.pod();
    await node.traffic.serve({ netns: pod, label: "web", port: 80, protocol: "tcp", address: addressOf(result) });
    const published = expectSuccess(await node.run("portmap", "ADD", pod, { prevResult: result }));
    const ask = (netns: Netns, address: string) =>
      node.traffic.ask({ netns, protocol: "tcp", address, port: 8080, timeoutMs: 10_000 });
    expect(await ask(client, "10.77.0.1")).toMatch(/^web saw /);
    expect(await ask(node.host, "10.77.0.1")).toMatch(/^web saw /);
    expectSuccess(await node.run("portmap", "CHECK", pod, { prevResult: published }));
    expectSuccess(await node.run("portmap", "DEL", pod, { prevResult: published }));
    expect(await ask(client, "10.77.0.1")).not.toMatch(/^web saw /);
  }));

test("bandwidth: both directions are limited, and not after DEL", () =>
  withNode(async (node) => {
    const { pod, result } = await node.pod();
    const limited = expectSuccess(await node.run("bandwidth", "ADD", pod, { prevResult: result }));
    const buckets = async () => (await node.host.exec("tc", ["qdisc", "show"])).match(/qdisc tbf/g) ?? [];
    expect(await buckets()).toHaveLength(2);
    expectSuccess(await node.run("bandwidth", "CHECK", pod, { prevResult: limited }));
    expect(await pod.ping("10.77.0.1")).toBe(true);
    expectSuccess(await node.run("bandwidth", "DEL", pod, { prevResult: limited }));
    expect(await buckets()).toHaveLength(0);
  }));

/** Two nodes on one cable, 192.0.2.1 and .2, each with the network 10.244.<n>.0/24. */
async function withTwoNodes(test: (a: SmallNode, b: SmallNode) => Promise<void>): Promise<void> {
  await withNode((a) =>
    withNode(async (b) => {
      await a.host.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.host.name);
      for (const [node, number] of [
        [a, 1],
        [b, 2],
      ] as const) {
        await node.host.ip("address", "add", `192.0.2.${number}/24`, "dev", "eth0");
        await node.host.ip("link", "set", "eth0", "up");
      }
      await test(a, b);
    }),
  );
}

function overlay(number: number, datapath: string, extra: JsonObject = {}): JsonObject {
  return {
    ...{ cniVersion: "1.1.0", name: "pwt-net", type: "vxlan-overlay", datapath },
    podCIDRs: [`10.244.${number}.0/24`],
    clusterCIDRs: ["10.244.0.0/16"],
    peers: [1, 2].map((peer) => ({ nodeIP: `192.0.2.${peer}`, podCIDRs: [`10.244.${peer}.0/24`] })),
    ...extra,
  };
}

test.for(["classic", "gpe"])("vxlan-overlay, %s: pods of two nodes reach each other", (datapath) =>
  withTwoNodes(async (a, b) => {
    const pods: Netns[] = [];
    for (const [node, number] of [
      [a, 1],
      [b, 2],
    ] as const) {
      const ipam = {
        type: "host-local",
        dataDir: node.sandbox.dataDir,
        ranges: [[{ subnet: `10.244.${number}.0/24` }]],
      };
      const { pod, result } = await node.pod({ ipam });
      const request = { plugin: "vxlan-overlay", ...node.who(pod) };
      const config = overlay(number, datapath, { prevResult: result });
      const added = expectSuccess(await node.call({ ...request, command: "ADD", config }));
      expectSuccess(await node.call({ ...request, command: "CHECK", config: { ...config, prevResult: added } }));
      pods.push(pod);
    }
    expect(await pods[0]?.ping("10.244.2.2")).toBe(true);
    expect(await pods[1]?.ping("10.244.1.2")).toBe(true);
  }),
);

test("vxlan-overlay: IPv6 is refused with the reason, and leaves nothing", () =>
  withTwoNodes(async (a) => {
    const peers = [1, 2].map((peer) => ({ nodeIP: `192.0.2.${peer}`, podCIDRs: [`fd44:0:0:${peer}::/64`] }));
    const config = overlay(1, "classic", { podCIDRs: ["fd44:0:0:1::/64"], clusterCIDRs: ["fd44::/48"], peers });
    const request = { plugin: "vxlan-overlay", config };
    expectError(await a.call({ ...request, command: "STATUS" }), { code: 50, msg: /IPv6/ });
    expect(await a.host.links()).toEqual(["eth0", "lo"]);
  }));
