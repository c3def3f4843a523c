/** A port of the host has one holder: who comes second is refused and told by whom, unless the first one is gone. */
import { type ChildProcess, spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { type CallResult, expectError, expectSuccess, type Netns } from "../../testbed/harness.ts";
import { portsLeft, remains } from "./node-filter.ts";
import { ANY_NUMBER, addressOf, BACKENDS, type Mapping, type Node, type Pod, withNode } from "./portmap-lab.ts";

const node4 = addressOf("node", 4);
const node6 = addressOf("node", 6);

function mapping(hostIP: string | null = null, protocol = "tcp", hostPort = 8080): Mapping {
  return { hostPort, containerPort: 80, protocol, ...(hostIP === null ? {} : { hostIP }) };
}

/** Asserts that a call was refused on account of a pod, naming it. */
function expectHolder(result: CallResult, holder: Pod, network: string): void {
  expectError(result, { code: 102 });
  for (const part of [network, holder.containerId, holder.ifname, "8080"]) expect(result.stdout).toContain(part);
}

interface Listener {
  readonly pid: number;
  stop(): Promise<void>;
}

/** A process of its own that holds a port in a namespace; `words` are further arguments of its command line. */
async function listen(
  netns: Netns,
  address: string,
  port: number,
  kind: "tcp" | "udp" = "tcp",
  words: readonly string[] = [],
): Promise<Listener> {
  const only6 = address === "::" ? 0 : 1;
  const script = `
import socket, sys
s = socket.socket(${address.includes(":") ? "socket.AF_INET6" : "socket.AF_INET"}, socket.SOCK_${kind === "tcp" ? "STREAM" : "DGRAM"})
${address.includes(":") ? `s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ${only6})` : ""}
s.bind((${JSON.stringify(address)}, ${port}))
${kind === "tcp" ? "s.listen()" : ""}
print("ready", flush=True)
sys.stdin.read()`;
  const args = [`--net=${netns.path}`, "--", "/usr/bin/python3", "-I", "-S", "-c", script, ...words];
  const child: ChildProcess = spawn("nsenter", args, { stdio: ["pipe", "pipe", "inherit"] });
  const closed = new Promise((resolve) => child.once("close", resolve));
  await new Promise((resolve, reject) => {
    child.stdout?.once("data", resolve);
    child.once("close", () => reject(new Error("the listener did not start")));
  });
  return {
    pid: child.pid ?? 0,
    stop: async () => {
      child.stdin?.end();
      await closed;
    },
  };
}

/**
 * Kills a pod, and makes namespaces until one has its number: the kernel gives the lowest number that is free. Another suite may
 * have got it meanwhile; its namespace goes after some seconds.
 */
