/** What is not the node's own is not portmap's: traffic in transit, Services, and packets that claim to be local. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject, Netns } from "../../testbed/harness.ts";
import { addressOf, type Mapping, Node, type Pod, withNode } from "./portmap-lab.ts";
import { BRIEFLY, type Protocol, udpFrame } from "./traffic.ts";

const PROTOCOLS: readonly Protocol[] = ["tcp", "udp", "sctp"];
const MAPPINGS: readonly Mapping[] = PROTOCOLS.flatMap((protocol) => [
  { hostPort: 8080, containerPort: 80, protocol },
  { hostPort: 8083, containerPort: 80, protocol, hostIP: "127.0.0.1" },
]);

async function macOf(netns: Netns, link: string): Promise<string> {
  const [found] = await netns.query("link", "show", "dev", link);
  return String((found as JsonObject).address);
}

describe.each(["nftables", "iptables"])("backend %s", (backend) => {
  describe.each([true, false])("bridge-nf %s", (bridgeNf) => {
    let node: Node;
    let web: Pod;
    let other: Pod;

    beforeAll(async () => {
      node = await Node.create({ bridgeNf, portmap: { backend } });
      /* Before the mappings: a listener that is there later would have to be refused. */
      for (const address of ["127.0.0.1", "::1"]) {
        await node.traffic.serve({ netns: node.host, label: "node", protocol: "udp", port: 9999, address });
      }
      web = await node.pod({ label: "web", mappings: MAPPINGS });
      other = await node.pod({ portmap: null, label: "other" });
      await node.traffic.serveAll(node.server, "server", 8080);
      await node.traffic.serveAll(node.client, "client", 8080);
    });
    afterAll(() => node?.remove());

    describe.each([4, 6] as const)("forwarded IPv%s traffic to a published port", (family) => {
      const own = (pod: Pod) => (family === 4 ? pod.v4 : pod.v6);

      test.each(PROTOCOLS)("passes untouched (CVE-2025-67499), %s", async (protocol) => {
        const ask = (from: Netns, to: string) => node.ask(from, to, 8080, protocol);
        const server = addressOf("server", family);
        const remotePod = addressOf("remotePod", family);
        expect(await ask(node.client, server)).toBe(`server saw ${addressOf("client", family)}`);
        expect(await ask(node.client, remotePod)).toBe(`server saw ${addressOf("client", family)}`);
        expect(await ask(web.netns, server)).toBe(`server saw ${own(web)}`);
        expect(await ask(other.netns, remotePod)).toBe(`server saw ${own(other)}`);
        expect(await ask(node.server, addressOf("client", family))).toBe(`client saw ${addressOf("server", family)}`);
        expect(await ask(node.host, server)).toBe(`server saw ${addressOf("serverSide", family)}`);
      });

      test.each(PROTOCOLS)("and a pod's own port is its own, %s", async (protocol) => {
        expect(await node.ask(node.client, own(other), 80, protocol)).toBe(`other saw ${addressOf("client", family)}`);
        expect(await node.ask(web.netns, own(other), 80, protocol)).toBe(`other saw ${own(web)}`);
        expect(await node.ask(node.client, own(web), 8080, protocol, BRIEFLY)).toMatch(/refused|timeout/);
      });
    });

    describe("packets from the wire to 127.0.0.1 (CVE-2020-8558)", () => {
      interface Attack {
        readonly name: string;
        readonly source: string;
        readonly destination: string;
        readonly port: number;
      }

      /** The senders: a host on the node's link, and a pod on its bridge. */
      const senders = () => [
        { netns: node.client, link: "eth0", towards: "up0", v4: addressOf("client", 4), v6: addressOf("client", 6) },
        { netns: other.netns, link: "eth0", towards: "cni0", v4: other.v4, v6: other.v6 },
      ];

      async function sendAll(attacks: (own: { v4: string; v6: string }) => Attack[]): Promise<void> {
        for (const sender of senders()) {
          const macs = {
            sourceMac: await macOf(sender.netns, sender.link),
            destinationMac: await macOf(node.host, sender.towards),
          };
          const frames = attacks(sender).map((attack, index) =>
            udpFrame({
              ...macs,
              source: attack.source,
              destination: attack.destination,
              sourcePort: 40_000 + index,
              destinationPort: attack.port,
              text: `${sender.towards}: ${attack.name}`,
            }),
          );
          await node.traffic.send(sender.netns, sender.link, ...frames);
        }
        await new Promise((resolve) => setTimeout(resolve, 200));
      }

      async function received(): Promise<string[]> {
        const seen = [...(await node.traffic.seen(node.host, "node")), ...(await node.traffic.seen(web.netns, "web"))];
        return seen.map(([, text]) => text).filter((text) => text.includes(": "));
      }

      test("reach neither a listener there nor a mapping", async () => {
        await received();
        await sendAll(({ v4, v6 }) =>
          [9999, 8080, 8083].flatMap((port) => [
            { name: `to localhost ${port}`, source: v4, destination: "127.0.0.1", port },
            { name: `to all of its network ${port}`, source: v4, destination: "127.1.2.3", port },
            { name: `from localhost ${port}`, source: "127.0.0.1", destination: addressOf("node", 4), port },
            { name: `within localhost ${port}`, source: "127.0.0.1", destination: "127.0.0.1", port },
            { name: `to ::1 ${port}`, source: v6, destination: "::1", port },
            { name: `from ::1 ${port}`, source: "::1", destination: addressOf("node", 6), port },
          ]),
        );
        expect(await received()).toEqual([]);
      });

      test("while the same frames to the node's address do arrive", async () => {
        await received();
        await sendAll(({ v4, v6 }) => [
          { name: "IPv4", source: v4, destination: addressOf("node", 4), port: 8080 },
          { name: "IPv6", source: v6, destination: addressOf("node", 6), port: 8080 },
        ]);
        expect((await received()).sort()).toEqual(["cni0: IPv4", "cni0: IPv6", "up0: IPv4", "up0: IPv6"]);
      });

      test("and the node itself still reaches 127.0.0.1", async () => {
        expect(await node.ask(node.host, "127.0.0.1", 9999, "udp")).toBe("node saw 127.0.0.1");
        expect(await node.ask(node.host, "127.0.0.1", 8083)).toBe(`web saw ${addressOf("gateway", 4)}`);
      });
    });
  });
});

