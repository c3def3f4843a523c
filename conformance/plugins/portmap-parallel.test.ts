/** Many pods: the number of rules does not grow, and calls at the same time leave exactly what is right. */
import { describe, expect, test } from "vitest";
import { expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { portsLeft, remains, ruleCount } from "./node-filter.ts";
import { addressOf, BACKENDS, type Mapping, type Node, type Pod, withNode } from "./portmap-lab.ts";

const PODS = 50;
const node4 = addressOf("node", 4);
const node6 = addressOf("node", 6);

function portOf(index: number): Mapping[] {
  return [{ hostPort: 8080 + index, containerPort: 80, protocol: "tcp" }];
}

async function bridged(node: Node, count: number): Promise<Pod[]> {
  const pods: Pod[] = [];
  for (let index = 0; index < count; index += 1) pods.push(await node.bridged({ label: `web${index}` }));
  return pods;
}

/** The elements of a map of ours, "tcp . 8080" to "10.88.0.2 . 80". */
async function elements(node: Node, map: string): Promise<Map<string, string>> {
  const { nftables } = JSON.parse(await node.nft("-j", "list", "map", "inet", "podwire", map)) as {
    nftables: JsonObject[];
  };
  const found = nftables
    .map((entry) => entry.map as { elem?: unknown[] } | undefined)
    .find((entry) => entry !== undefined);
  const text = (value: unknown): string => {
    if (typeof value !== "object" || value === null) return String(value);
    if ("elem" in value) return text((value.elem as { val: unknown }).val);
    if ("concat" in value) return (value.concat as unknown[]).map(text).join(" . ");
    return JSON.stringify(value);
  };
  return new Map((found?.elem ?? []).map((pair) => (pair as unknown[]).map(text) as [string, string]));
}

/** The rules of iptables-save, chains and comments of pods included, each as often as it is there. */
async function iptablesRules(node: Node): Promise<string[]> {
  const both = await Promise.all(
    ["iptables-save", "ip6tables-save"].map((command) => node.host.exec(command, ["-t", "nat"])),
  );
  return both.flatMap((text, index) =>
    text
      .split("\n")
      .filter((line) => /^-A/.test(line))
      .map((line) => `${index} ${line}`),
  );
}

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { portmap: { backend } };

  test(
    `${PODS} ADDs at once, then ${PODS} DELs at once, leave exactly the right ruleset`,
    () =>
      withNode(options, async (node) => {
        const pods = await bridged(node, PODS);
        const added = await Promise.all(pods.map((pod, index) => node.publish(pod, portOf(index))));
        for (const result of added) expectSuccess(result);
        const answers = await Promise.all(
          pods.flatMap((_, index) =>
            [node4, node6].map((address) => node.ask(node.client, address, 8080 + index, "tcp", { timeoutMs: 2000 })),
          ),
        );
        expect(answers.map((answer) => answer.split(" ")[0])).toEqual(
          pods.flatMap((_, index) => [`web${index}`, `web${index}`]),
        );
        if (backend === "nftables") {
          const expected = (address: (pod: Pod) => string) =>
            new Map(pods.map((pod, index) => [`tcp . ${8080 + index}`, `${address(pod)} . 80`]));
          expect(await elements(node, "hostports4")).toEqual(expected((pod) => pod.v4));
          expect(await elements(node, "hostports6")).toEqual(expected((pod) => pod.v6));
        } else {
          const rules = await iptablesRules(node);
          expect(rules.filter((rule, index) => rules.indexOf(rule) !== index)).toEqual([]);
          for (const [index, pod] of pods.entries()) {
            expect(
              rules.filter((rule) => rule.includes("DNAT --to-destination") && rule.includes(`${pod.v4}:80`)),
            ).toHaveLength(1);
            expect(
              rules.filter((rule) => rule.includes("-j DNAT") && rule.includes(`[${pod.v6}]:80`)),
              String(index),
            ).toHaveLength(1);
          }
        }
        const checked = await Promise.all(pods.map((pod, index) => node.check(pod, portOf(index))));
        for (const result of checked) expectSuccess(result);
        const deleted = await Promise.all(
          pods.map((pod, index) => node.call("portmap", "DEL", pod, node.portmapConfig(portOf(index)))),
        );
        for (const result of deleted) expectSuccess(result);
        expect(await remains(node)).toEqual([]);
      }),
    180_000,
  );

  test(
    "ADDs and DELs of different pods at the same time do not disturb each other",
    () =>
      withNode(options, async (node) => {
        const pods = await bridged(node, 20);
        for (let round = 0; round < 3; round += 1) {
          await Promise.all(
            pods.map(async (pod, index) => {
              expectSuccess(await node.publish(pod, portOf(index)));
              expectSuccess(await node.check(pod, portOf(index)));
              expect(await node.ask(node.client, node4, 8080 + index, "tcp", { timeoutMs: 3000 })).toMatch(
                new RegExp(`^web${index} saw`),
              );
              if (index % 2 === round % 2) await node.unpublish(pod, portOf(index));
            }),
          );
          expect(await portsLeft(node)).toEqual(
            pods.map((_, index) => 8080 + index).filter((_, index) => index % 2 !== round % 2),
          );
          await Promise.all(pods.map((pod, index) => node.unpublish(pod, portOf(index))));
        }
        expect(await remains(node)).toEqual([]);
      }),
    180_000,
  );
});

test(
  `the ruleset has as many rules with ${PODS} pods as with one, masquerade and all`,
  () =>
    withNode({ bridge: { ipMasq: true } }, async (node) => {
      const mappings = (index: number): Mapping[] => [
        ...portOf(index),
        { hostPort: 8080 + index, containerPort: 80, protocol: "udp", hostIP: node4 },
      ];
      await node.pod({ mappings: mappings(0) });
      const one = await ruleCount(node);
      for (let index = 1; index < PODS; index += 1) await node.pod({ mappings: mappings(index) });
      expect(await ruleCount(node)).toBe(one);
      expect((await elements(node, "hostports4")).size).toBe(PODS);
    }),
  180_000,
);

test("and as many with 1,000 mappings as with one, of all kinds and both families", () =>
  withNode({}, async (node) => {
    const kinds: readonly Omit<Mapping, "hostPort">[] = [
      { containerPort: 80, protocol: "tcp" },
      { containerPort: 80, protocol: "udp" },
      { containerPort: 80, protocol: "tcp", hostIP: node4 },
      { containerPort: 80, protocol: "sctp", hostIP: node6 },
    ];
    const mappings = (from: number, count: number): Mapping[] =>
      Array.from(
        { length: count },
        (_, index) => ({ hostPort: from + index, ...kinds[index % kinds.length] }) as Mapping,
      );
    const first = await node.pod({ mappings: mappings(20_000, 1) });
    const one = await ruleCount(node);
    const pods = await Promise.all(
      Array.from({ length: 10 }, (_, index) => node.pod({ mappings: mappings(30_000 + index * 100, 100) })),
    );
    expect(await ruleCount(node)).toBe(one);
    expect((await elements(node, "hostports4")).size).toBe(501);
    for (const pod of pods) await node.unpublish(pod, null);
    expect(await ruleCount(node)).toBe(one);
    expect((await elements(node, "hostports4")).size).toBe(1);
    expectSuccess(await node.check(first, mappings(20_000, 1)));
  }));