async function successor(node: Node, dead: Pod): Promise<Netns> {
  const number = (await stat(dead.netns.path)).ino;
  await node.kill(dead);
  for (let round = 0; round < 20; round += 1) {
    for (let tries = 0; tries < 20; tries += 1) {
      const netns = await node.namespace("next");
      const { ino } = await stat(netns.path);
      if (ino === number) return netns;
      if (ino > number) break;
    }
    await sleep(500);
  }
  throw new Error("another program of the machine has got the number");
}

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { portmap: { backend } };

  describe("another pod holds the port", () => {
    /** First and second mapping, and whether the second is refused: as bind() has it. */
    const PAIRS: readonly (readonly [string, Mapping, Mapping, boolean])[] = [
      ["the same", mapping(), mapping(), true],
      ["0.0.0.0 after no address", mapping(), mapping("0.0.0.0"), true],
      [":: after no address", mapping(), mapping("::"), true],
      ["0.0.0.0 beside ::", mapping("0.0.0.0"), mapping("::"), false],
      ["no address after 0.0.0.0", mapping("0.0.0.0"), mapping(), true],
      ["no address after ::", mapping("::"), mapping(), true],
      ["an address after no address", mapping(), mapping(node4), true],
      ["an IPv6 address after no address", mapping(), mapping(node6), true],
      ["no address after an address", mapping(node4), mapping(), true],
      ["no address after an IPv6 address", mapping(node6), mapping(), true],
      ["0.0.0.0 after an address", mapping(node4), mapping("0.0.0.0"), true],
      [":: beside an IPv4 address", mapping(node4), mapping("::"), false],
      ["the same address", mapping(node4), mapping(node4), true],
      ["the same IPv6 address, written otherwise", mapping(node6), mapping("2001:DB8:1:0::1"), true],
      ["another address", mapping(node4), mapping(addressOf("second", 4)), false],
      ["localhost beside an address", mapping(node4), mapping("127.0.0.1"), false],
      ["another protocol", mapping(null, "tcp"), mapping(null, "udp"), false],
      ["SCTP beside TCP", mapping(null, "tcp"), mapping(null, "sctp"), false],
      ["another port", mapping(), mapping(null, "tcp", 8081), false],
      ["the same of UDP", mapping(null, "udp"), mapping(null, "udp"), true],
      ["the same of SCTP", mapping(null, "sctp"), mapping(node4, "sctp"), true],
    ];

    test.each(PAIRS)("%s", (_name, first, second, refused) =>
      withNode(options, async (node) => {
        const holder = await node.pod({ mappings: [first] });
        const pod = await node.bridged();
        const before = await node.ruleset();
        const result = await node.publish(pod, [mapping(null, "tcp", 8085), second]);
        if (!refused) {
          expectSuccess(result);
          expectSuccess(await node.check(holder, [first]));
          return;
        }
        expectHolder(result, holder, node.network);
        /* Nothing of the second one's is left, its other port included, and the first one's is whole. */
        expect(await node.ruleset()).toBe(before);
        expectSuccess(await node.check(holder, [first]));
        await node.unpublish(holder, null);
        expectSuccess(await node.publish(pod, [mapping(null, "tcp", 8085), second]));
      }),
    );

    test("in another network", () =>
      withNode(options, async (node) => {
        const holder = await node.pod({ mappings: [mapping()], portmap: { name: "pwt-other" } });
        const pod = await node.bridged();
        expectHolder(await node.publish(pod, [mapping()]), holder, "pwt-other");
      }));

    test("the one with the address stays reachable beside the other pod's wildcard of the other family", () =>
      withNode(options, async (node) => {
        await node.pod({ label: "six", mappings: [mapping("::")] });
        await node.pod({ label: "four", mappings: [mapping(node4)] });
        await node.pod({ label: "second", mappings: [mapping(addressOf("second", 4))] });
        expect(await node.ask(node.client, node6, 8080)).toMatch(/^six saw/);
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^four saw/);
        expect(await node.ask(node.client, addressOf("second", 4), 8080)).toMatch(/^second saw/);
      }));

    /* podman asks for the ports of a container on each of its networks. */
    test("by another interface of its own: the first one keeps it, the next one has it when that goes", () =>
      withNode(options, async (node) => {
        const first = await node.pod({ label: "web", mappings: [mapping()] });
        const { netns, containerId } = first;
        const bridge = { isDefaultGateway: false, isGateway: true };
        const second = await node.bridged({ netns, containerId, ifname: "eth1", bridge });
        const more = [mapping(), mapping(node4, "tcp", 8081)];
        second.result = expectSuccess(await node.publish(second, more));
        const third = await node.bridged({ netns, containerId, ifname: "eth2", bridge });
        third.result = expectSuccess(await node.publish(third, [mapping()]));
        const publishedBy = async () => {
          const pods = [first, second, third].filter((pod) => pod.v4 !== "");
          const rules = await node.ruleset();
          return pods
            .filter((pod) => rules.includes(`${pod.v4} . 80`) || rules.includes(`${pod.v4}:80`))
            .map((pod) => pod.ifname);
        };
        if (backend === "nftables") expect(await publishedBy()).toEqual(["eth0", "eth1"]);
        for (const pod of [first, third]) expectSuccess(await node.check(pod, [mapping()]));
        expectSuccess(await node.check(second, more));
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^web saw/);
        expect(await node.ask(node.client, node4, 8081)).toMatch(/^web saw/);
        await node.nft("flush", "ruleset");
        await node.repair();
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^web saw/);
        for (const [pod, mappings] of [
          [first, [mapping()]],
          [second, more],
        ] as const) {
          await node.unpublish(pod, mappings);
          expect(await node.ask(node.client, node4, 8080)).toMatch(/^web saw/);
        }
        if (backend === "nftables") expect(await publishedBy()).toEqual(["eth2"]);
        expectSuccess(await node.check(third, [mapping()]));
        await node.unpublish(third, [mapping()]);
        expect(await portsLeft(node)).toEqual([]);
      }));

    test("by another interface of its own that is gone: a container started again has it", ANY_NUMBER, () =>
      withNode(options, async (node) => {
        const dead = await node.pod({ label: "dead", mappings: [mapping()] });
        await node.kill(dead);
        const again = await node.pod({
          label: "again",
          ifname: "eth1",
          containerId: dead.containerId,
          mappings: [mapping()],
        });
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^again saw/);
        expectSuccess(await node.check(again, [mapping()]));
        await node.removePod(again);
        expect(await remains(node)).toEqual([]);
      }),
    );

    test("and is replaced by a pod of Kubernetes that comes a moment early: it waits for the port", () =>
      withNode(options, async (node) => {
        const old = await node.pod({ label: "old", mappings: [mapping()] });
        const pod = await node.bridged({ label: "new" });
        const args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0";
        const config = node.portmapConfig([mapping()], { prevResult: pod.bridged });
        const added = node.call("portmap", "ADD", pod, config, { args });
        await new Promise((resolve) => setTimeout(resolve, 300));
        /* It holds nothing meanwhile that others would have to wait for. */
        await node.unpublish(old, [mapping()]);
        expectSuccess(await added);
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^new saw/);
        const next = await node.bridged();
        const again = node.portmapConfig([mapping()], { prevResult: next.bridged });
        expectHolder(await node.call("portmap", "ADD", next, again, { args }), pod, node.network);
      }));

    test("but is gone without a DEL: its mapping is taken over, and a late DEL takes nothing back", ANY_NUMBER, () =>
      withNode(options, async (node) => {
        const dead = await node.pod({ label: "dead", mappings: [mapping(), mapping(null, "udp", 8081)] });
        await node.kill(dead);
        const pod = await node.pod({ label: "new", mappings: [mapping()] });
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^new saw/);
        expect(await node.ask(node.client, node6, 8080)).toMatch(/^new saw/);
        await node.unpublish(dead, null);
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^new saw/);
        expectSuccess(await node.check(pod, [mapping()]));
        await node.removePod(pod);
        expect(await remains(node)).toEqual([]);
      }),
    );
  });

  test("a dead holder's mapping is taken over though the namespace has the number of the dead one's", () =>
    withNode(options, async (node) => {
      const dead = await node.pod({ mappings: [mapping()] });
      /* What the kernel often does by itself: here the new container gets the very namespace, at a path of its own. */
      const netns = await node.namespace();
      await execa("umount", [netns.path]);
      await execa("mount", ["--bind", dead.netns.path, netns.path]);
      await node.kill(dead);
      const bridge = { isDefaultGateway: false, isGateway: true };
      const pod = await node.bridged({ netns, ifname: "eth1", bridge });
      expectSuccess(await node.publish(pod, [mapping()]));
      expectSuccess(await node.check(pod, [mapping()]));
    }));

  test(
    "a mapping is taken over by the next interface of a container started again in a namespace of the same number",
    ANY_NUMBER,
    () =>
      withNode(options, async (node) => {
        const dead = await node.pod({ label: "dead", mappings: [mapping()] });
        const netns = await successor(node, dead);
        const { containerId } = dead;
        const again = await node.pod({ label: "again", netns, ifname: "eth1", containerId, mappings: [mapping()] });
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^again saw/);
        await node.removePod(again);
      }),
  );

  test(
    "a dead holder's mapping is taken over though another namespace of the machine has got its number",
    ANY_NUMBER,
    () =>
      withNode(options, async (node) => {
        await successor(node, await node.pod({ mappings: [mapping()] }));
        await node.pod({ mappings: [mapping()] });
      }),
  );

  describe('conflicts: "last-wins"', () => {
    const lastWins = { conflicts: "last-wins" };

    test.each([
      ["the same", mapping(), mapping()],
      ["an address after no address", mapping(), mapping(node4)],
      ["no address after an address", mapping(node4), mapping()],
    ])("%s: the newer pod gets the port and keeps it when the older one goes", (_name, first, second) =>
      withNode(options, async (node) => {
        const older = await node.pod({ label: "older", mappings: [first, mapping(null, "tcp", 8090)] });
        const newer = await node.pod({ label: "newer", mappings: [second], portmap: lastWins });
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^newer saw/);
        expect(await node.ask(node.client, node4, 8090)).toMatch(/^older saw/);
        expectSuccess(await node.check(newer, [second], lastWins));
        await node.unpublish(older, null);
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^newer saw/);
        await node.unpublish(newer, null, lastWins);
        expect(await node.ask(node.client, node4, 8080)).toBe("refused");
        expect(await portsLeft(node)).toEqual([]);
      }),
    );
  });

  describe("a process listens on the port", () => {
    const CASES: readonly (readonly [string, string, "tcp" | "udp", Mapping, boolean])[] = [
      ["on all addresses", "0.0.0.0", "tcp", mapping(), true],
      ["on all of both families", "::", "tcp", mapping("0.0.0.0"), true],
      ["on one address, all are wanted", node4, "tcp", mapping(), false],
      ["on localhost, all are wanted", "127.0.0.1", "tcp", mapping(), false],
      ["on ::1, all are wanted", "::1", "tcp", mapping(), false],
      ["on the address", node4, "tcp", mapping(node4), true],
      ["on the IPv6 address", node6, "tcp", mapping(node6), true],
      ["on all, an address is wanted", "0.0.0.0", "tcp", mapping(node4), true],
      ["of UDP", "0.0.0.0", "udp", mapping(null, "udp"), true],
      ["on another address", addressOf("second", 4), "tcp", mapping(node4), false],
      ["on localhost, an address is wanted", "127.0.0.1", "tcp", mapping(node4), false],
      ["on an IPv4 address, IPv6 is wanted", node4, "tcp", mapping("::"), false],
      ["of UDP, TCP is wanted", "0.0.0.0", "udp", mapping(), false],
      ["of TCP, UDP is wanted", "0.0.0.0", "tcp", mapping(null, "udp"), false],
      ["of TCP, SCTP is wanted", "::", "tcp", mapping(null, "sctp"), false],
    ];

    test.each(CASES)("%s", (_name, address, kind, wanted, refused) =>
      withNode(options, async (node) => {
        const listener = await listen(node.host, address, 8080, kind);
        try {
          const pod = await node.bridged();
          const result = await node.publish(pod, [wanted]);
          if (!refused) {
            expectSuccess(result);
            return;
          }
          expectError(result, { code: 102 });
          expect(result.stdout).toMatch(/8080/);
          expect(result.stdout).toMatch(/python3/);
          expect(result.stdout).toContain(String(listener.pid));
          expect(await remains(node)).toEqual([]);
          await listener.stop();
          expectSuccess(await node.publish(pod, [wanted]));
        } finally {
          await listener.stop();
        }
      }),
    );

    test("a listener inside a pod, or a connection that only uses the port, holds nothing", () =>
      withNode(options, async (node) => {
        const web = await node.pod({ label: "web", mappings: [] });
        const listener = await listen(web.netns, "0.0.0.0", 8080);
        await node.ask(node.host, web.v4, 80, "tcp", { sourcePort: 8080 });
        const pod = await node.bridged();
        expectSuccess(await node.publish(pod, [mapping()]));
        await listener.stop();
      }));

    test("a program that keeps the port for the container itself, as podman's conmon does, is not in the way", () =>
      withNode(options, async (node) => {
        const [pod, other] = [await node.bridged({ label: "web" }), await node.bridged()];
        const keeper = await listen(node.host, "0.0.0.0", 8080, "tcp", ["--cid", pod.containerId]);
        expectError(await node.publish(other, [mapping()]), { code: 102 });
        expectSuccess(await node.publish(pod, [mapping()]));
        expectSuccess(await node.check(pod, [mapping()]));
        expect(await node.ask(node.client, node4, 8080)).toMatch(/^web saw/);
        await keeper.stop();
      }));

    test("CHECK and a repeated ADD of the pod's own do not take it for a conflict with itself", () =>
      withNode(options, async (node) => {
        const pod = await node.pod({ mappings: [mapping(), mapping(null, "udp")] });
        expectSuccess(await node.publish(pod, [mapping(), mapping(null, "udp")]));
        expectSuccess(await node.check(pod, [mapping(), mapping(null, "udp")]));
      }));
  });

  test("twenty pods want one port at once: one gets it", () =>
    withNode(options, async (node: Node) => {
      const pods: Pod[] = [];
      for (let index = 0; index < 20; index += 1) pods.push(await node.bridged());
      const results = await Promise.all(pods.map((pod) => node.publish(pod, [mapping()])));
      const winner = results.findIndex((result) => result.exitCode === 0);
      const holder = pods[winner];
      if (holder === undefined) throw new Error(results[0]?.stdout);
      expect(results.filter((result) => result.exitCode === 0)).toHaveLength(1);
      for (const [index, result] of results.entries()) {
        if (index !== winner) expectHolder(result, holder, node.network);
      }
      expectSuccess(await node.check(holder, [mapping()]));
    }));
});
