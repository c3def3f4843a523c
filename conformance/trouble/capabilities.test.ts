/** A plugin that may not change the network says so, soon, and goes no other way: nothing is half done. */
import { describe, expect, test } from "vitest";
import { expectError, type JsonObject } from "../../testbed/harness.ts";
import { difference } from "../faults/snapshot.ts";
import { type Mapping, withNode } from "../plugins/portmap-lab.ts";
import { nodeSnapshot } from "./snapshot.ts";

/** Starts a plugin as root without the right to change networks. */
const WITHOUT = ["/usr/bin/setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"];
/** Far less than what waits for something that never comes. */
const LIMIT_MS = 10_000;
const REFUSED = /operation not permitted/;

const mappings = (hostPort: number): Mapping[] => [{ hostPort, containerPort: 80, protocol: "tcp" }];
const PUBLISHED: JsonObject = {
  capabilities: { portMappings: true },
  runtimeConfig: { portMappings: mappings(8080) },
};
const PLUGINS: readonly (readonly [string, JsonObject])[] = [
  ["bridge", { ipMasq: true, macspoofchk: true }],
  ["portmap", PUBLISHED],
  ["portmap", { ...PUBLISHED, backend: "nftables" }],
  ["bandwidth", { ingressRate: 1e7, egressRate: 1e7 }],
  ["firewall", { ingressPolicy: "isolated" }],
  ["vxlan-overlay", { podCIDRs: ["10.88.0.0/24", "fd88::/64"], underlay: "192.0.2.1", peers: [] }],
];

describe("without CAP_NET_ADMIN", () => {
  test.each(PLUGINS)("%s %j", (plugin, extra) =>
    withNode({ bridge: { ipMasq: true } }, async (node) => {
      const other = await node.pod({ mappings: mappings(8081) });
      const pod = await node.bridged();
      const empty = await node.namespace();
      const before = await nodeSnapshot(node, {});
      const call = async (command: string, containerId: string, netns: string) => {
        const first = plugin === "bridge" && command === "ADD";
        const result = await node.sandbox.call({
          plugin,
          command,
          containerId,
          ifname: "eth0",
          netns,
          config: {
            ...(plugin === "bridge" ? node.bridgeConfig() : node.portmapConfig(null)),
            ...extra,
            type: plugin,
            ...(first ? {} : { prevResult: pod.bridged }),
            ...(command === "GC" ? { "cni.dev/valid-attachments": [] } : {}),
          },
          through: WITHOUT,
          timeoutMs: LIMIT_MS,
        });
        expect(result.signal, `${command} did not come to an end`).toBeNull();
        return result;
      };
      const inside = plugin === "bridge" ? empty.path : pod.netns.path;
      const added = await call("ADD", "pwt-refused", inside);
      expectError(added, { code: Number(added.json?.code), msg: REFUSED });
      /* Not that the kernel has no nftables. */
      expect(added.json?.code).toBe(100);
      expect(difference(before, await nodeSnapshot(node, {}))).toEqual([]);
      expectError(await call("STATUS", "", ""), { code: 50, msg: REFUSED });
      for (const command of ["CHECK", "DEL", "GC"]) {
        const result = await call(command, "pwt-refused", inside);
        if (result.exitCode !== 0) expect(result.json, command).toHaveProperty("msg");
      }
      for (const command of ["DEL", "GC"]) {
        const result = await call(command, other.containerId, other.netns.path);
        if (plugin === "bridge" || plugin === "portmap") {
          expectError(result, { code: Number(result.json?.code), msg: REFUSED });
        }
      }
      const left = difference(before, await nodeSnapshot(node, {}));
      expect(left).toEqual([]);
    }),
  );
});
