/** Somebody reloads the firewall, and everything in the packet filter is gone: the next call puts Podwire's part back. */
import { describe, expect, test } from "vitest";
import { type CallResult, expectError, expectSuccess } from "../../testbed/harness.ts";
import { remains } from "./node-filter.ts";
import { ANY_NUMBER, addressOf, BACKENDS, type Mapping, type Node, type Pod, withNode } from "./portmap-lab.ts";

const node4 = addressOf("node", 4);
const node6 = addressOf("node", 6);
const PODS = 50;

function portsOf(index: number): Mapping[] {
  return [
    { hostPort: 8080 + index, containerPort: 80, protocol: "tcp" },
    { hostPort: 8080 + index, containerPort: 80, protocol: "udp" },
  ];
}

/** Pods with a port each, attached a few at a time. */
async function attach(node: Node, count: number): Promise<Pod[]> {
  const pods: Pod[] = [];
  for (let start = 0; start < count; start += 10) {
    const some = Array.from({ length: Math.min(10, count - start) }, (_, index) => start + index);
    pods.push(
      ...(await Promise.all(some.map((index) => node.pod({ label: `web${index}`, mappings: portsOf(index) })))),
    );
  }
  return pods;
}

/** Which of the pods' ports do not lead to their pod. */
async function dead(
  node: Node,
  count: number,
  protocols: readonly ("tcp" | "udp")[] = ["tcp", "udp"],
): Promise<string[]> {
  const cases = Array.from({ length: count }, (_, index) => index).flatMap((index) =>
    protocols.flatMap((protocol) => [node4, node6].map((address) => ({ index, protocol, address }))),
  );
  const answers = await Promise.all(
    cases.map(({ index, protocol, address }) =>
      node.ask(node.client, address, 8080 + index, protocol, { timeoutMs: 2000 }),
    ),
  );
  return cases
    .map(({ index, protocol, address }, at) => ({
      name: `${protocol} ${address} ${index}`,
      index,
      answer: answers[at] ?? "",
    }))
    .filter(({ index, answer }) => !answer.startsWith(`web${index} saw`))
    .map(({ name, answer }) => `${name}: ${answer}`);
}

