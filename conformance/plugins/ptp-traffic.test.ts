/** ptp: who reaches whom, with masquerading, published ports, limits and checked sources. */
import { describe, expect, test } from "vitest";
import { expectSuccess, type JsonObject, until } from "../../testbed/harness.ts";
import { remains } from "./node-filter.ts";
import { addressOf, BACKENDS, type Family, type Mapping, type Node, type Pod, withNode } from "./portmap-lab.ts";
import { linkLocalOf, macOf } from "./sender-lab.ts";
import { type Protocol, udpFrame } from "./traffic.ts";

const FAMILIES: readonly Family[] = [4, 6];
const PROTOCOLS: readonly Protocol[] = ["tcp", "udp", "sctp"];
const MAPPINGS: Mapping[] = PROTOCOLS.map((protocol) => ({ hostPort: 8080, containerPort: 80, protocol }));

const own = (pod: Pod, family: Family) => (family === 4 ? pod.v4 : pod.v6);
const hostLink = (pod: Pod): string => String((pod.bridged.interfaces as JsonObject[])[0]?.name);

async function serve(node: Node): Promise<void> {
  await node.traffic.serveAll(node.client, "client", 80);
  await node.traffic.serveAll(node.server, "server", 80);
  await node.traffic.serveAll(node.host, "node", 79);
}

describe("pods of a node reach", () => {
  test("each other, the node and the world, with their own addresses [PLUG-1]", () =>
    withNode({ main: "ptp" }, async (node) => {
      await serve(node);
      const pod = await node.pod({ portmap: null });
      const other = await node.pod({ portmap: null, label: "other" });
      for (const family of FAMILIES) {
        for (const protocol of PROTOCOLS) {
          const ask = (address: string, port = 80) => node.ask(pod.netns, address, port, protocol);
          expect(await ask(own(other, family))).toBe(`other saw ${own(pod, family)}`);
          expect(await ask(addressOf("gateway", family), 79)).toBe(`node saw ${own(pod, family)}`);
          expect(await ask(addressOf("node", family), 79)).toBe(`node saw ${own(pod, family)}`);
          expect(await ask(addressOf("server", family))).toBe(`server saw ${own(pod, family)}`);
          expect(await node.ask(node.host, own(other, family), 80, protocol)).toMatch(/^other saw/);
          expect(await node.ask(node.client, own(other, family), 80, protocol)).toBe(
            `other saw ${addressOf("client", family)}`,
          );
        }
      }
    }));

  test.each(BACKENDS)("the world with the node's address: ipMasq with %s, and DEL takes it away [PLUG-5]", (backend) =>
    withNode({ main: "ptp", bridge: { ipMasq: true, ipMasqBackend: backend } }, async (node) => {
      await serve(node);
      const pod = await node.pod({ portmap: null });
      const other = await node.pod({ portmap: null, label: "other" });
      for (const family of FAMILIES) {
        const ask = (address: string) => node.ask(pod.netns, address, 80);
        expect(await ask(addressOf("server", family))).toBe(`server saw ${addressOf("serverSide", family)}`);
        expect(await ask(own(other, family))).toBe(`other saw ${own(pod, family)}`);
      }
      await node.removePod(pod, null, { portmap: null });
      await node.removePod(other, null, { portmap: null });
      expect(await remains(node)).toEqual([]);
    }),
  );

  test("twenty at once, and all of them can be reached", () =>
    withNode({ main: "ptp", bridge: { ipMasq: true, ipSpoofCheck: true } }, async (node) => {
      const pods = await Promise.all(Array.from({ length: 20 }, () => node.pod({ portmap: null })));
      expect(new Set(pods.map((pod) => pod.v4)).size).toBe(20);
      const [first] = pods;
      for (const pod of pods) {
        expect(await node.host.ping(pod.v4)).toBe(true);
        expect(await first?.netns.ping(pod.v6)).toBe(true);
      }
      await Promise.all(pods.map((pod) => node.removePod(pod, null, { portmap: null })));
      expect(await remains(node)).toEqual([]);
      expect((await node.host.links()).filter((name) => name.startsWith("veth"))).toEqual([]);
    }));
});

describe.each(BACKENDS)("published ports with %s", (backend) => {
  test("answer the world, the node, its 127.0.0.1, other pods and the pod itself [PLUG-5]", () =>
    withNode({ main: "ptp", portmap: { backend } }, async (node) => {
      const pod = await node.pod({ mappings: MAPPINGS, label: "pod" });
      const other = await node.pod({ portmap: null });
      for (const family of FAMILIES) {
        const ask = (netns: typeof node.client, address: string, protocol: Protocol = "tcp") =>
          node.ask(netns, address, 8080, protocol);
        for (const protocol of PROTOCOLS) {
          expect(await ask(node.client, addressOf("node", family), protocol)).toBe(
            `pod saw ${addressOf("client", family)}`,
          );
        }
        expect(await ask(node.host, addressOf("node", family))).toMatch(/^pod saw/);
        expect(await ask(other.netns, addressOf("node", family))).toMatch(/^pod saw/);
        expect(await ask(pod.netns, addressOf("node", family))).toMatch(/^pod saw/);
      }
      expect(await node.ask(node.host, "127.0.0.1", 8080)).toMatch(/^pod saw/);
      expectSuccess(await node.check(pod, MAPPINGS));
      await node.removePod(pod, MAPPINGS);
      await node.removePod(other, null, { portmap: null });
      expect(await remains(node)).toEqual([]);
    }));
});

