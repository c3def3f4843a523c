/** Who may put packets into pods by way of the overlay's port: peers, and nobody else, by whatever address and way. */
import { describe, expect, test } from "vitest";
import { expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import {
  fragments,
  heard,
  macOf,
  NOBODY,
  OVERLAY_PORT,
  outerFrame,
  sendDatagram,
  tunnelled,
} from "./overlay-forgery.ts";
import { type Cluster, type Datapath, type Family, type Pod, withCluster } from "./overlay-lab.ts";
import { udpFrame } from "./traffic.ts";

const CLUSTER = ["10.244.0.0/16", "fd44::/48"];
const HONEST = ["honest"];
const BROADCAST = "ff:ff:ff:ff:ff:ff";

/** Nodes 1 and 2 with a pod each; node 3 is on their segment and no peer, unless it is listed. */
interface Lab {
  readonly cluster: Cluster;
  readonly a: Pod;
  readonly b: Pod;
  /** What a victim's node takes out of the tunnel. @param to the victim */
  payload(to: Pod, source?: string): Promise<Uint8Array>;
  /** Sends a frame from a pod to its gateway. */
  fromPod(pod: Pod, source: string, destination: string, payload: Uint8Array, port?: number): Promise<void>;
  /** Sends a frame from node 3 to a link of another node's, or to all. */
  fromStranger(mac: string, source: string, destination: string, payload: Uint8Array): Promise<void>;
}

async function withLab(
  options: {
    readonly datapath: Datapath;
    readonly underlay?: Family;
    readonly overlay?: JsonObject;
    readonly listed?: readonly number[];
  },
  run: (lab: Lab) => Promise<void>,
): Promise<void> {
  const { datapath, underlay = 4, overlay = {}, listed = [1, 2] } = options;
  await withCluster({ nodes: 3, datapath, underlay, overlay }, async (cluster) => {
    await cluster.writePeers(listed.map((number) => cluster.record(number)));
    const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
    const payload = async (to: Pod, source: string = NOBODY.v4): Promise<Uint8Array> =>
      tunnelled(
        { datapath, source, destination: source.includes(":") ? to.v6 : to.v4, text: "forged" },
        await macOf(to.node.netns, "overlay1"),
      );
    const fromPod: Lab["fromPod"] = async (pod, source, destination, data, port) => {
      const gateway = await macOf(pod.node.netns, "cni0");
      const own = await macOf(pod.netns, "eth0");
      const frame = { sourceMac: own, destinationMac: gateway, source, destination, payload: data };
      await cluster.traffic.send(pod.netns, "eth0", outerFrame(port === undefined ? frame : { ...frame, port }));
    };
    const fromStranger: Lab["fromStranger"] = async (mac, source, destination, data) => {
      const { netns } = cluster.node(3);
      const frame = { sourceMac: await macOf(netns, "eth0"), destinationMac: mac, source, destination, payload: data };
      await cluster.traffic.send(netns, "eth0", outerFrame(frame));
    };
    await run({ cluster, a, b, payload, fromPod, fromStranger });
  });
}

/** Tries with the filter, then without: if the forgery does not arrive then, the test shows nothing. */
async function withAndWithout(
  cluster: Cluster,
  attempt: (expected: readonly string[]) => Promise<void>,
): Promise<void> {
  await attempt(HONEST);
  for (const node of cluster.nodes.slice(0, 2)) expectSuccess(await cluster.call(node, "STATUS", { peersOnly: false }));
  await attempt(["forged", "honest"]);
}

describe.each(["classic", "gpe"] as const)("a pod that sends VXLAN (%s)", (datapath) => {
  test("from an ordinary socket", () =>
    withLab({ datapath, overlay: { clusterCIDRs: CLUSTER } }, async ({ cluster, a, b, payload }) => {
      const own = await cluster.pod(a.node);
      await b.node.netns.ip("address", "add", "172.31.0.202/24", "dev", "eth0");
      await offerServices(cluster, a);
      /* Another node, a further address of it that no list has, its bridge through the tunnel, and by way of a Service. */
      const elsewhere = [{ address: cluster.nodeIp(2) }, { address: "172.31.0.202" }, { address: "10.244.2.1" }];
      const here = [cluster.nodeIp(1), "10.244.1.1", "10.244.1.255", "255.255.255.255", "224.0.0.1"];
      await withAndWithout(cluster, async (expected) => {
        for (const to of [...elsewhere, { address: "203.0.113.2", port: 53 }]) {
          await sendDatagram(a.netns, to, await payload(b));
          expect(await heard(cluster, b, a.netns), to.address).toEqual(expected);
        }
        for (const to of [...here.map((address) => ({ address })), { address: "203.0.113.1", port: 53 }]) {
          await sendDatagram(a.netns, to, await payload(own));
          expect(await heard(cluster, own, b.netns), to.address).toEqual(expected);
        }
      });
    }));

  test("from an ordinary socket over IPv6", () =>
    withLab({ datapath, underlay: 6, overlay: { clusterCIDRs: CLUSTER } }, async ({ cluster, a, b, payload }) => {
      const own = await cluster.pod(a.node);
      /* Who is asked for an anycast address may take a second to answer (RFC 4861 section 7.2.7): later it is known. */
      await a.netns.ping("fd44:0:0:1::");
      await withAndWithout(cluster, async (expected) => {
        await sendDatagram(a.netns, { address: cluster.nodeIp(2) }, await payload(b, NOBODY.v6));
        expect(await heard(cluster, b, a.netns, b.v6), "another node").toEqual(expected);
        for (const address of [cluster.nodeIp(1), "fd44:0:0:1::1", "ff02::1", "fd44:0:0:1::"]) {
          await sendDatagram(a.netns, { address }, await payload(own, NOBODY.v6));
          expect(await heard(cluster, own, b.netns, own.v6), address).toEqual(expected);
        }
      });
    }));

  test.each([[CLUSTER], [[]]])("with a peer's source, in clusterCIDRs %j", (clusterCIDRs) =>
    withLab({ datapath, listed: [1, 2, 3], overlay: { clusterCIDRs } }, async (lab) => {
      const { cluster, a, b, payload, fromPod } = lab;
      const own = await cluster.pod(a.node);
      await offerServices(cluster, a);
      await withAndWithout(cluster, async (expected) => {
        for (const address of [cluster.nodeIp(2), "10.244.2.1"]) {
          await fromPod(a, cluster.nodeIp(3), address, await payload(b));
          expect(await heard(cluster, b, a.netns), address).toEqual(expected);
        }
        for (const address of [cluster.nodeIp(1), "10.244.1.1", "10.244.1.255", "255.255.255.255", "224.0.0.1"]) {
          await fromPod(a, cluster.nodeIp(2), address, await payload(own));
          expect(await heard(cluster, own, b.netns), address).toEqual(expected);
        }
        /* A translated packet is known as such where connections are tracked for the overlay. */
        if (clusterCIDRs.length === 0) return;
        await fromPod(a, cluster.nodeIp(2), "203.0.113.1", await payload(own), 53);
        expect(await heard(cluster, own, b.netns), "a Service").toEqual(expected);
      });
    }),
  );
});

/** What kube-proxy makes of Services whose endpoints somebody wrote: nodes' own ports. */
async function offerServices(cluster: Cluster, pod: Pod): Promise<void> {
  const { netns, number } = pod.node;
  const to = (address: string, node: number): string =>
    `add rule ip services prerouting ip daddr ${address} udp dport 53 dnat to ${cluster.nodeIp(node)}:${OVERLAY_PORT};`;
  await netns.exec("nft", [
    `add table ip services;
     add chain ip services prerouting { type nat hook prerouting priority -100; };
     ${to("203.0.113.1", number)} ${to("203.0.113.2", 2)}`,
  ]);
}

describe.each(["classic", "gpe"] as const)("a stranger on the segment that sends VXLAN (%s)", (datapath) => {
  test("to more than one, or in fragments of which the first ends before the VNI", () =>
    withLab({ datapath }, async ({ cluster, a, b, payload, fromStranger }) => {
      const { netns } = cluster.node(3);
      const [sourceMac, destinationMac] = [await macOf(netns, "eth0"), await macOf(a.node.netns, "eth0")];
      await withAndWithout(cluster, async (expected) => {
        for (const address of ["172.31.0.255", "255.255.255.255", "224.0.0.1"]) {
          await fromStranger(BROADCAST, cluster.nodeIp(3), address, await payload(a));
          expect(await heard(cluster, a, b.netns), address).toEqual(expected);
        }
        const [source, destination] = [cluster.nodeIp(3), cluster.nodeIp(1)];
        const frame = outerFrame({ sourceMac, destinationMac, source, destination, payload: await payload(a) });
        await cluster.traffic.send(netns, "eth0", ...fragments(frame));
        expect(await heard(cluster, a, b.netns), "fragments").toEqual(expected);
      });
    }));

  test("to more than one over IPv6", () =>
    withLab({ datapath, underlay: 6 }, async (lab) => {
      const { cluster, a, b, payload, fromStranger } = lab;
      const unicast = await macOf(a.node.netns, "eth0");
      const data = await payload(a, NOBODY.v6);
      await withAndWithout(cluster, async (expected) => {
        await fromStranger("33:33:00:00:00:01", cluster.nodeIp(3), "ff02::1", data);
        expect(await heard(cluster, a, b.netns, a.v6), "all nodes").toEqual(expected);
        /* The subnet-router anycast address, which a host that forwards has. */
        await fromStranger(unicast, cluster.nodeIp(3), "fd31::", data);
        expect(await heard(cluster, a, b.netns, a.v6), "any router").toEqual(expected);
      });
    }));
});

describe("IP packets outside of the tunnel with the address of a pod", () => {
  test("from a stranger on the segment", () =>
    withLab({ datapath: "classic" }, async ({ cluster, a, b }) => {
      const { netns } = cluster.node(3);
      const own = await cluster.pod(a.node);
      const [sourceMac, destinationMac] = [await macOf(netns, "eth0"), await macOf(a.node.netns, "eth0")];
      const addresses = { sourceMac, destinationMac, sourcePort: 4000, destinationPort: 80, text: "forged" };
      const send = (source: string, destination: string): Promise<void> =>
        cluster.traffic.send(netns, "eth0", udpFrame({ ...addresses, source, destination }));
      await withAndWithout(cluster, async (expected) => {
        for (const { v4, v6 } of [b, own]) {
          await send(v4, a.v4);
          expect(await heard(cluster, a, b.netns), v4).toEqual(expected);
          await send(v6, a.v6);
          expect(await heard(cluster, a, b.netns), v6).toEqual(expected);
        }
      });
      /* A stranger by its own address is a matter of the network between. */
      await cluster.tick(a.node);
      await send(cluster.nodeIp(3), a.v4);
      expect(await heard(cluster, a, b.netns)).toEqual(["forged", "honest"]);
    }));

  test("from a peer that is reached without a tunnel are its pods'", () =>
    withCluster({ nodes: 2, overlay: { directRouting: true } }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      for (const address of [b.v4, b.v6]) expect(await cluster.ask(a.netns, address)).toMatch(/^pod-2 saw /);
      for (const address of [a.v4, a.v6]) expect(await cluster.ask(b.netns, address)).toMatch(/^pod-1 saw /);
    }));

  test("to the node itself pass: its pods' packets to other nodes' own addresses are such", () =>
    withCluster(
      { nodes: 2, overlay: { clusterCIDRs: CLUSTER, nonMasqueradeCIDRs: ["172.31.0.0/16"] } },
      async (cluster) => {
        const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
        await cluster.traffic.serveAll(b.node.netns, "peer", 80);
        expect(await cluster.ask(a.netns, cluster.nodeIp(2))).toBe(`peer saw ${a.v4}`);
      },
    ));
});

