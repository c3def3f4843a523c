/** The overlay as its users meet it: pods on several nodes talk by their own addresses, and go on doing so. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, noted } from "../../testbed/harness.ts";
import { type Cluster, type Datapath, type Family, type Pod, withCluster } from "./overlay-lab.ts";

const WAYS: readonly (readonly [Datapath, Family, number])[] = [
  ["classic", 4, 1450],
  ["classic", 6, 1430],
  ["gpe", 4, 1464],
  ["gpe", 6, 1444],
];

/** Both pods reach each other and are seen by their own addresses, in both IP versions. */
async function expectFlat(cluster: Cluster, a: Pod, b: Pod): Promise<void> {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    expect(await cluster.ask(from.netns, to.v4)).toBe(`pod-${to.node.number} saw ${from.v4}`);
    expect(await cluster.ask(from.netns, to.v6)).toBe(`pod-${to.node.number} saw ${from.v6}`);
  }
}

async function fits(pod: Pod, address: string, mtu: number): Promise<boolean> {
  const headers = address.includes(":") ? 48 : 28;
  const size = String(mtu - headers);
  const args = ["-n", "-c", "1", "-W", "2", "-M", "do", "-s", size, address];
  return pod.netns.exec("ping", args).then(
    () => true,
    () => false,
  );
}

describe.each(WAYS)("%s over IPv%d", (datapath, underlay, mtu) => {
  test("joins pods of nodes on one segment and behind a router, at full size", () =>
    withCluster({ nodes: 4, datapath, underlay }, async (cluster) => {
      const [one, two, four] = [
        await cluster.pod(cluster.node(1)),
        await cluster.pod(cluster.node(2)),
        await cluster.pod(cluster.node(4)),
      ];
      await expectFlat(cluster, one, two);
      await expectFlat(cluster, one, four);
      for (const address of [four.v4, four.v6]) {
        expect(await fits(one, address, mtu)).toBe(true);
        expect(await fits(one, address, mtu + 1)).toBe(false);
      }
      expect((one.result.interfaces as JsonObject[]).map((item) => item.mtu)).toEqual([mtu, mtu, mtu]);
      expect(await cluster.ask(one.node.netns, four.v4)).toBe("pod-4 saw 10.244.1.0");
      expect(await cluster.ask(one.node.netns, four.v6)).toBe("pod-4 saw fd44:0:0:1::");
      for (const command of ["CHECK", "ADD", "DEL", "DEL"]) expectSuccess(await cluster.callFor(one, command));
    }));
});

