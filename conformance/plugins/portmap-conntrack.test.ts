/** Connections that the kernel already knows when a mapping comes or goes: none leads where it should not, none is lost. */
import { describe, expect, type TestContext, test } from "vitest";
import { expectSuccess } from "../../testbed/harness.ts";
import { ANY_NUMBER, addressOf, BACKENDS, type Family, type Mapping, type Node, withNode } from "./portmap-lab.ts";
import { BRIEFLY, type Question } from "./traffic.ts";

const UDP: readonly Mapping[] = [{ hostPort: 8080, containerPort: 80, protocol: "udp" }];
const FAMILIES: readonly Family[] = [4, 6];

/** A client that never closes its socket, as resolvers and loggers are: the same source port every time. */
async function sameClient(
  node: Node,
  family: Family,
  port = 8080,
  protocol: "udp" | "sctp" = "udp",
  patience: Partial<Question> = {},
): Promise<string> {
  return node.ask(node.client, addressOf("node", family), port, protocol, { sourcePort: 40_000, ...patience });
}

const TCP: readonly Mapping[] = UDP.map((mapping) => ({ ...mapping, protocol: "tcp" }));

/** The connections to the published port that the kernel knows; null where it does not tell. */
async function flowsToPort(node: Node): Promise<string[] | null> {
  return (await node.flows())?.filter((flow) => flow.endsWith(" 8080")) ?? null;
}