test("bandwidth behind it shapes the pod's own link, and takes it back", () =>
  withNode({ main: "ptp" }, async (node) => {
    const pod = await node.pod({ portmap: null });
    const limits = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 8_000_000, egressBurst: 800_000 };
    const config = { cniVersion: "1.1.0", name: node.network, type: "bandwidth", ...limits, prevResult: pod.bridged };
    const shaped = expectSuccess(await node.call("bandwidth", "ADD", pod, config));
    const qdisc = () => node.host.exec("tc", ["qdisc", "show", "dev", hostLink(pod)]);
    expect(await qdisc()).toContain("tbf");
    expectSuccess(await node.call("bandwidth", "CHECK", pod, { ...config, prevResult: shaped }));
    expectSuccess(await node.call("bandwidth", "DEL", pod, { ...config, prevResult: shaped }));
    expect(await qdisc()).not.toContain("tbf");
  }));

describe("ipSpoofCheck", () => {
  /** A datagram to another pod with chosen source addresses. */
  async function lie(node: Node, pod: Pod, victim: Pod, source: string, text: string): Promise<void> {
    const family: Family = source.includes(":") ? 6 : 4;
    const frame = udpFrame({
      sourceMac: await macOf(pod.netns),
      destinationMac: await macOf(node.host, hostLink(pod)),
      source,
      destination: own(victim, family),
      sourcePort: 40_000,
      destinationPort: 80,
      text,
    });
    await node.traffic.send(pod.netns, "eth0", frame);
  }

  const FORGED = ["10.88.0.77", "192.0.2.77", "fd88::77", "2001:db8:1::77"];

  /** What comes to the node from "::" and passes the check: packets of each match. */
  async function counting(node: Node): Promise<() => Promise<number[]>> {
    const matches = ["udp dport 80", "icmpv6 type nd-neighbor-solicit", "icmpv6 type mld2-listener-report"];
    const rules = matches.map((match) => `ip6 saddr :: ${match} counter`);
    const chain = `chain seen { type filter hook prerouting priority -299; ${rules.join("; ")}; }`;
    await node.nft(`table inet pwt { ${chain}\n}`);
    return async () =>
      [...(await node.nft("list", "table", "inet", "pwt")).matchAll(/packets (\d+)/g)].map((m) => Number(m[1]));
  }

  test.each([true, false])("%s: what a pod sends from addresses that are not its own", (ipSpoofCheck) =>
    withNode({ main: "ptp" }, async (node) => {
      const pod = await node.pod({ portmap: null, bridge: { ipSpoofCheck } });
      const victim = await node.pod({ portmap: null, label: "victim" });
      const seenByNode = await counting(node);
      /* What a host does by itself must not be taken for the check. */
      const filters = ["all", hostLink(pod)].map((link) => `net.ipv4.conf.${link}.rp_filter=0`);
      await node.host.exec("sysctl", ["-qw", ...filters]);
      for (const source of [...FORGED, "::"]) await lie(node, pod, victim, source, `from ${source}`);
      /* What is sent last has arrived last. */
      for (const family of FAMILIES) {
        expect(await node.ask(pod.netns, own(victim, family), 80, "udp")).toBe(`victim saw ${own(pod, family)}`);
      }
      const seen = (await node.traffic.seen(victim.netns, "victim")).map(([, text]) => text);
      const forged = seen.filter((text) => text.startsWith("from "));
      expect(forged).toEqual(ipSpoofCheck ? [] : FORGED.map((source) => `from ${source}`));
      /* Nobody forwards what comes from "::", but the node itself would get it. */
      expect((await seenByNode())[0]).toBe(ipSpoofCheck ? 0 : 1);
    }),
  );

  test("what a pod needs works: duplicate address detection, multicast groups, its link-local address", () =>
    withNode({ main: "ptp", bridge: { ipSpoofCheck: true } }, async (node) => {
      const pod = await node.pod({ portmap: null });
      const seenByNode = await counting(node);
      await pod.netns.exec("sysctl", ["-qw", "net.ipv6.conf.eth0.accept_dad=1", "net.ipv6.conf.eth0.dad_transmits=1"]);
      const address = `${await linkLocalOf(pod.netns)}/64`;
      await pod.netns.ip("-6", "address", "del", address, "dev", "eth0");
      await pod.netns.ip("-6", "address", "add", address, "dev", "eth0");
      expect(await node.host.ping(pod.v6)).toBe(true);
      const local = await linkLocalOf(node.host, hostLink(pod));
      /* The kernel looks for duplicates after a random part of a second. */
      const asked = async () => (await seenByNode()).slice(1).every((packets) => packets > 0);
      expect(await until(asked, 5000)).toBe(true);
      const settled = async () => !(await pod.netns.ip("-6", "address", "show", "tentative")).includes("inet6");
      expect(await until(settled, 5000)).toBe(true);
      expect(await pod.netns.ping(`${local}%eth0`, 1)).toBe(true);
    }));

  test("repair puts it back after a flush", () =>
    withNode({ main: "ptp", bridge: { ipSpoofCheck: true } }, async (node) => {
      const pod = await node.pod({ portmap: null });
      const victim = await node.pod({ portmap: null, label: "victim" });
      const config = node.bridgeConfig({ ipSpoofCheck: true, prevResult: pod.bridged });
      await node.nft("flush", "ruleset");
      expectSuccess(await node.repair());
      expectSuccess(await node.call("ptp", "CHECK", pod, config));
      await lie(node, pod, victim, "10.88.0.77", "forged");
      expect(await node.ask(pod.netns, victim.v4, 80, "udp")).toBe(`victim saw ${pod.v4}`);
      expect((await node.traffic.seen(victim.netns, "victim")).map(([, text]) => text)).not.toContain("forged");
    }));
});