describe.each(["classic", "gpe"] as const)("the peers (%s)", (datapath) => {
  test("may come, go, come back under another address, and hand their pods' network on", () =>
    withCluster({ nodes: 3, datapath }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      await cluster.writePeers([cluster.record(1)]);
      await cluster.tick(a.node);
      expect(await cluster.held(a.node)).toEqual([]);

      await cluster.writePeers([cluster.record(1), cluster.record(3)]);
      await cluster.tick(a.node);
      expect((await cluster.held(a.node)).join("\n")).not.toMatch(/172\.31\.0\.2|10\.244\.2\.|fd44:0:0:2:/);
      expect(await cluster.ask(a.netns, b.v4)).not.toMatch(/saw/);

      const moved = cluster.record(2, { nodeIP: "172.31.0.22" });
      await b.node.netns.ip("address", "del", "172.31.0.2/24", "dev", "eth0");
      await b.node.netns.ip("address", "add", "172.31.0.22/24", "dev", "eth0");
      await cluster.writePeers([cluster.record(1), moved, cluster.record(3)]);
      await b.node.netns.ip("route", "replace", "default", "via", "172.31.0.254");
      await cluster.tick();
      await expectFlat(cluster, a, b);

      /* Node 3 takes over the network of node 2. */
      const heir = { nodeIP: cluster.nodeIp(3), podCIDRs: moved.podCIDRs };
      await cluster.writePeers([cluster.record(1), heir]);
      await cluster.tick(a.node);
      expect((await cluster.held(a.node)).join("\n")).not.toContain("172.31.0.22");
      expect((await cluster.held(a.node)).join("\n")).toContain("172.31.0.3");
    }));

  test("are put right again after a link flap, a deleted device and a reboot", () =>
    withCluster({ nodes: 2, datapath }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      const before = await cluster.held(a.node);
      for (const harm of [
        ["link", "set", "overlay1", "down"],
        ["link", "set", "overlay1", "down", "up"],
        ["link", "del", "overlay1"],
        ["route", "flush", "proto", "112"],
      ]) {
        if (harm.includes("up")) {
          await a.node.netns.ip("link", "set", "overlay1", "down");
          await a.node.netns.ip("link", "set", "overlay1", "up");
        } else {
          await a.node.netns.ip(...harm);
        }
        await cluster.tick(a.node);
        expect(await cluster.held(a.node), harm.join(" ")).toEqual(before);
        await expectFlat(cluster, a, b);
      }
      await cluster.killNode(a.node);
      const again = await cluster.addNode(1);
      await expectFlat(cluster, await cluster.pod(again), b);
      expect(await cluster.held(again)).toEqual(before);
    }));

  test("are compared by CHECK and GC: what was deleted or forged by hand is repaired, foreign routes are named", () =>
    withCluster({ nodes: 3, datapath }, async (cluster) => {
      const a = await cluster.pod(cluster.node(1));
      const { netns } = a.node;
      const before = await cluster.held(a.node);
      const harms: (readonly (readonly string[])[])[] = [
        [["route", "del", "10.244.2.0/24"]],
        [["-6", "route", "del", "fd44:0:0:3::/64"]],
        [["route", "add", "10.99.0.0/24", "dev", "overlay1", "proto", "112"]],
        [["route", "add", "10.98.0.0/24", "dev", "overlay1"]],
        [["route", "append", "10.244.2.0/24", "dev", "overlay1", "metric", "7"]],
      ];
      if (datapath === "classic") {
        harms.push(
          [["neigh", "del", "10.244.2.0", "dev", "overlay1"]],
          [["neigh", "replace", "10.244.3.0", "lladdr", "02:00:00:00:00:99", "dev", "overlay1", "nud", "permanent"]],
          [["neigh", "add", "10.97.0.0", "lladdr", "02:00:00:00:00:99", "dev", "overlay1", "nud", "permanent"]],
        );
      }
      let verb = 0;
      for (const harm of harms) {
        for (const command of harm) await netns.ip(...command);
        verb += 1;
        expectSuccess(verb % 2 === 0 ? await cluster.callFor(a, "CHECK") : await cluster.call(a.node, "GC"));
        expect(await cluster.held(a.node), harm.join(" ")).toEqual(before);
      }
      if (datapath === "classic") {
        for (const forged of [
          ["replace", "0e:f4:ac:1f:00:02", "172.31.0.77"],
          ["append", "00:00:00:00:00:00", "172.31.0.78"],
          ["append", "02:00:00:00:00:98", "172.31.0.79"],
        ]) {
          const [how = "", mac = "", host = ""] = forged;
          await netns.exec("bridge", ["fdb", how, mac, "dev", "overlay1", "dst", host]);
          expectSuccess(await cluster.callFor(a, "CHECK"));
          expect(await cluster.held(a.node), forged.join(" ")).toEqual(before);
        }
      }
      await netns.ip("route", "add", "10.244.2.0/24", "via", "172.31.0.254");
      expectError(await cluster.callFor(a, "CHECK"), { code: 101, msg: /10\.244\.2\.0\/24 via 172\.31\.0\.254/ });
    }));

  test("are never lost to a file cut off after any byte, empty, missing or incomplete", () =>
    withCluster({ nodes: 3, datapath }, async (cluster) => {
      const a = await cluster.pod(cluster.node(1));
      const b = await cluster.pod(cluster.node(2));
      const before = await cluster.held(a.node);
      const text = cluster.peersText([cluster.record(1), cluster.record(2), cluster.record(3)]);
      /* What is taken away once does not come back before there is a sound file. */
      for (let length = 0; length < text.length - 1; length += 1) {
        await cluster.replacePeers(text.slice(0, length));
        expect(noted(await cluster.call(a.node, "STATUS"))).toMatch(/peers\.ndjson.*is kept$/m);
        if (length % 16 === 0) expectSuccess(await cluster.call(a.node, "GC"));
        if (length % 32 === 0) expect(await cluster.held(a.node), `${length} bytes`).toEqual(before);
      }
      expect(await cluster.held(a.node)).toEqual(before);
      await cluster.replacePeers(cluster.peersText([cluster.record(1)], { complete: false }));
      expect(noted(await cluster.call(a.node, "STATUS"))).toMatch(/"complete":true/);
      await cluster.writePeers([]);
      expect(noted(await cluster.call(a.node, "STATUS"))).toMatch(/lack all of 2 nodes/);
      expect(await cluster.held(a.node)).toEqual(before);
      /* A pod's ADD does not suffer. */
      await expectFlat(cluster, await cluster.pod(a.node), b);
      await cluster.writePeers([], { force: true });
      await cluster.tick(a.node);
      expect(await cluster.held(a.node)).toEqual([]);
    }));
});

