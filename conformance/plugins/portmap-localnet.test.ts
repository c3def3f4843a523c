/** route_localnet: the node's 127.0.0.1 leads to pods, and nobody else gets there by it (CVE-2020-8558). */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess } from "../../testbed/harness.ts";
import { BACKENDS, type Mapping, type Node, withNode } from "./portmap-lab.ts";

const MAPPINGS: readonly Mapping[] = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
const SETTING = "net.ipv4.conf.cni0.route_localnet";

async function setting(node: Node): Promise<string> {
  return (await node.host.exec("sysctl", ["-n", SETTING])).trim();
}

/** The links from which packets for 127.0.0.0/8 are dropped. */
async function guardedLinks(node: Node): Promise<string> {
  return node.nft("list", "set", "inet", "podwire", "localnet_links");
}

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { portmap: { backend } };

  test("after the last such pod and somebody's flush a STATUS puts the rule back that keeps neighbours out", () =>
    withNode(options, async (node) => {
      const pod = await node.pod({ label: "web", mappings: MAPPINGS });
      expect(await setting(node)).toBe("1");
      await node.removePod(pod, MAPPINGS);
      expect(await guardedLinks(node)).toContain('"cni0"');
      await node.nft("flush", "ruleset");
      expectSuccess(
        await node.call("portmap", "STATUS", pod, { name: "pwt-net", cniVersion: "1.1.0", type: "portmap", backend }),
      );
      expect(await setting(node)).toBe("1");
      expect(await guardedLinks(node)).toContain('"cni0"');
    }));

  test("CHECK tells that somebody set it back, and sets it again", () =>
    withNode(options, async (node) => {
      const pod = await node.pod({ label: "web", mappings: MAPPINGS });
      await node.host.exec("sysctl", ["-qw", `${SETTING}=0`]);
      expect(await node.ask(node.host, "127.0.0.1", 8080)).not.toMatch(/^web/);
      expectError(await node.check(pod, MAPPINGS), { code: 101, msg: /route_localnet was 0/, details: /put back/ });
      expectSuccess(await node.check(pod, MAPPINGS));
      expect(await node.ask(node.host, "127.0.0.1", 8080)).toMatch(/^web/);
    }));

  test("the command sets it again as well, but only where a pod needs it", () =>
    withNode(options, async (node) => {
      const pod = await node.pod({ label: "web", mappings: MAPPINGS });
      await node.host.exec("sysctl", ["-qw", `${SETTING}=0`]);
      expectSuccess(await node.repair());
      expect(await setting(node)).toBe("1");
      await node.removePod(pod, MAPPINGS);
      await node.host.exec("sysctl", ["-qw", `${SETTING}=0`]);
      expectSuccess(await node.repair());
      expect(await setting(node)).toBe("0");
    }));
});
