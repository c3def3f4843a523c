/** Other people's firewalls that cut pods or nodes off: named by CHECK, STATUS and repair, and opened where that is asked for. */
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, expectSuccess } from "../../testbed/harness.ts";
import { type Cluster, type Node, type Pod, withCluster } from "./overlay-lab.ts";

/** Docker's way: who has no rule of his own is dropped. */
const DOCKER = `
  iptables-nft -P FORWARD DROP
  iptables-nft -N DOCKER-USER
  iptables-nft -A FORWARD -j DOCKER-USER
  iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  iptables-nft -A FORWARD -i docker0 ! -o docker0 -j ACCEPT`;

/** ufw's: established connections pass, and the rest is logged and rejected. */
const UFW = `
  iptables-nft -P FORWARD DROP
  iptables-nft -N ufw-before-forward
  iptables-nft -N ufw-reject-forward
  iptables-nft -A FORWARD -j ufw-before-forward
  iptables-nft -A FORWARD -j ufw-reject-forward
  iptables-nft -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  iptables-nft -A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
  iptables-nft -A ufw-reject-forward -j REJECT --reject-with icmp-port-unreachable`;

/** firewalld's: every chain accepts, but rejects at its end what no zone has accepted. */
const FIREWALLD = `nft -f - <<END
  table inet firewalld {
    chain filter_FORWARD {
      type filter hook forward priority 10; policy accept;
      ct state { established, related } accept
      ct status dnat accept
      iifname "lo" accept
      ct state invalid drop
      jump filter_FORWARD_ZONES
      reject with icmpx admin-prohibited
    }
    chain filter_FORWARD_ZONES {
      iifname "eth0" goto filter_FWD_public
      goto filter_FWD_public
    }
    chain filter_FWD_public { jump filter_FWD_public_allow; }
    chain filter_FWD_public_allow { oifname "eth0" accept; }
  }
END`;

async function shell(node: Node, script: string): Promise<void> {
  await node.netns.exec("sh", ["-ec", script]);
}

/** Whether a pod hears from another; nobody answers where a firewall drops. */
async function reaches(cluster: Cluster, from: Pod, to: Pod): Promise<boolean> {
  const question = { netns: from.netns, address: to.v4, port: 80, protocol: "udp", timeoutMs: 400 } as const;
  return (await cluster.traffic.ask(question)) === `pod-${to.node.number} saw ${from.v4}`;
}

async function repair(node: Node): Promise<string> {
  const command = [`--net=${node.netns.path}`, "--", join(binDirectory, "vxlan-overlay"), "repair"];
  const { exitCode, stderr } = await execa("nsenter", command, { reject: false });
  expect(exitCode).toBe(0);
  return stderr;
}

describe("a firewall that drops what is forwarded", () => {
  test.each([
    ["Docker", DOCKER, "ip filter FORWARD"],
    ["ufw", UFW, "ip filter FORWARD"],
    ["firewalld", FIREWALLD, "inet firewalld filter_FORWARD"],
  ])("like %s is named, and opened on request", (_name, script, chain) =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      expect(await reaches(cluster, b, a)).toBe(true);
      const calm = await cluster.callFor(a, "CHECK");
      expectSuccess(calm);
      expect(calm.stderr).toBe("");
      await shell(a.node, script);
      expect(await reaches(cluster, b, a)).toBe(false);
      const named = `the firewall's chain ${chain} drops what pods of other nodes send to this node's 10.244.1.0/24`;
      const check = await cluster.callFor(a, "CHECK");
      expectSuccess(check);
      expect(check.stderr).toContain(named);
      expect(await repair(a.node)).toContain(named);
      /* A firewall is nobody's who did not ask. */
      expect(await reaches(cluster, b, a)).toBe(false);
      const opened = await cluster.call(a.node, "STATUS", { firewall: true });
      expectSuccess(opened);
      expect(opened.stderr).toContain(`chain ${chain} dropped what pods`);
      expect(await reaches(cluster, b, a)).toBe(true);
      expect(await reaches(cluster, a, b)).toBe(true);
      const rules = (await a.node.netns.exec("nft", ["list", "ruleset"])).match(/10\.244\.1\.0\/24 counter .* accept/g);
      expect(rules).toHaveLength(2);
      expect(await repair(a.node)).toBe("");
      /* Its own programs go on reading it. */
      if (chain.startsWith("ip ")) {
        const saved = await a.node.netns.exec("iptables-nft", ["-S", "FORWARD"]);
        expect(saved).toMatch(/^-A FORWARD -d 10\.244\.1\.0\/24 .*-j ACCEPT$/m);
      }
      /* After a reload the next look opens it again. */
      if (chain.startsWith("ip ")) await shell(a.node, "iptables-nft -F FORWARD");
      else await shell(a.node, `nft flush table inet firewalld; ${FIREWALLD}`);
      expect(await reaches(cluster, b, a)).toBe(false);
      expect(await repair(a.node)).toContain(`chain ${chain} dropped`);
      expect(await reaches(cluster, b, a)).toBe(true);
    }),
  );

  test.each([
    [
      "by address",
      "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -s 10.244.0.0/16 -j ACCEPT; iptables-nft -A FORWARD -d 10.244.0.0/16 -j ACCEPT",
    ],
    [
      "by link",
      "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i cni0 -j ACCEPT; iptables-nft -A FORWARD -o cni0 -j ACCEPT",
    ],
    [
      "by a match that only the kernel knows",
      "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -m addrtype --src-type UNICAST -j ACCEPT",
    ],
  ])("but accepts the pods %s is not named", (_name, script) =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      await shell(a.node, script);
      expect(await reaches(cluster, b, a)).toBe(true);
      const check = await cluster.callFor(a, "CHECK");
      expectSuccess(check);
      expect(check.stderr).toBe("");
    }),
  );
});

describe("a firewall that accepts the port only for connections that are tracked", () => {
  const script = `
    iptables-nft -P INPUT DROP
    iptables-nft -A INPUT -i lo -j ACCEPT
    iptables-nft -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables-nft -A INPUT -p udp --dport 8472 -m conntrack --ctstate NEW -j ACCEPT`;

  test.each([
    ["without notrack", { notrack: false }],
    ["with an accepting rule", { firewall: true }],
  ])("is named, and passed %s", (_name, option) =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      await shell(a.node, script);
      expect(await reaches(cluster, b, a)).toBe(false);
      const check = await cluster.callFor(a, "CHECK");
      expectSuccess(check);
      expect(check.stderr).toMatch(
        /chain ip filter INPUT drops VXLAN from other nodes, UDP port 8472.*"notrack": false/,
      );
      expectSuccess(await cluster.call(a.node, "STATUS", option));
      expect(await reaches(cluster, b, a)).toBe(true);
      const after = await cluster.callFor(a, "CHECK", option);
      expectSuccess(after);
      expect(after.stderr).toBe("");
    }),
  );
});
