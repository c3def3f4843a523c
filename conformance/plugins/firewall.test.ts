/** firewall: whose packets pass the host's forward filter, and which bridges are kept apart. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { binDirectory, expectSuccess, referenceDirectory } from "../../testbed/harness.ts";
import {
  add,
  call,
  del,
  FAMILIES,
  filterRules,
  iptables,
  otherBridge,
  otherPod,
  own,
  reaches,
  withClosedNode,
} from "./firewall-lab.ts";
import { addressOf, type Node, type Pod, withNode } from "./portmap-lab.ts";

const SUITES = [
  ["Podwire", binDirectory],
  ["the reference", referenceDirectory],
] as const;

async function servers(node: Node): Promise<void> {
  await node.traffic.serveAll(node.server, "server", 80);
}

/** [the pod reaches the server, the client reaches the pod], of each IP version. */
async function outcomes(node: Node, pod: Pod): Promise<(readonly [boolean, boolean])[]> {
  return Promise.all(
    FAMILIES.map(
      async (family) =>
        [
          await reaches(node, pod.netns, addressOf("server", family)),
          await reaches(node, node.client, own(pod, family)),
        ] as const,
    ),
  );
}

const ONLY_OUT = [
  [true, false],
  [true, false],
];
const NOTHING = [
  [false, false],
  [false, false],
];

describe.each(SUITES)("where FORWARD drops, with %s", (name, bin) => {
  test("a pod's own connections pass, new ones to it do not, and none after DEL", (ctx) =>
    withClosedNode({}, async (node) => {
      if (!existsSync(join(bin, "firewall"))) ctx.skip(`${name} is not installed`);
      await servers(node);
      const pod = await node.bridged({ label: "pod" });
      expect(await outcomes(node, pod)).toEqual(NOTHING);
      expectSuccess(await call(node, "ADD", pod, {}, { bin }));
      expect(await outcomes(node, pod)).toEqual(ONLY_OUT);
      expect(await reaches(node, pod.netns, addressOf("server", 4), "udp")).toBe(true);
      expectSuccess(await call(node, "CHECK", pod, {}, { bin }));
      expectSuccess(await call(node, "DEL", pod, {}, { bin }));
      expect(await reaches(node, pod.netns, addressOf("server", 4), "udp")).toBe(false);
      expect(await outcomes(node, pod)).toEqual(NOTHING);
    }));

  test("people's rules in the admin chain come first, whatever its name", (ctx) =>
    withClosedNode({}, async (node) => {
      if (!existsSync(join(bin, "firewall"))) ctx.skip(`${name} is not installed`);
      await servers(node);
      const pod = await node.bridged({ label: "pod" });
      /* Nomad makes its chain itself, and accepts what comes to its bridge. */
      await iptables(node, "-N", "NOMAD-ADMIN");
      await iptables(node, "-A", "NOMAD-ADMIN", "-o", "cni0", "-j", "ACCEPT");
      expectSuccess(await call(node, "ADD", pod, { iptablesAdminChainName: "NOMAD-ADMIN" }, { bin }));
      for (const family of FAMILIES) {
        expect(await reaches(node, node.client, own(pod, family))).toBe(true);
        expect(await reaches(node, pod.netns, addressOf("server", family))).toBe(true);
      }
      await iptables(node, "-I", "NOMAD-ADMIN", "-i", "cni0", "-j", "DROP");
      expect(await outcomes(node, pod)).toEqual(NOTHING);
    }));
});

test("the rules that iptables shows are the same three for any number of pods, and outlive a save and restore", () =>
  withClosedNode({}, async (node) => {
    await servers(node);
    const pods = [await node.bridged({ label: "pod" }), await node.bridged()];
    for (const pod of pods) await add(node, pod);
    const forward = '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD';
    const chain = [
      '-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN',
      "-A CNI-FORWARD -m mark --mark 0x1000/0x1000 -j ACCEPT",
    ];
    for (const family of FAMILIES) {
      expect(await filterRules(node, family)).toEqual([
        ...["-P INPUT ACCEPT", "-P FORWARD DROP", "-P OUTPUT ACCEPT", "-N CNI-ADMIN", "-N CNI-FORWARD"],
        ...[forward, ...chain],
      ]);
      const program = family === 4 ? "iptables" : "ip6tables";
      const saved = await node.host.exec(`${program}-save`, []);
      await node.host.exec(program, ["-F"]);
      await node.host.exec(`${program}-restore`, [], { input: saved });
    }
    for (const pod of pods) {
      expectSuccess(await call(node, "CHECK", pod));
      expect((await outcomes(node, pod)).map(([out]) => out)).toEqual([true, true]);
    }
  }));