describe("beside others' tables", () => {
  const VIP = ["203.0.113.9", "2001:db8:3::9"] as const;
  /** What kube-proxy's nftables mode does for a load balancer's address, at its place in the order. */
  const NFT = (port: number) => `
table ip kube-proxy {
  chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; ip daddr ${VIP[0]} tcp dport ${port} dnat to ${addressOf("server", 4)}:8080; }
  chain nat-output { type nat hook output priority -100; policy accept; ip daddr ${VIP[0]} tcp dport ${port} dnat to ${addressOf("server", 4)}:8080; }
}
table ip6 kube-proxy {
  chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; ip6 daddr ${VIP[1]} tcp dport ${port} dnat to [${addressOf("server", 6)}]:8080; }
  chain nat-output { type nat hook output priority -100; policy accept; ip6 daddr ${VIP[1]} tcp dport ${port} dnat to [${addressOf("server", 6)}]:8080; }
}`;

  async function serviceByNft(node: Node): Promise<void> {
    await node.host.exec("nft", ["-f", "-"], { input: NFT(8080) });
  }

  async function serviceByIptables(node: Node): Promise<void> {
    for (const [command, vip, server] of [
      ["iptables", VIP[0], `${addressOf("server", 4)}:8080`],
      ["ip6tables", VIP[1], `[${addressOf("server", 6)}]:8080`],
    ] as const) {
      for (const hook of ["PREROUTING", "OUTPUT"]) {
        const match = ["-w", "-t", "nat", "-I", hook, "-p", "tcp", "-d", vip, "--dport", "8080"];
        await node.host.exec(command, [...match, "-j", "DNAT", "--to-destination", server]);
      }
    }
  }

  describe.each([
    ["nftables", "kube-proxy's nftables mode", serviceByNft],
    ["nftables", "kube-proxy's iptables mode", serviceByIptables],
    ["iptables", "kube-proxy's iptables mode", serviceByIptables],
  ] as const)("backend %s, %s", (backend, _name, service) => {
    test.each([true, false])("a Service on a local address goes first, installed before us: %s", (before) =>
      withNode({ portmap: { backend } }, async (node) => {
        await node.traffic.serveAll(node.server, "server", 8080);
        for (const vip of VIP) await node.host.ip("address", "add", vip, "dev", "lo");
        if (before) await service(node);
        await node.pod({ label: "web", mappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] });
        if (!before) await service(node);
        for (const family of [4, 6] as const) {
          const vip = VIP[family === 4 ? 0 : 1];
          expect(await node.ask(node.client, vip, 8080)).toBe(`server saw ${addressOf("client", family)}`);
          expect(await node.ask(node.host, vip, 8080)).toMatch(/^server saw/);
          expect(await node.ask(node.client, addressOf("node", family), 8080)).toMatch(/^web saw/);
        }
      }),
    );
  });

  test.each(["nftables", "iptables"])(
    "backend %s: nothing of theirs changes, from the first ADD to the last DEL",
    (backend) =>
      withNode({ portmap: { backend } }, async (node) => {
        await serviceByNft(node);
        await serviceByIptables(node);
        await node.host.exec("nft", ["-f", "-"], {
          input: `table inet firewalld {
            chain filter_INPUT { type filter hook input priority 10; tcp dport 22 accept; }
          }
          table ip filter {
            chain DOCKER-USER { counter return; }
          }`,
        });
        const before = await node.ruleset();
        const pods = [await node.pod({ mappings: MAPPINGS }), await node.pod({ mappings: [] })];
        const during = await node.ruleset();
        for (const line of before.split("\n")) expect(during).toContain(line);
        for (const pod of pods) await node.removePod(pod, MAPPINGS);
        const left = (await node.ruleset()).split("\n").filter((line) => !before.includes(line));
        /* The tables may stay, but nothing of a pod in them. */
        expect(left.join("\n")).not.toMatch(/10\.88\.0\.|fd88::|8080|8083|pwt-/);
      }),
  );
});