/** A pod with the port published by TCP, and a connection to it that the kernel knows. */
async function connected(node: Node, family: Family, ctx: TestContext) {
  if ((await flowsToPort(node)) === null) ctx.skip("this kernel has no /proc/net/nf_conntrack");
  const pod = await node.pod({ label: "first", mappings: TCP });
  expect(await node.ask(node.client, addressOf("node", family), 8080, "tcp")).toMatch(/^first saw/);
  expect(await flowsToPort(node)).toHaveLength(1);
  return pod;
}

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { portmap: { backend } };

  describe.each(FAMILIES)("IPv%s", (family) => {
    test("a client that sent before the pod was there reaches it", () =>
      withNode(options, async (node) => {
        for (let time = 0; time < 3; time += 1) expect(await sameClient(node, family)).not.toContain("saw");
        await node.pod({ label: "web", mappings: UDP });
        expect(await sameClient(node, family)).toBe(`web saw ${addressOf("client", family)}`);
      }));

    test("a client of the node itself does as well, also by another address", () =>
      withNode(options, async (node) => {
        const ask = (to: "node" | "localhost") =>
          node.ask(node.host, addressOf(to, family), 8080, "udp", { sourcePort: 40_000 });
        expect(await ask("node")).not.toContain("saw");
        expect(await ask("localhost")).not.toContain("saw");
        await node.pod({ label: "web", mappings: UDP });
        expect(await ask("node")).toMatch(/^web saw/);
        if (family === 4) expect(await ask("localhost")).toMatch(/^web saw/);
      }));

    test("a mapping for one address: the client reaches it", () =>
      withNode(options, async (node) => {
        const mappings = UDP.map((mapping) => ({ ...mapping, hostIP: addressOf("node", family) }));
        expect(await sameClient(node, family)).not.toContain("saw");
        await node.pod({ label: "web", mappings });
        expect(await sameClient(node, family)).toMatch(/^web saw/);
      }));

    test("after the pod was replaced it reaches the new one", () =>
      withNode(options, async (node) => {
        const first = await node.pod({ label: "first", mappings: UDP });
        for (let time = 0; time < 3; time += 1) expect(await sameClient(node, family)).toMatch(/^first saw/);
        await node.removePod(first, UDP);
        /* In between it keeps sending, and is told that nobody is there. */
        for (let time = 0; time < 3; time += 1) expect(await sameClient(node, family)).toBe("refused");
        await node.pod({ label: "second", mappings: UDP });
        expect(await sameClient(node, family)).toMatch(/^second saw/);
      }));

    test("after the pod died without a DEL as well", ANY_NUMBER, () =>
      withNode(options, async (node) => {
        const first = await node.pod({ label: "first", mappings: UDP });
        expect(await sameClient(node, family)).toMatch(/^first saw/);
        await node.kill(first);
        expect(await sameClient(node, family, 8080, "udp", BRIEFLY)).not.toContain("saw");
        await node.pod({ label: "second", mappings: UDP });
        expect(await sameClient(node, family)).toMatch(/^second saw/);
      }),
    );

    test("after the pod was deleted without runtimeConfig, a process of the node that binds the port gets the packets", () =>
      withNode(options, async (node) => {
        const first = await node.pod({ label: "first", mappings: UDP });
        expect(await sameClient(node, family)).toMatch(/^first saw/);
        await node.unpublish(first, null);
        await node.traffic.serve({ netns: node.host, label: "node", protocol: "udp", port: 8080 });
        expect(await sameClient(node, family)).toMatch(/^node saw/);
      }));

    test("a TCP connection to a process of the node that no longer listens goes on", () =>
      withNode(options, async (node) => {
        /* The kernel keeps track of connections from the first mapping on. */
        await node.pod({ mappings: [{ hostPort: 8090, containerPort: 80, protocol: "tcp" }] });
        await node.traffic.connect("drained", node.client, node.host, addressOf("node", family), 8080);
        expect(await node.traffic.exchange("drained")).toBe("alive");
        const pod = await node.pod({ label: "web", mappings: TCP });
        expect(await node.traffic.exchange("drained")).toBe("alive");
        expect(await node.ask(node.client, addressOf("node", family), 8080, "tcp")).toMatch(/^web saw/);
        await node.removePod(pod, TCP);
        expect(await node.traffic.exchange("drained")).toBe("alive");
      }));

    test(
      "TCP connections to a pod that died without a DEL are forgotten when its port is taken over",
      ANY_NUMBER,
      (ctx) =>
        withNode(options, async (node) => {
          const first = await connected(node, family, ctx);
          await node.kill(first);
          await node.pod({ label: "second", mappings: TCP });
          expect(await flowsToPort(node)).toEqual([]);
        }),
    );

    test("TCP connections are forgotten when a repeated ADD leads the port to another address", (ctx) =>
      withNode(options, async (node) => {
        const first = await connected(node, family, ctx);
        const moved = await node.bridged({ label: "moved" });
        expectSuccess(await node.publish({ ...moved, containerId: first.containerId }, TCP));
        expect(await flowsToPort(node)).toEqual([]);
        expect(await node.ask(node.client, addressOf("node", family), 8080, "tcp")).toMatch(/^moved saw/);
      }));

    test("SCTP: the client reaches the new pod", () =>
      withNode(options, async (node) => {
        const mappings = UDP.map((mapping) => ({ ...mapping, protocol: "sctp" }));
        const first = await node.pod({ label: "first", mappings });
        expect(await sameClient(node, family, 8080, "sctp")).toMatch(/^first saw/);
        await node.removePod(first, mappings);
        await node.pod({ label: "second", mappings });
        expect(await sameClient(node, family, 8080, "sctp")).toMatch(/^second saw/);
      }));
  });

  test("connections of other ports and addresses are not touched", (ctx) =>
    withNode(options, async (node) => {
      if ((await node.flows()) === null) ctx.skip("this kernel has no /proc/net/nf_conntrack");
      await node.pod({ label: "other", mappings: [{ hostPort: 8090, containerPort: 80, protocol: "udp" }] });
      const flows = async () => (await node.flows()) ?? [];
      await Promise.all([
        node.ask(node.client, addressOf("node", 4), 8090, "udp", { sourcePort: 40_001 }),
        node.ask(node.client, addressOf("node", 6), 8090, "udp", { sourcePort: 40_001 }),
        node.ask(node.client, addressOf("server", 4), 8080, "udp", { sourcePort: 40_003, timeoutMs: 200 }),
      ]);
      const before = await flows();
      expect(before).toHaveLength(3);
      const web = await node.pod({ label: "web", mappings: [{ ...UDP[0], hostIP: addressOf("node", 4) } as Mapping] });
      await node.removePod(web);
      const after = await flows();
      expect(before.filter((flow) => !after.includes(flow))).toEqual([]);
    }));
});
