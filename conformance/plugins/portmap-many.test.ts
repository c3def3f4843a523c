/** Ports by the ten thousand, and names of any length: nothing is cut short, and nothing is mistaken for another's. */
import { rm } from "node:fs/promises";
import { expect, test } from "vitest";
import { expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { portsLeft, remains } from "./node-filter.ts";
import { addressOf, type Mapping, type Node, recordsOf, withNode } from "./portmap-lab.ts";

/** Of both families: more than a megabyte of what is kept on record. */
const MANY = 12_000;

async function elementsOf(node: Node, map: string): Promise<number> {
  const { nftables } = JSON.parse(await node.nft("-j", "list", "map", "inet", "podwire", map)) as {
    nftables: { map?: { elem?: unknown[] } }[];
  };
  return nftables.flatMap((item) => item.map?.elem ?? []).length;
}

test(
  `${MANY} ports of both families are published, put back after a flush, and removed, all of them`,
  { timeout: 300_000 },
  () =>
    withNode({}, async (node) => {
      const mappings: Mapping[] = Array.from({ length: MANY }, (_, i) => ({ hostPort: 20_000 + i, containerPort: 80 }));
      /* The table is made with them, from what is on record or in hand. */
      const pod = await node.pod({ label: "web", mappings });
      for (const map of ["hostports4", "hostports6"]) expect(await elementsOf(node, map)).toBe(MANY);
      expect(await node.ask(node.client, addressOf("node", 4), 20_000 + MANY - 1)).toMatch(/^web saw/);
      expectSuccess(await node.check(pod, mappings));
      await node.nft("flush", "ruleset");
      expect((await node.repair()).stderr).toContain("restored");
      for (const map of ["hostports4", "hostports6"]) expect(await elementsOf(node, map)).toBe(MANY);
      /* Again, by half of them: the other half goes. */
      expectSuccess(await node.publish(pod, mappings.slice(MANY / 2)));
      for (const map of ["hostports4", "hostports6"]) expect(await elementsOf(node, map)).toBe(MANY / 2);
      await node.unpublish(pod, []);
      for (const map of ["hostports4", "hostports6"]) expect(await elementsOf(node, map)).toBe(0);
      expect(await remains(node)).toEqual([]);
    }),
);

test.each([
  ["a long network's name", "n", 150, 4],
  ["a long container's", "c", 4, 150],
  ["both as long as they may be", "x", 200, 200],
])(
  "records are lost: GC keeps the ports and checks of the living and takes those of the dead, with %s",
  (_name, letter, network, container) =>
    withNode({}, async (node) => {
      const name = `pwt-${letter.repeat(network - 4)}`;
      const bridge: JsonObject = { name, macspoofchk: true, ipSpoofCheck: true, ipMasq: true };
      const port = (hostPort: number): Mapping[] => [{ hostPort, containerPort: 80, protocol: "tcp" }];
      const id = (last: string) => `${letter.repeat(container - 1)}${last}`;
      const alive = await node.pod({ containerId: id("a"), bridge, portmap: { name }, mappings: port(8081) });
      const dead = await node.pod({ containerId: id("d"), bridge, portmap: { name }, mappings: port(8082) });
      const ranges = ["10.88.0.0/24", "fd88::/64"].map((subnet) => [
        { subnet, rangeStart: subnet.replace(/0?\/.*/, "99") },
      ]);
      const ipam = { type: "host-local", dataDir: node.sandbox.dataDir, ranges };
      const other = await node.pod({ containerId: id("o"), bridge: { ipam }, mappings: port(8083) });
      const all = await node.nft("--stateless", "list", "ruleset");
      await rm((await recordsOf(node.host)) ?? "", { recursive: true });
      const gc = async (valid: readonly { containerId: string; ifname: string }[]) => {
        const attachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
        const more = { name, "cni.dev/valid-attachments": attachments };
        expectSuccess(await node.call("portmap", "GC", alive, node.portmapConfig(null, more)));
        expectSuccess(await node.call("bridge", "GC", alive, node.bridgeConfig({ ...bridge, ...more })));
      };
      await gc([alive, dead]);
      expect(await node.nft("--stateless", "list", "ruleset")).toBe(all);
      await gc([alive]);
      expect(await portsLeft(node)).toEqual([8081, 8083]);
      expectSuccess(await node.check(alive, port(8081), { name }));
      expect(await node.ruleset()).not.toContain(dead.v4);
      expect(await node.ruleset()).toContain(alive.v4);
      await gc([]);
      expect(await portsLeft(node)).toEqual([8083]);
      await node.removePod(other, port(8083));
      /* But for the link that lets 127.0.0.1 out no set holds anything; the network's chain is nobody's. */
      expect((await node.ruleset()).match(/elements = \{/g)).toHaveLength(1);
    }),
);