describe("the packet inside a peer's", () => {
  test("never has the address of one of this node's pods; other nodes' addresses a peer may use", () =>
    withLab({ datapath: "classic", listed: [1, 2, 3] }, async ({ cluster, a, b, payload }) => {
      const own = await cluster.pod(a.node);
      const send = async (source: string): Promise<void> =>
        sendDatagram(b.node.netns, { address: cluster.nodeIp(1), source: cluster.nodeIp(2) }, await payload(a, source));
      for (const source of [own.v4, own.v6]) {
        await send(source);
        expect(await heard(cluster, a, b.netns), source).toEqual(HONEST);
      }
      await send("10.244.3.7");
      expect(await heard(cluster, a, b.netns)).toEqual(["forged", "honest"]);
    }));
});

describe("peers' own packets", () => {
  test.each([4, 6] as const)("pass a node that is a router between peers (IPv%i)", (underlay) =>
    withCluster({ nodes: 4, underlay, overlay: { clusterCIDRs: CLUSTER } }, async (cluster) => {
      const pods = [];
      for (const number of [1, 2, 4]) pods.push(await cluster.pod(cluster.node(number)));
      const [a, b, d] = pods as [Pod, Pod, Pod];
      const route = underlay === 4 ? ["route"] : ["-6", "route"];
      await b.node.netns.ip(...route, "add", cluster.nodeIp(4), "via", cluster.nodeIp(1));
      const forwarded = async (): Promise<number> =>
        Number(/counter packets (\d+)/.exec(await a.node.netns.exec("nft", ["list", "table", "inet", "watch"]))?.[1]);
      await a.node.netns.exec("nft", [
        `add table inet watch; add chain inet watch forward { type filter hook forward priority 0; };
         add rule inet watch forward udp dport ${OVERLAY_PORT} counter`,
      ]);
      expect(await cluster.ask(b.netns, d.v4)).toBe(`pod-4 saw ${b.v4}`);
      expect(await cluster.ask(d.netns, b.v6)).toBe(`pod-2 saw ${d.v6}`);
      expect(await forwarded()).toBeGreaterThan(0);
    }),
  );

  test("must come by the link that leads back, unless the link between the nodes is named", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      const { netns } = a.node;
      /* A second way to the other node; what it sends goes on coming by the first. */
      await netns.exec("sh", [
        "-ec",
        `echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
         ip link add second link eth0 type macvlan mode bridge
         ip address add 172.31.0.201/32 dev second
         ip link set second up
         ip route add ${cluster.nodeIp(2)}/32 dev second src ${cluster.nodeIp(1)}`,
      ]);
      await cluster.tick(a.node);
      const question = { netns: b.netns, address: a.v4, port: 80, protocol: "udp", timeoutMs: 400 } as const;
      expect(await cluster.traffic.ask(question)).toBe("timeout");
      expectSuccess(await cluster.call(a.node, "STATUS", { underlay: "eth0" }));
      expect(await cluster.traffic.ask({ ...question, timeoutMs: 3000 })).toBe(`pod-1 saw ${b.v4}`);
    }));
});