describe("many peers", () => {
  const many = (cluster: Cluster, count: number) =>
    Array.from({ length: count }, (_, i) => ({
      nodeIP: `172.31.${7 + (i >> 8)}.${i & 255 || 255}`.replace(".255", ".254"),
      podCIDRs: [`10.${100 + (i >> 8)}.${i & 255}.0/24`],
    })).concat([{ ...cluster.record(1), podCIDRs: [...cluster.record(1).podCIDRs] }]);

  test("more than half of which go at once stay until the list says force", () =>
    withCluster({ nodes: 1 }, async (cluster) => {
      const node = cluster.node(1);
      await cluster.writePeers(many(cluster, 40));
      await cluster.tick();
      const before = await cluster.held(node);
      await cluster.writePeers(many(cluster, 19));
      expect(noted(await cluster.call(node, "STATUS"))).toMatch(/lack 21 of 40 nodes/);
      expect(await cluster.held(node)).toEqual(before);
      await cluster.writePeers(many(cluster, 20));
      await cluster.tick();
      expect(await cluster.held(node)).toHaveLength(60);
      await cluster.writePeers(many(cluster, 5), { force: true });
      await cluster.tick();
      expect(await cluster.held(node)).toHaveLength(15);
    }));

  test("that change while twenty pods come are applied once, and all pods come", () =>
    withCluster({ nodes: 1 }, async (cluster) => {
      const node = cluster.node(1);
      await cluster.writePeers(many(cluster, 100));
      const calls = await Promise.all(Array.from({ length: 20 }, () => cluster.call(node, "STATUS")));
      for (const result of calls) expectSuccess(result);
      expect(await cluster.held(node)).toHaveLength(300);
    }));
});

describe("this node's own mistake is refused", () => {
  test("in its record of the list: by every verb but DEL, and the kernel keeps what it has", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const a = await cluster.pod(cluster.node(1));
      const before = await cluster.held(a.node);
      await cluster.writePeers([cluster.record(1, { podCIDRs: ["10.244.9.0/24"] }), cluster.record(2)]);
      const msg = /line 2 gives this node .* other pods/;
      expectError(await cluster.call(a.node, "STATUS"), { code: 50, msg });
      expectError(await cluster.callFor(a, "ADD"), { code: 7, msg });
      expectError(await cluster.callFor(a, "CHECK"), { code: 7, msg });
      expectSuccess(await cluster.callFor(a, "DEL"));
      expect(await cluster.held(a.node)).toEqual(before);
    }));

  test("and so is a pod whose address is not of the node's networks", () =>
    withCluster({ nodes: 1 }, async (cluster) => {
      const a = await cluster.pod(cluster.node(1));
      await cluster.writePeers([]);
      const result = await cluster.callFor(a, "ADD", { podCIDRs: ["10.244.7.0/24", "fd44:0:0:1::/64"] });
      expectError(result, {
        code: 7,
        msg: /10\.244\.1\.2\/24 .* not in this node's networks/,
        details: /10\.244\.7\.0\/24/,
      });
    }));
});

describe("one block", () => {
  test("is a working network: the bridge and the addresses come with it", () =>
    withCluster({ nodes: 2, overlay: { clusterCIDRs: ["10.244.0.0/16", "fd44::/48"] } }, async (cluster) => {
      const [a, b] = [await cluster.lonePod(cluster.node(1)), await cluster.lonePod(cluster.node(2))];
      await expectFlat(cluster, a, b);
      expect((a.result.interfaces as JsonObject[]).map((item) => item.mtu)).toEqual([1450, 1450, 1450]);
      const block = { delegate: cluster.delegate(a.node) };
      for (const command of ["CHECK", "STATUS"]) expectSuccess(await cluster.callFor(a, command, block));
      for (const command of ["DEL", "DEL"]) expectSuccess(await cluster.callFor(a, command, block));
      expect(await a.netns.links()).toEqual(["lo"]);
      const nobody = { "cni.dev/valid-attachments": [] };
      expectSuccess(await cluster.call(b.node, "GC", { delegate: cluster.delegate(b.node), ...nobody }));
      expect(await b.netns.links()).toEqual(["lo"]);
    }));

  test("gives a pod one address of each IP version, however many networks the node has", () =>
    withCluster({ nodes: 1 }, async (cluster) => {
      const node = cluster.node(1);
      await cluster.writePeers([]);
      const pod = await cluster.namespaceForPod();
      const name = `pwt-${pod.name}`;
      const podCIDRs = ["10.244.1.0/24", "fd44:0:0:1::/64", "10.244.9.0/24"];
      const who = { containerId: pod.name, netns: pod.path, ifname: "eth0" };
      const options = { name, podCIDRs, delegate: {} };
      const result = expectSuccess(await cluster.call(node, "ADD", options, who));
      const addresses = (result.ips as JsonObject[]).map((ip) => String(ip.address));
      expect(addresses).toEqual(["10.244.1.2/24", "fd44:0:0:1::2/64"]);
      expectSuccess(await cluster.call(node, "DEL", options, who));
      await rm(join("/var/lib/cni/networks", name), { recursive: true, force: true });
    }));

  test("does not masquerade between pods, nor does a chain", () =>
    withCluster({ nodes: 1 }, async (cluster) => {
      const node = cluster.node(1);
      const problem = { code: 7, msg: /bridge has "ipMasq": true/, details: /clusterCIDRs/ } as const;
      const pod = await cluster.pod(node);
      expectError(await cluster.callFor(pod, "ADD", { delegate: { ipMasq: true } }), problem);
      const masquerading = await cluster.bridged(node, { ipMasq: true });
      expectError(await cluster.callFor(masquerading, "ADD"), problem);
      const clusterCIDRs = ["10.244.0.0/16", "fd44::/48"];
      expectError(await cluster.callFor(masquerading, "ADD", { clusterCIDRs }), problem);
      const exempt = await cluster.bridged(node, { ipMasq: true, nonMasqueradeCIDRs: clusterCIDRs });
      expectSuccess(await cluster.callFor(exempt, "ADD", { clusterCIDRs }));
      for (const other of [masquerading, exempt]) await cluster.unbridge(other);
    }));
});

