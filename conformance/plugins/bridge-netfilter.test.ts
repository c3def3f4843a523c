/** What depends on br_netfilter: whether frames that stay on a bridge pass the packet filter. */
import { describe, expect, test } from "vitest";
import { expectSuccess } from "../../testbed/harness.ts";
import { addressOf, type Node, withNode } from "./portmap-lab.ts";

const MAPPINGS = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];

/** Switches it; false where the kernel has no such setting. */
async function filterBridges(node: Node, value: 0 | 1): Promise<boolean> {
  const script = `for f in ip ip6; do echo ${value} > /proc/sys/net/bridge/bridge-nf-call-\${f}tables || exit 0; done; echo yes`;
  return (await node.host.exec("sh", ["-c", `{ ${script}; } 2> /dev/null`])).trim() === "yes";
}

async function status(node: Node, extra = {}) {
  const result = await node.sandbox.call({ plugin: "bridge", command: "STATUS", config: node.bridgeConfig(extra) });
  expectSuccess(result);
  return result.stderr;
}

describe("STATUS of bridge", () => {
  test.each([
    ["its chain of IPv4", ["ip", "nat", "KUBE-SERVICES"], "iptables"],
    ["its chain of IPv6", ["ip6", "nat", "KUBE-SERVICES"], "ip6tables"],
    ["its table", ["ip", "kube-proxy", "services"], "iptables"],
  ])(
    "tells that Services need br_netfilter where kube-proxy is known by %s",
    (_name, [family = "", table = "", chain = ""], key) =>
      withNode({ bridgeNf: false }, async (node) => {
        expect(await status(node)).toBe("");
        await node.nft("add", "table", family, table);
        await node.nft("add", "chain", family, table, chain);
        const setting = `bridge: kube-proxy is at work, but net.bridge.bridge-nf-call-${key} is not 1: `;
        expect((await status(node)).slice(0, setting.length)).toBe(setting);
        expect(await status(node, { isDefaultGateway: false })).toBe("");
        if (await filterBridges(node, 1)) expect(await status(node)).toBe("");
      }),
  );
});

test("repair of portmap follows the setting: neighbours reach the port either way", (ctx) =>
  withNode({ bridgeNf: true }, async (node) => {
    if (!(await filterBridges(node, 1))) ctx.skip("the kernel lacks br_netfilter");
    const pod = await node.pod({ mappings: MAPPINGS, label: "pod" });
    const neighbour = await node.bridged();
    const ask = () => node.ask(neighbour.netns, addressOf("node", 4), 8080);
    const withSetting = await node.ruleset();
    expect(await ask()).toBe(`pod saw ${neighbour.v4}`);
    await filterBridges(node, 0);
    expectSuccess(await node.repair());
    expect(await ask()).toBe(`pod saw ${addressOf("gateway", 4)}`);
    expectSuccess(await node.check(pod, MAPPINGS));
    await filterBridges(node, 1);
    expectSuccess(await node.repair());
    expect(await node.ruleset()).toBe(withSetting);
    expect(await ask()).toBe(`pod saw ${neighbour.v4}`);
    await node.removePod(pod, MAPPINGS);
    expect(await node.nft("list", "set", "inet", "podwire", "same_link4")).not.toContain(pod.v4);
  }));
