/** bridge with ipMasq: CHECK sees the loss, DEL and GC leave nothing, and what a flush took comes back. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { deleteNatRule, remains } from "./node-filter.ts";
import { addressOf, BACKENDS, type Backend, type Node, type Pod, withNode } from "./portmap-lab.ts";

/** Takes a pod's masquerade out of the packet filter. */
async function takeOut(node: Node, backend: Backend, pod: Pod): Promise<void> {
  if (backend === "nftables") {
    await node.nft("delete", "element", "inet", "podwire", "masquerade4", `{ ${pod.v4} }`);
    return;
  }
  await deleteNatRule(node, "-A POSTROUTING ", pod.v4);
}

async function masqueraded(node: Node, pod: Pod): Promise<boolean[]> {
  const answers = [4, 6] as const;
  const asked = answers.map(async (family) => {
    const answer = await node.ask(pod.netns, addressOf("server", family), 80, "udp");
    expect(answer).toMatch(/^server saw/);
    return answer === `server saw ${addressOf("serverSide", family)}`;
  });
  return Promise.all(asked);
}

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { bridge: { ipMasq: true, ipMasqBackend: backend } };

  async function check(node: Node, pod: Pod, extra: JsonObject = {}) {
    return node.call("bridge", "CHECK", pod, node.bridgeConfig({ prevResult: pod.result, ...extra }));
  }

  test("the ruleset holds the pod's addresses with their owner, and CHECK compares them", () =>
    withNode(options, async (node) => {
      const pod = await node.pod({ portmap: null });
      /* nft does not show the comments of iptables' rules. */
      const saved = ["iptables-save", "ip6tables-save"].map((command) => node.host.exec(command));
      const rules = backend === "nftables" ? await node.ruleset() : (await Promise.all(saved)).join("\n");
      for (const part of [pod.v4, pod.v6, pod.containerId, node.network]) expect(rules).toContain(part);
      expectSuccess(await check(node, pod));
      await takeOut(node, backend, pod);
      const result = await check(node, pod);
      expectError(result, { code: 101 });
      expect(result.stdout).toMatch(/masquerade/i);
      expect(result.stdout).toContain(pod.v4);
    }));

  test("CHECK with the packet filter flushed", () =>
    withNode(options, async (node) => {
      const pod = await node.pod({ portmap: null });
      await node.nft("flush", "ruleset");
      expectError(await check(node, pod), { code: 101 });
    }));

  test("CHECK of a pod that was added without masquerade", () =>
    withNode({ bridge: { ipMasqBackend: backend } }, async (node) => {
      const pod = await node.pod({ portmap: null, bridge: { ipMasq: false } });
      expectSuccess(await check(node, pod, { ipMasq: false }));
      expectError(await check(node, pod, { ipMasq: true }), { code: 101 });
    }));

  const WAYS: readonly (readonly [string, (node: Node, pod: Pod) => Promise<JsonObject>])[] = [
    ["as a runtime does it", async (node, pod) => node.bridgeConfig({ prevResult: pod.result })],
    ["without prevResult", async (node) => node.bridgeConfig()],
    ["with ipMasq no longer given", async (node) => node.bridgeConfig({ ipMasq: false, ipMasqBackend: undefined })],
    [
      "with the namespace gone",
      async (node, pod) => {
        await node.kill(pod);
        return node.bridgeConfig();
      },
    ],
    [
      "with the link gone",
      async (node, pod) => {
        await pod.netns.ip("link", "delete", "eth0");
        return node.bridgeConfig();
      },
    ],
    [
      "after a flush",
      async (node) => {
        await node.nft("flush", "ruleset");
        return node.bridgeConfig();
      },
    ],
    [
      "after it was taken out by hand",
      async (node, pod) => {
        await takeOut(node, backend, pod);
        return node.bridgeConfig();
      },
    ],
  ];

  test.each(WAYS)("DEL leaves nothing: %s, thrice", (_name, prepare) =>
    withNode(options, async (node) => {
      const pod = await node.pod({ portmap: null });
      const config = await prepare(node, pod);
      for (let time = 0; time < 3; time += 1) {
        const result = await node.call("bridge", "DEL", pod, config);
        expectSuccess(result);
        expect(result.stderr).toBe("");
      }
      expect(await remains(node)).toEqual([]);
      expect((await node.host.links()).sort()).toEqual(["cni0", "lo", "up0", "up1"]);
    }),
  );

  test("DEL without CNI_NETNS leaves nothing", () =>
    withNode(options, async (node) => {
      const { containerId, ifname } = await node.pod({ portmap: null });
      expectSuccess(
        await node.sandbox.call({ plugin: "bridge", command: "DEL", containerId, ifname, config: node.bridgeConfig() }),
      );
      expect(await remains(node)).toEqual([]);
    }));

  test("DEL of one pod leaves the other's masquerade", () =>
    withNode(options, async (node) => {
      await node.traffic.serveAll(node.server, "server", 80);
      const [one, two] = [await node.pod({ portmap: null }), await node.pod({ portmap: null })];
      await node.removePod(one, null, { portmap: null });
      expect(await masqueraded(node, two)).toEqual([true, true]);
      expectSuccess(await check(node, two));
      await node.removePod(two, null, { portmap: null });
      expect(await remains(node)).toEqual([]);
    }));

  test("GC keeps the valid attachments and leaves nothing of the others", () =>
    withNode(options, async (node) => {
      await node.traffic.serveAll(node.server, "server", 80);
      const [valid, gone] = [await node.pod({ portmap: null }), await node.pod({ portmap: null })];
      const collect = async (pods: readonly Pod[]) => {
        const attachments = pods.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
        const config = node.bridgeConfig({ "cni.dev/valid-attachments": attachments });
        expectSuccess(await node.sandbox.call({ plugin: "bridge", command: "GC", config }));
      };
      await collect([valid]);
      expect(await masqueraded(node, valid)).toEqual([true, true]);
      expect((await remains(node)).join("\n")).not.toContain(gone.containerId);
      await collect([]);
      expect(await remains(node)).toEqual([]);
    }));

  test("an ADD that fails leaves nothing", () =>
    withNode(options, async (node) => {
      const netns = await node.namespace();
      await node.pod({ portmap: null });
      const before = await remains(node);
      await netns.ip("link", "add", "eth0", "type", "veth", "peer", "name", "other");
      const who = { netns, containerId: netns.name, ifname: "eth0" };
      expect((await node.call("bridge", "ADD", who, node.bridgeConfig())).exitCode).toBe(1);
      expect(await remains(node)).toEqual(before);
    }));

  test("a flush: STATUS puts it back", () =>
    withNode(options, async (node) => {
      await node.traffic.serveAll(node.server, "server", 80);
      const pod = await node.pod({ portmap: null });
      expect(await masqueraded(node, pod)).toEqual([true, true]);
      await node.nft("flush", "ruleset");
      expectSuccess(await node.sandbox.call({ plugin: "bridge", command: "STATUS", config: node.bridgeConfig() }));
      expect(await masqueraded(node, pod)).toEqual([true, true]);
      expectSuccess(await check(node, pod));
    }));

  test(
    "50 ADDs and DELs at once leave exactly the right ruleset",
    () =>
      withNode(options, async (node) => {
        const pods = await Promise.all(Array.from({ length: 50 }, () => node.pod({ portmap: null })));
        const rules = await node.ruleset();
        for (const pod of pods) expect(rules).toContain(pod.v4);
        for (const result of await Promise.all(pods.map((pod) => check(node, pod)))) expectSuccess(result);
        const config = node.bridgeConfig();
        for (const result of await Promise.all(pods.map((pod) => node.call("bridge", "DEL", pod, config))))
          expectSuccess(result);
        expect(await remains(node)).toEqual([]);
      }),
    180_000,
  );
});