/** The chains of other programs around ours, as text for iptables-restore: %s is what all of them do at the end. */
const SURROUNDINGS: Readonly<Record<string, readonly string[]>> = {
  "Docker's": [
    ...[":DOCKER - [0:0]", ":DOCKER-USER - [0:0]", ":DOCKER-ISOLATION-STAGE-1 - [0:0]"],
    "-A FORWARD -j DOCKER-USER",
    "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
    "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A FORWARD -o docker0 -j DOCKER",
    "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
    "-A DOCKER-USER -j RETURN",
    "-A DOCKER-ISOLATION-STAGE-1 -j RETURN",
  ],
  "ufw's": [
    ...[":ufw-before-forward - [0:0]", ":ufw-user-forward - [0:0]", ":ufw-reject-forward - [0:0]"],
    "-A FORWARD -j ufw-before-forward",
    "-A FORWARD -j ufw-reject-forward",
    "-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A ufw-before-forward -j ufw-user-forward",
    "-A ufw-reject-forward -j REJECT",
  ],
};

describe.each(Object.keys(SURROUNDINGS))("among %s rules", (whose) => {
  test.each(["before", "after"])("that are made %s it, a pod's connections pass", (when) =>
    withClosedNode({}, async (node) => {
      await servers(node);
      const pod = await node.bridged({ label: "pod" });
      const text = ["*filter", ...(SURROUNDINGS[whose] ?? []), "COMMIT", ""].join("\n");
      const surround = async () => {
        for (const program of ["iptables-restore", "ip6tables-restore"]) {
          await node.host.exec(program, ["--noflush"], { input: text });
        }
      };
      if (when === "before") await surround();
      expect(await outcomes(node, pod)).toEqual(NOTHING);
      await add(node, pod);
      if (when === "after") await surround();
      expect(await outcomes(node, pod)).toEqual(ONLY_OUT);
      expectSuccess(await call(node, "CHECK", pod));
    }),
  );
});

test("forwardMarkBit chooses the mark; other bits of a packet's mark stay", () =>
  withClosedNode({}, async (node) => {
    await servers(node);
    const pod = await node.bridged({ label: "pod" });
    await node.nft(
      "table inet pwt { chain seen { type filter hook postrouting priority 0; mark 0x02000700 counter; }\n}",
    );
    await node.nft("add", "chain", "inet", "pwt", "first", "{ type filter hook prerouting priority 0; }");
    await node.nft("add", "rule", "inet", "pwt", "first", "meta", "mark", "set", "0x700");
    await add(node, pod, { forwardMarkBit: 25 });
    expect(await outcomes(node, pod)).toEqual(ONLY_OUT);
    expect(await node.nft("list", "chain", "inet", "pwt", "seen")).toMatch(/counter packets [1-9]/);
  }));

