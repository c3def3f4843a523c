/** bridge with ipMasq: which connections of a pod leave with the node's address, and which keep the pod's. */
import { describe, expect, test } from "vitest";
import { expectError, type JsonObject } from "../../testbed/harness.ts";
import { remains } from "./node-filter.ts";
import { addressOf, BACKENDS, type Family, type Node, type Pod, withNode } from "./portmap-lab.ts";
import type { Protocol } from "./traffic.ts";

const PROTOCOLS: readonly Protocol[] = ["tcp", "udp", "sctp"];
const FAMILIES: readonly Family[] = [4, 6];

function own(pod: Pod, family: Family): string {
  return family === 4 ? pod.v4 : pod.v6;
}

/** Servers at all places that a pod may call. */
async function serve(node: Node): Promise<void> {
  await node.traffic.serveAll(node.client, "client", 80);
  await node.traffic.serveAll(node.server, "server", 80);
  await node.traffic.serveAll(node.host, "node", 79);
}

describe.each(BACKENDS)("backend %s", (backend) => {
  const masquerade = { ipMasq: true, ipMasqBackend: backend };

  test.each([true, false])(
    "what leaves the pod network has the node's address, the rest the pod's; bridge-nf %s [PLUG-5]",
    (bridgeNf) =>
      withNode({ bridgeNf, bridge: masquerade }, async (node) => {
        await serve(node);
        const pod = await node.pod({ portmap: null });
        const other = await node.pod({ portmap: null, label: "other" });
        for (const family of FAMILIES) {
          for (const protocol of PROTOCOLS) {
            const ask = (address: string, port = 80) => node.ask(pod.netns, address, port, protocol);
            expect(await ask(addressOf("client", family))).toBe(`client saw ${addressOf("node", family)}`);
            expect(await ask(addressOf("server", family))).toBe(`server saw ${addressOf("serverSide", family)}`);
            expect(await ask(addressOf("remotePod", family))).toBe(`server saw ${addressOf("serverSide", family)}`);
            expect(await ask(own(other, family))).toBe(`other saw ${own(pod, family)}`);
            expect(await ask(addressOf("gateway", family), 79)).toBe(`node saw ${own(pod, family)}`);
            expect(await ask(addressOf("node", family), 79)).toBe(`node saw ${own(pod, family)}`);
            /* The other way round nothing is translated. */
            expect(await node.ask(node.client, own(other, family), 80, protocol)).toBe(
              `other saw ${addressOf("client", family)}`,
            );
            expect(await node.ask(node.host, own(other, family), 80, protocol)).toBe(
              `other saw ${addressOf("gateway", family)}`,
            );
          }
        }
      }),
  );

  test("without ipMasq nothing is translated", () =>
    withNode({ bridge: { ipMasq: false, ipMasqBackend: backend } }, async (node) => {
      await serve(node);
      const pod = await node.pod({ portmap: null });
      for (const family of FAMILIES) {
        expect(await node.ask(pod.netns, addressOf("server", family), 80)).toBe(`server saw ${own(pod, family)}`);
      }
      expect(await remains(node)).toEqual([]);
    }));

  test("nonMasqueradeCIDRs see the pod's own address", () =>
    withNode(
      { bridge: { ...masquerade, nonMasqueradeCIDRs: ["10.88.0.0/16", "fd88::/16", "203.0.113.0/24"] } },
      async (node) => {
        await serve(node);
        const pod = await node.pod({ portmap: null });
        for (const family of FAMILIES) {
          for (const protocol of PROTOCOLS) {
            const ask = (address: string) => node.ask(pod.netns, address, 80, protocol);
            expect(await ask(addressOf("remotePod", family))).toBe(`server saw ${own(pod, family)}`);
            expect(await ask(addressOf("server", family))).toBe(`server saw ${addressOf("serverSide", family)}`);
          }
        }
      },
    ));

  test("two networks keep their own exemptions", () =>
    withNode({ bridge: masquerade }, async (node) => {
      await serve(node);
      const plain = await node.pod({ portmap: null });
      const exempt = await node.pod({
        portmap: null,
        bridge: {
          name: "pwt-other",
          bridge: "cni1",
          nonMasqueradeCIDRs: ["10.88.0.0/16"],
          ipam: { type: "host-local", dataDir: node.sandbox.dataDir, ranges: [[{ subnet: "10.89.0.0/24" }]] },
        },
      });
      expect(await node.ask(plain.netns, addressOf("remotePod", 4), 80)).toBe(
        `server saw ${addressOf("serverSide", 4)}`,
      );
      expect(await node.ask(exempt.netns, addressOf("remotePod", 4), 80)).toBe(`server saw ${exempt.v4}`);
      expect(await node.ask(exempt.netns, addressOf("server", 4), 80)).toBe(`server saw ${addressOf("serverSide", 4)}`);
    }));

  test.each([true, false])("multicast keeps the sender's address; bridge-nf %s", (bridgeNf) =>
    withNode({ bridgeNf, bridge: masquerade }, async (node) => {
      const pod = await node.pod({ portmap: null });
      const other = await node.pod({ portmap: null });
      const groups = { 4: "239.1.2.3", 6: "ff15::123" };
      for (const family of FAMILIES) {
        const address = family === 4 ? "0.0.0.0" : "::";
        const listener = { netns: other.netns, label: `group${family}`, protocol: "udp" as const, port: 5000 + family };
        await node.traffic.serve({ ...listener, address, group: groups[family], link: "eth0" });
        await node.ask(pod.netns, groups[family], 5000 + family, "udp", { text: "to all", timeoutMs: 200 });
        expect(await node.traffic.seen(other.netns, `group${family}`)).toEqual([[own(pod, family), "to all"]]);
      }
    }),
  );

  test("two pods with one source port are kept apart, and ports are chosen at random", () =>
    withNode({ bridge: masquerade }, async (node) => {
      await serve(node);
      const pods = [await node.pod({ portmap: null }), await node.pod({ portmap: null })];
      for (const pod of pods) {
        const answer = await node.ask(pod.netns, addressOf("server", 4), 80, "udp", { sourcePort: 40_000 });
        expect(answer).toBe(`server saw ${addressOf("serverSide", 4)}`);
      }
      if (backend === "nftables") {
        const { nftables } = JSON.parse(await node.nft("-j", "list", "ruleset")) as { nftables: JsonObject[] };
        const rules = nftables.flatMap((entry) => (entry.rule as { expr?: JsonObject[] } | undefined)?.expr ?? []);
        const flags = rules
          .filter((expression) => "masquerade" in expression)
          .map((expression) => expression.masquerade);
        expect(flags.length).toBeGreaterThan(0);
        for (const flag of flags) expect(flag).toEqual({ flags: "fully-random" });
      } else {
        const rules = await node.host.exec("iptables-save", ["-t", "nat"]);
        const masquerades = rules.split("\n").filter((line) => line.includes("-j MASQUERADE"));
        expect(masquerades.length).toBeGreaterThan(0);
        for (const rule of masquerades) expect(rule).toContain("--random-fully");
      }
    }));

  test("published ports still show the pod who calls", () =>
    withNode({ bridge: masquerade, portmap: { backend } }, async (node) => {
      const mappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
      const web = await node.pod({ label: "web", mappings });
      const other = await node.pod({ portmap: null });
      for (const family of FAMILIES) {
        const address = addressOf("node", family);
        expect(await node.ask(node.client, address, 8080)).toBe(`web saw ${addressOf("client", family)}`);
        expect(await node.ask(web.netns, address, 8080)).toBe(`web saw ${addressOf("gateway", family)}`);
        expect(await node.ask(other.netns, address, 8080)).toBe(`web saw ${own(other, family)}`);
      }
    }));
});

