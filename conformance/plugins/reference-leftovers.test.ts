/** A node that moves over while pods run: what the reference suite put into the packet filter for a pod, our DEL takes out. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectSuccess, type JsonObject, referenceDirectory } from "../../testbed/harness.ts";
import { BACKENDS, type Backend, type Mapping, type Node, withNode } from "./portmap-lab.ts";

const FILTERS = { ipMasq: true, macspoofchk: true };
const VERSION = { cniVersion: "1.0.0" };

const mappingsOf = (first: number): Mapping[] => [
  { hostPort: first, containerPort: 80, protocol: "tcp" },
  { hostPort: first + 1, containerPort: 80, protocol: "udp", hostIP: "127.0.0.1" },
];

type Who = Parameters<Node["call"]>[2];

/** ADD of the chain by the reference: what it printed. */
async function addByReference(
  node: Node,
  who: Who,
  backend: Backend,
  mappings: readonly Mapping[],
): Promise<JsonObject> {
  const bin = { bin: referenceDirectory };
  const bridged = expectSuccess(await node.call("bridge", "ADD", who, bridgeConfig(node, backend), bin));
  const config = node.portmapConfig(mappings, { ...VERSION, backend, prevResult: bridged });
  return expectSuccess(await node.call("portmap", "ADD", who, config, bin));
}

function bridgeConfig(node: Node, backend: Backend): JsonObject {
  /* Hairpin mode is of no matter here, and an older reference does not know the second backend. */
  return node.bridgeConfig({ ...VERSION, ...FILTERS, ipMasqBackend: backend });
}

/** Everything in the packet filter, in order, without what changes by itself. */
async function packetFilter(node: Node): Promise<string[]> {
  const { nftables } = JSON.parse(await node.nft("-j", "list", "ruleset")) as { nftables: JsonObject[] };
  const objects = nftables.filter((item) => !("metainfo" in item));
  const values = JSON.stringify(objects, (key, value: unknown) =>
    ["handle", "packets", "bytes"].includes(key) ? undefined : value,
  );
  const saved = await Promise.all(["iptables-save", "ip6tables-save"].map((program) => node.host.exec(program)));
  const lines = saved.join("\n").split("\n");
  return [
    ...(JSON.parse(values) as JsonObject[]).map((object) => JSON.stringify(object)),
    ...lines.filter((line) => !line.startsWith("#")).map((line) => line.replace(/\[\d+:\d+\]/, "")),
  ];
}

for (const backend of BACKENDS) {
  for (const ifname of ["eth0", "net1"]) {
    test(`${backend}: one pod's share goes, its neighbour's stays (${ifname})`, async (ctx) => {
      if (!existsSync(join(referenceDirectory, "portmap"))) ctx.skip("the reference suite is not installed");
      await withNode({}, async (node) => {
        const stays = { netns: await node.namespace(), containerId: "cont-a", ifname };
        const goes = { netns: await node.namespace(), containerId: "cont-ab", ifname };
        await addByReference(node, stays, backend, mappingsOf(8080));
        const before = await packetFilter(node);
        const prevResult = await addByReference(node, goes, backend, mappingsOf(8090));
        expect(await packetFilter(node)).not.toEqual(before);

        const portmap = node.portmapConfig(mappingsOf(8090), { ...VERSION, backend, prevResult });
        expectSuccess(await node.call("portmap", "DEL", goes, portmap));
        expectSuccess(await node.call("bridge", "DEL", goes, { ...bridgeConfig(node, backend), prevResult }));
        expect(await packetFilter(node)).toEqual(before);
        /* And again, when there is nothing to find. */
        expectSuccess(await node.call("portmap", "DEL", goes, portmap));
        expectSuccess(await node.call("bridge", "DEL", goes, { ...bridgeConfig(node, backend), prevResult }));
        expect(await packetFilter(node)).toEqual(before);
      });
    });
  }
}