describe("ingressPolicy", () => {
  const both = { ingressPolicy: "same-bridge" };

  test.each([true, false])("same-bridge keeps bridges apart, and nothing else (br_netfilter: %s)", (bridgeNf) =>
    withNode({ bridgeNf }, async (node) => {
      await servers(node);
      const pod = await node.bridged({ label: "pod" });
      const neighbour = await node.bridged({ label: "neighbour" });
      const other = await otherPod(node, "other");
      await add(node, other, both);
      /* A bridge without a policy is open. */
      expect(await reaches(node, pod.netns, own(other, 4))).toBe(true);
      for (const one of [pod, neighbour]) await add(node, one, both);
      for (const family of FAMILIES) {
        expect(await reaches(node, pod.netns, own(other, family))).toBe(false);
        expect(await reaches(node, other.netns, own(pod, family))).toBe(false);
        expect(await reaches(node, pod.netns, own(neighbour, family))).toBe(true);
        expect(await reaches(node, pod.netns, addressOf("server", family))).toBe(true);
        expect(await reaches(node, node.client, own(pod, family))).toBe(true);
        expect(await reaches(node, node.host, own(pod, family))).toBe(true);
      }
      expectSuccess(await call(node, "CHECK", pod, both));
    }),
  );

  test.each([true, false])("isolated keeps pods of one bridge apart as well (br_netfilter: %s)", (bridgeNf) =>
    withNode({ bridgeNf }, async (node) => {
      const isolated = { ingressPolicy: "isolated" };
      await servers(node);
      const pod = await node.bridged({ label: "pod" });
      const neighbour = await node.bridged({ label: "neighbour" });
      for (const one of [pod, neighbour]) await add(node, one, isolated);
      for (const family of FAMILIES) {
        expect(await reaches(node, pod.netns, own(neighbour, family))).toBe(false);
        expect(await reaches(node, neighbour.netns, own(pod, family))).toBe(false);
        expect(await reaches(node, pod.netns, addressOf("server", family))).toBe(true);
        expect(await reaches(node, node.client, own(pod, family))).toBe(true);
        expect(await reaches(node, node.host, own(pod, family))).toBe(true);
      }
      /* Also not when a pod claims that its neighbour is beyond the gateway. */
      await pod.netns.ip("route", "add", `${neighbour.v4}/32`, "via", addressOf("gateway", 4));
      expect(await reaches(node, pod.netns, neighbour.v4)).toBe(false);
      expectSuccess(await call(node, "CHECK", pod, isolated));
      await del(node, pod, isolated);
      await del(node, neighbour, isolated);
      expect((await node.ruleset()).match(/veth\w+/g)).toBeNull();
    }),
  );

  test("follows what the last ADD says; nothing said leaves it, and only open takes it back", () =>
    withNode({}, async (node) => {
      const pod = await node.bridged({ label: "pod" });
      const neighbour = await node.bridged({ label: "neighbour" });
      const meets = () => reaches(node, pod.netns, neighbour.v4);
      const say = async (ingressPolicy?: string) => {
        for (const one of [pod, neighbour]) await add(node, one, ingressPolicy === undefined ? {} : { ingressPolicy });
      };
      await say("isolated");
      expect(await meets()).toBe(false);
      await say("same-bridge");
      expect(await meets()).toBe(true);
      const other = await otherPod(node, "other");
      await add(node, other, both);
      expect(await reaches(node, pod.netns, other.v4)).toBe(false);
      await say();
      expect(await reaches(node, pod.netns, other.v4)).toBe(false);
      await say("open");
      expect(await reaches(node, pod.netns, other.v4)).toBe(true);
      /* What DEL leaves of the bridge's policy goes with the bridge. */
      await del(node, other, both);
      await node.host.ip("link", "del", "cni1");
      await del(node, other, both);
      expect((await node.ruleset()).includes("cni1")).toBe(false);
    }));

  test("of links that lead to a single pod: ptp's pods are kept apart, and DEL takes it back", () =>
    withNode({ main: "ptp" }, async (node) => {
      await servers(node);
      const pod = await node.bridged({ label: "pod" });
      const other = await node.bridged({ label: "other" });
      expect(await reaches(node, pod.netns, other.v4)).toBe(true);
      for (const one of [pod, other]) await add(node, one, both);
      for (const family of FAMILIES) {
        expect(await reaches(node, pod.netns, own(other, family))).toBe(false);
        expect(await reaches(node, pod.netns, addressOf("server", family))).toBe(true);
      }
      for (const one of [pod, other]) await del(node, one, both);
      expect(await reaches(node, pod.netns, other.v4)).toBe(true);
    }));

  test("published ports of a pod answer from outside, behind portmap and in front of it", () =>
    withClosedNode({}, async (node) => {
      const mappings = [{ hostPort: 8080, containerPort: 80 }];
      await iptables(node, "-P", "FORWARD", "ACCEPT");
      for (const first of ["portmap", "firewall"]) {
        const pod = await node.bridged({ label: first });
        if (first === "firewall") await add(node, pod, both);
        expectSuccess(await node.publish(pod, mappings));
        if (first === "portmap") await add(node, pod, both);
        expect(await node.ask(node.client, addressOf("node", 4), 8080)).toBe(`${first} saw ${addressOf("client", 4)}`);
        const other = await node.bridged({ bridge: otherBridge(node) });
        await add(node, other, both);
        expect(await node.ask(other.netns, addressOf("node", 4), 8080, "tcp", { timeoutMs: 400 })).not.toContain("saw");
        await del(node, pod, both);
        await node.unpublish(pod, mappings);
      }
    }));
});