describe("direct routing", () => {
  test.each(["classic", "gpe"] as const)("uses a tunnel only behind the router (%s)", (datapath) =>
    withCluster({ nodes: 4, datapath, overlay: { directRouting: true } }, async (cluster) => {
      const [a, b, c] = [
        await cluster.pod(cluster.node(1)),
        await cluster.pod(cluster.node(2)),
        await cluster.pod(cluster.node(4)),
      ];
      await expectFlat(cluster, a, b);
      await expectFlat(cluster, a, c);
      const routes = await a.node.netns.ip("route", "show", "proto", "112");
      expect(routes).toMatch(/^10\.244\.2\.0\/24 via 172\.31\.0\.2 dev eth0/m);
      expect(routes).toMatch(/^10\.244\.4\.0\/24 .*dev overlay1/m);
      /* From there to a tunnel for all, and the plain routes go. */
      expectSuccess(await cluster.call(a.node, "STATUS", { directRouting: false }));
      expect(await a.node.netns.ip("route", "show", "proto", "112")).not.toContain("dev eth0");
    }),
  );
});

describe("another owner", () => {
  test.each([
    [
      "of port and VNI",
      ["flannel.1", "type", "vxlan", "id", "1", "dstport", "8472", "nolearning"],
      /flannel\.1 has UDP port 8472 and has VNI 1/,
    ],
    [
      "of all VNIs of the port",
      ["cilium_vxlan", "type", "vxlan", "external", "dstport", "8472"],
      /cilium_vxlan has UDP port 8472 and takes all/,
    ],
    ["of the device's name", ["overlay1", "type", "bridge"], /overlay1 is a bridge/],
  ])("%s is named", (_what, link, problem) =>
    withCluster({ nodes: 1 }, async (cluster) => {
      const { netns } = cluster.node(1);
      await netns.ip("link", "add", ...link);
      await netns.ip("link", "set", link[0] ?? "", "up");
      expectError(await cluster.call(cluster.node(1), "STATUS"), { code: 50, msg: problem });
    }),
  );
});

describe("a node set up as flanneld does it", () => {
  test("passes traffic both ways", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const flannel = cluster.node(2).netns;
      const mac = "c6:11:22:33:44:55";
      const a = await cluster.pod(cluster.node(1));
      const peer = cluster.record(2, { mac });
      await cluster.writePeers([cluster.record(1), peer]);
      await cluster.tick(a.node);
      await flannel.exec("sh", [
        "-ec",
        `ip link add flannel.1 address ${mac} mtu 1450 type vxlan id 1 local 172.31.0.2 dev eth0 dstport 8472 nolearning
         ip address add 10.244.2.0/32 dev flannel.1
         ip link set flannel.1 up
         ip neigh replace 10.244.1.0 lladdr 0e:f4:ac:1f:00:01 dev flannel.1 nud permanent
         bridge fdb replace 0e:f4:ac:1f:00:01 dev flannel.1 dst 172.31.0.1 self permanent
         ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink
         ip address add 10.244.2.9/32 dev lo`,
      ]);
      await cluster.traffic.serveAll(flannel, "flannel", 80);
      expect(await cluster.ask(a.netns, "10.244.2.9")).toBe("flannel saw 10.244.1.2");
      expect(await cluster.ask(flannel, a.v4)).toBe("pod-1 saw 10.244.2.0");
    }));
});
