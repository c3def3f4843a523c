/** A node on which plugins have never run, and whose /run has no room for a single file: what fails leaves nothing, DEL works. */
import { expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { difference } from "../faults/snapshot.ts";
import { BACKENDS, withNode } from "../plugins/portmap-lab.ts";
import { type Ailment, Disk } from "./disk.ts";
import { nodeSnapshot } from "./snapshot.ts";

const PORTS = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] } };
const SUBJECTS: readonly (readonly [string, string, JsonObject])[] = [
  ...BACKENDS.map((backend) => [`portmap (${backend})`, "portmap", { backend, ...PORTS }] as const),
  ["firewall", "firewall", { ingressPolicy: "isolated" }],
  ...BACKENDS.map((backend) => [`bridge (${backend})`, "bridge", { ipMasq: true, ipMasqBackend: backend }] as const),
];

const AILMENTS: readonly Ailment[] = ["without inodes", "read-only"];

test.each(SUBJECTS.flatMap((subject) => AILMENTS.map((ailment) => [...subject, ailment] as const)))(
  "%s: ADD fails with code 5, DEL, GC and DEL again succeed (%s %j %s)",
  (_name, plugin, more, ailment) =>
    withNode({}, async (node) => {
      const disk = await Disk.mount("/run/podwire");
      try {
        await disk.ail(ailment);
        const pod = plugin === "bridge" ? null : await node.bridged();
        const netns = pod === null ? await node.namespace() : pod.netns;
        const containerId = pod === null ? netns.name : pod.containerId;
        const before = await nodeSnapshot(node, {});
        const chained = pod === null ? {} : { prevResult: pod.bridged };
        const base = plugin === "bridge" ? node.bridgeConfig() : { ...node.portmapConfig(null), ...chained };
        const call = (command: string, extra: JsonObject = {}) =>
          node.sandbox.call({
            plugin,
            command,
            containerId,
            netns: netns.path,
            ifname: "eth0",
            config: { ...base, type: plugin, ...more, ...extra },
            through: disk.through,
          });
        expectError(await call("ADD"), { code: 5, msg: /no space left on device|read-only file system/ });
        for (const command of ["DEL", "GC", "DEL"]) {
          expectSuccess(await call(command, { "cni.dev/valid-attachments": null }));
        }
        /* The bridge itself is shared, and stays, as does what host-local knows of the network. */
        const shared = /cni0|pwt0|bridge|\/(index|lock|last_reserved_ip\.\d|pwt-net|\.podwire)$/;
        const kept = difference(before, await nodeSnapshot(node, {})).filter((line) => !shared.test(line));
        expect(kept).toEqual([]);
      } finally {
        await disk.remove();
      }
    }),
);