describe("another overlay on the same port", () => {
  test("of this suite, with other nodes, keeps its packets", () =>
    withCluster({ nodes: 3, overlay: {} }, async (cluster) => {
      await cluster.writePeers([cluster.record(1), cluster.record(2)]);
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      const second = (own: number, other: number): JsonObject => ({
        name: "second",
        vni: 2,
        podCIDRs: [`10.99.${own}.0/24`],
        peersFile: null,
        peers: [{ nodeIP: cluster.nodeIp(other), podCIDRs: [`10.99.${other}.0/24`] }],
      });
      for (const [own, other] of [
        [1, 3],
        [3, 1],
      ] as const) {
        expectSuccess(await cluster.call(cluster.node(own), "STATUS", second(own, other)));
      }
      await cluster.traffic.serveAll(cluster.node(1).netns, "second", 81);
      const question = { netns: cluster.node(3).netns, address: "10.99.1.0", port: 81, protocol: "udp" } as const;
      expect(await cluster.traffic.ask(question)).toBe("second saw 10.99.3.0");
      expect(await cluster.ask(b.netns, a.v4)).toBe(`pod-1 saw ${b.v4}`);
    }));

  test("of somebody else keeps its packets, which are tracked as before", () =>
    withCluster({ nodes: 3, overlay: { clusterCIDRs: CLUSTER } }, async (cluster) => {
      await cluster.writePeers([cluster.record(1), cluster.record(2)]);
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      for (const [own, other] of [
        [1, 3],
        [3, 1],
      ] as const) {
        await cluster.node(own).netns.exec("sh", [
          "-ec",
          `ip link add theirs type vxlan id 9 local ${cluster.nodeIp(own)} remote ${cluster.nodeIp(other)} dstport ${OVERLAY_PORT}
           ip address add 10.77.0.${own}/24 dev theirs
           ip link set theirs up`,
        ]);
      }
      const { netns } = a.node;
      await netns.exec("nft", [
        `add table inet watch;
         add chain inet watch input { type filter hook input priority 0; };
         add rule inet watch input udp dport ${OVERLAY_PORT} @th,96,24 9 ct state untracked counter comment theirs;
         add rule inet watch input udp dport ${OVERLAY_PORT} @th,96,24 1 ct state != untracked counter comment ours;
         add chain inet watch output { type filter hook output priority 0; };
         add rule inet watch output udp dport ${OVERLAY_PORT} @th,96,24 9 ct state untracked counter comment theirs`,
      ]);
      await cluster.traffic.serveAll(netns, "theirs", 81);
      const question = { netns: cluster.node(3).netns, address: "10.77.0.1", port: 81, protocol: "udp" } as const;
      expect(await cluster.traffic.ask(question)).toBe("theirs saw 10.77.0.3");
      expect(await cluster.ask(b.netns, a.v4)).toBe(`pod-1 saw ${b.v4}`);
      expect((await netns.exec("nft", ["list", "table", "inet", "watch"])).match(/counter packets \d+/g)).toEqual(
        Array(3).fill("counter packets 0"),
      );
    }));
});