/** What an administrator or a service might do, without meaning us. */
const LOSSES: readonly (readonly [string, (node: Node) => Promise<void>])[] = [
  ["nft flush ruleset", async (node) => void (await node.nft("flush", "ruleset"))],
];

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { portmap: { backend } };

  /** What puts it back. */
  const REPAIRS: readonly (readonly [string, (node: Node, pods: readonly Pod[]) => Promise<CallResult>])[] = [
    [
      "one STATUS",
      (node) => node.sandbox.call({ plugin: "portmap", command: "STATUS", config: node.portmapConfig(null) }),
    ],
    [
      "the ADD of one more pod",
      async (node) => node.publish(await node.bridged(), [{ hostPort: 8190, containerPort: 80, protocol: "tcp" }]),
    ],
    ["the command portmap repair", (node) => node.repair()],
  ];

  test.each(REPAIRS)(
    `${PODS} pods, nft flush ruleset: after %s all ports answer again`,
    (_name, repair) =>
      withNode(options, async (node) => {
        const pods = await attach(node, PODS);
        expect(await dead(node, PODS)).toEqual([]);
        const before = await node.ruleset();
        await node.nft("flush", "ruleset");
        expect(await dead(node, PODS, ["tcp"])).toHaveLength(2 * PODS);
        expectSuccess(await repair(node, pods));
        expect(await dead(node, PODS)).toEqual([]);
        const lines = (text: string) => text.split("\n").map((line) => line.trim());
        const after = lines(await node.ruleset());
        expect(
          lines(before).filter(
            (line) => !after.includes(line.replace(/,$/, "")) && !after.includes(line) && !/[{}]|elements/.test(line),
          ),
        ).toEqual([]);
        for (const index of [0, PODS - 1]) {
          const pod = pods[index];
          if (pod !== undefined) expectSuccess(await node.check(pod, portsOf(index)));
        }
      }),
    180_000,
  );

  test("CHECK reports the loss by name, and from then on the ports answer", () =>
    withNode(options, async (node) => {
      const pods = await attach(node, 3);
      const [pod] = pods;
      if (pod === undefined) throw new Error("no pod");
      await node.nft("flush", "ruleset");
      const result = await node.check(pod, portsOf(0));
      expectError(result, { code: 101 });
      expect(result.stdout).toMatch(/8080/);
      expect(await dead(node, 3)).toEqual([]);
      expectSuccess(await node.check(pod, portsOf(0)));
    }));

  test("pods that are gone by then do not come back, and neither do deleted ones", ANY_NUMBER, () =>
    withNode(options, async (node) => {
      const [first, second, third] = await attach(node, 3);
      if (first === undefined || second === undefined || third === undefined) throw new Error("no pods");
      await node.kill(first);
      await node.nft("flush", "ruleset");
      await node.removePod(second);
      expectSuccess(
        await node.sandbox.call({ plugin: "portmap", command: "STATUS", config: node.portmapConfig(null) }),
      );
      expect(await node.ask(node.client, node4, 8082)).toMatch(/^web2 saw/);
      expect(await node.ask(node.client, node4, 8080)).toBe("refused");
      expect(await node.ask(node.client, node4, 8081)).toBe("refused");
      await node.unpublish(first, null);
      await node.removePod(third);
      expect(await remains(node)).toEqual([]);
    }),
  );

  test("one lost mapping among many comes back too", () =>
    withNode(options, async (node) => {
      await attach(node, 3);
      if (backend === "nftables") {
        await node.nft("delete", "element", "inet", "podwire", "hostports4", "{ tcp . 8081 }");
      } else {
        await node.host.exec("iptables", ["-w", "-t", "nat", "-F", "CNI-HOSTPORT-DNAT"]);
      }
      expect(await node.ask(node.client, node4, 8081)).toBe("refused");
      expectSuccess(await node.repair());
      expect(await dead(node, 3)).toEqual([]);
    }));

  test("a repair with nothing missing changes nothing, and repairs of an empty node neither", () =>
    withNode(options, async (node) => {
      expectSuccess(await node.repair());
      expect(await node.ruleset()).toBe("");
      await attach(node, 3);
      const before = await node.ruleset();
      expectSuccess(await node.repair());
      expectSuccess(
        await node.sandbox.call({ plugin: "portmap", command: "STATUS", config: node.portmapConfig(null) }),
      );
      expect(await node.ruleset()).toBe(before);
    }));

  test.each(LOSSES)(
    "%s by somebody else at the same time as ADDs and DELs does no harm that a repair cannot mend",
    (_name, lose) =>
      withNode(options, async (node) => {
        const pods = await attach(node, 10);
        const spare = await Promise.all(Array.from({ length: 10 }, () => node.bridged()));
        await Promise.all([
          ...pods.slice(0, 5).map((pod) => node.call("portmap", "DEL", pod, node.portmapConfig(null))),
          ...spare.map((pod, index) =>
            node.publish(pod, [{ hostPort: 8120 + index, containerPort: 80, protocol: "tcp" }]).then(expectSuccess),
          ),
          lose(node),
          lose(node),
        ]);
        expectSuccess(await node.repair());
        for (const [index, pod] of pods.entries()) {
          if (index >= 5) expectSuccess(await node.check(pod, portsOf(index)));
        }
        for (const [index, pod] of spare.entries()) {
          expectSuccess(await node.check(pod, [{ hostPort: 8120 + index, containerPort: 80, protocol: "tcp" }]));
        }
      }),
  );
});

test("both backends and both plugins on one node come back together", () =>
  withNode({ bridge: { ipMasq: true } }, async (node) => {
    const mapping = (hostPort: number): Mapping[] => [{ hostPort, containerPort: 80, protocol: "tcp" }];
    await node.pod({ label: "nft", mappings: mapping(8080), portmap: { backend: "nftables" } });
    await node.pod({ label: "ipt", mappings: mapping(8081), portmap: { backend: "iptables", name: "pwt-iptables" } });
    const pod = await node.pod({ portmap: null });
    await node.traffic.serveAll(node.server, "server", 80);
    await node.nft("flush", "ruleset");
    expectSuccess(await node.repair());
    expect(await node.ask(node.client, node4, 8080)).toMatch(/^nft saw/);
    expect(await node.ask(node.client, node4, 8081)).toMatch(/^ipt saw/);
    expect(await node.ask(pod.netns, addressOf("server", 4), 80)).toBe(`server saw ${addressOf("serverSide", 4)}`);
  }));