test("no backend given: nftables, in a table of our own", () =>
  withNode({ bridge: { ipMasq: true } }, async (node) => {
    await node.pod({ portmap: null });
    const tables = (await node.nft("list", "tables")).split("\n");
    expect(tables.filter((table) => !table.endsWith(" podwire"))).toEqual([]);
    expect(tables).toContain("table inet podwire");
  }));

describe("refused with code 7, and nothing is left", () => {
  const CASES: readonly (readonly [string, JsonObject, RegExp])[] = [
    ["an unknown backend", { ipMasqBackend: "foo" }, /ipMasqBackend.*unknown ipmasq backend.*foo/],
    ["an exemption that is no prefix", { nonMasqueradeCIDRs: ["10.0.0.0/8", "everything"] }, /nonMasqueradeCIDRs\[1\]/],
    ["an exemption without length", { nonMasqueradeCIDRs: ["10.0.0.1"] }, /nonMasqueradeCIDRs\[0\]/],
    ["an exemption with too long a length", { nonMasqueradeCIDRs: ["10.0.0.0/33"] }, /nonMasqueradeCIDRs\[0\]/],
    ["exemptions that are no list", { nonMasqueradeCIDRs: "10.0.0.0/8" }, /nonMasqueradeCIDRs/],
    ["ipMasq as text", { ipMasq: "yes" }, /ipMasq/],
  ];

  test.each(CASES)("%s", (_name, extra, msg) =>
    withNode({}, async (node) => {
      const netns = await node.namespace();
      const who = { netns, containerId: netns.name, ifname: "eth0" };
      const config = node.bridgeConfig({ ipMasq: true, ...extra });
      const result = await node.call("bridge", "ADD", who, config);
      expectError(result, { code: 7 });
      expect(result.stdout.replaceAll("\\", "")).toMatch(msg);
      expect(await node.nft("list", "ruleset")).toBe("");
      expect(await node.host.links()).not.toContain("cni0");
    }),
  );
});
