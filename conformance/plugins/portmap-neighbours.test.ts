/** Published ports on a node where Docker, kube-proxy and firewalld have their tables, too: everybody's traffic arrives. */
import { describe, expect, test } from "vitest";
import { expectSuccess } from "../../testbed/harness.ts";
import { addressOf, BACKENDS, type Mapping, type Node, withNode } from "./portmap-lab.ts";
import { BRIEFLY } from "./traffic.ts";

const WEB: readonly Mapping[] = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
const FAMILIES = [4, 6] as const;
const COMMANDS = { 4: "iptables", 6: "ip6tables" } as const;

async function iptables(node: Node, family: 4 | 6, rules: readonly string[]): Promise<void> {
  for (const rule of rules) await node.host.exec(COMMANDS[family], ["-w", "-t", "nat", ...rule.split(" ")]);
}

function serverOf(family: 4 | 6): string {
  return family === 4 ? `${addressOf("server", 4)}:8080` : `[${addressOf("server", 6)}]:8080`;
}

/** What dockerd makes for a container with a published port; the container is the server beyond the other uplink. */
async function docker(node: Node, port: number): Promise<void> {
  for (const family of FAMILIES) {
    const loopback = family === 4 ? "127.0.0.0/8" : "::1/128";
    await iptables(node, family, [
      "-N DOCKER",
      "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
      `-A OUTPUT ! -d ${loopback} -m addrtype --dst-type LOCAL -j DOCKER`,
      `-A DOCKER ! -i docker0 -p tcp -m tcp --dport ${port} -j DNAT --to-destination ${serverOf(family)}`,
      `-A POSTROUTING -s ${family === 4 ? "172.17.0.0/16" : "fd00:d0c::/64"} ! -o docker0 -j MASQUERADE`,
    ]);
  }
}

/** kube-proxy's iptables mode with a Service on a NodePort. */
async function kubeProxy(node: Node, port: number): Promise<void> {
  for (const family of FAMILIES) {
    await iptables(node, family, [
      ...["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-SVC-A", "KUBE-SEP-A", "KUBE-MARK-MASQ"].map((name) => `-N ${name}`),
      "-N KUBE-POSTROUTING",
      "-I PREROUTING -j KUBE-SERVICES",
      "-I OUTPUT -j KUBE-SERVICES",
      "-I POSTROUTING -j KUBE-POSTROUTING",
      "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
      `-A KUBE-NODEPORTS -p tcp -m tcp --dport ${port} -j KUBE-SVC-A`,
      "-A KUBE-SVC-A -j KUBE-MARK-MASQ",
      "-A KUBE-SVC-A -j KUBE-SEP-A",
      `-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination ${serverOf(family)}`,
      "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
      "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
      "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
      "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
    ]);
  }
}

/** firewalld's hooks: translated connections may pass, everything else that is forwarded is refused. */
const FIREWALLD = `
table inet firewalld {
  chain mangle_PREROUTING { type filter hook prerouting priority mangle + 10; policy accept; }
  chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept; }
  chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    reject with icmpx admin-prohibited
  }
}`;

describe.each(BACKENDS)("backend %s", (backend) => {
  const options = { portmap: { backend } };

  test.each([
    ["Docker's", docker],
    ["kube-proxy's", kubeProxy],
  ] as const)("%s ports and ours arrive side by side, ours from the node's 127.0.0.1 as well", (_name, others) =>
    withNode(options, async (node) => {
      await node.traffic.serveAll(node.server, "server", 8080);
      await others(node, 30_080);
      const web = await node.pod({ label: "web", mappings: WEB });
      for (const family of FAMILIES) {
        const address = addressOf("node", family);
        expect(await node.ask(node.client, address, 30_080)).toMatch(/^server saw/);
        expect(await node.ask(node.client, address, 8080)).toBe(`web saw ${addressOf("client", family)}`);
        expect(await node.ask(node.host, address, 30_080)).toMatch(/^server saw/);
        expect(await node.ask(node.host, address, 8080)).toMatch(/^web saw/);
        expect(await node.ask(web.netns, address, 30_080)).toMatch(/^server saw/);
      }
      expect(await node.ask(node.host, "127.0.0.1", 8080)).toMatch(/^web saw/);
      expectSuccess(await node.check(web, WEB));
      await node.removePod(web, WEB);
      expect(await node.ask(node.client, addressOf("node", 4), 30_080)).toMatch(/^server saw/);
    }),
  );

  test.each([
    ["Docker", docker],
    ["kube-proxy", kubeProxy],
  ] as const)("the same port is %s's if it was there before", (_name, others) =>
    withNode(options, async (node) => {
      await node.traffic.serveAll(node.server, "server", 8080);
      await others(node, 8080);
      await node.pod({ label: "web", mappings: WEB });
      for (const family of FAMILIES) {
        expect(await node.ask(node.client, addressOf("node", family), 8080)).toMatch(/^server saw/);
        expect(await node.ask(node.host, addressOf("node", family), 8080)).toMatch(/^server saw/);
      }
    }),
  );

  test("firewalld lets translated connections through, and keeps its table", () =>
    withNode(options, async (node) => {
      await node.host.exec("nft", ["-f", "-"], { input: FIREWALLD });
      const theirs = async () => node.nft("--stateless", "list", "table", "inet", "firewalld");
      const before = await theirs();
      const web = await node.pod({ label: "web", mappings: WEB });
      for (const family of FAMILIES) {
        expect(await node.ask(node.client, addressOf("node", family), 8080)).toBe(
          `web saw ${addressOf("client", family)}`,
        );
        /* Who comes by no mapping is refused, so the table does what it says. */
        expect(await node.ask(node.client, family === 4 ? web.v4 : web.v6, 80, "tcp", BRIEFLY)).not.toContain("saw");
      }
      expect(await theirs()).toBe(before);
      await node.removePod(web, WEB);
      expect(await theirs()).toBe(before);
    }));
});
