/**
 * Faults at every step of a reconciliation, by strace: the plugin is killed before, or gets an error from, each system call
 * of a kind. One healthy call afterwards makes the node as if nothing had happened.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, callEnvironment, expectSuccess } from "../harness.ts";
import { type Cluster, type Node, withCluster } from "./overlay-lab.ts";

/** More calls of one kind than a reconciliation makes. */
const MANY = 200;

/** STATUS with a fault as strace has it, "sendto:signal=KILL:when=3": whether it got as far as the fault. */
async function statusWithFault(cluster: Cluster, node: Node, at: string): Promise<boolean> {
  const log = join(cluster.directory, "trace");
  const strace = ["strace", "-o", log, "-e", `trace=${at.slice(0, at.indexOf(":"))}`, "-e", `inject=${at}`];
  await execa("nsenter", [`--net=${node.netns.path}`, "--", ...strace, join(binDirectory, "vxlan-overlay")], {
    env: callEnvironment({ plugin: "vxlan-overlay", command: "STATUS" }, binDirectory),
    extendEnv: false,
    input: JSON.stringify(cluster.overlayConfig(node)),
    reject: false,
    timeout: 20_000,
  });
  return /INJECTED|killed by SIGKILL/.test(await readFile(log, "utf8"));
}

/** Two lists that differ in all a list can differ in. */
function lists(cluster: Cluster) {
  const [one, two, three, four] = [1, 2, 3, 4].map((number) => cluster.record(number));
  if (one === undefined || two === undefined || three === undefined || four === undefined)
    throw new Error("no records");
  return [
    [one, two, three],
    [
      one,
      { ...two, nodeIP: "172.31.0.22" },
      { ...four, podCIDRs: three.podCIDRs },
      { ...three, podCIDRs: ["10.244.9.0/24"] },
    ],
  ] as const;
}

describe.each(["classic", "gpe"] as const)("a change of the peers (%s)", (datapath) => {
  test.each([
    "sendto:signal=KILL",
    "recvfrom:signal=KILL",
    "openat:signal=KILL",
    "sendto:error=ENOBUFS",
    "recvfrom:error=ENOBUFS",
  ])("with %s at each call, then one healthy call", (fault) =>
    withCluster({ nodes: 1, datapath }, async (cluster) => {
      const node = cluster.node(1);
      const [from, to] = lists(cluster);
      await cluster.writePeers(to);
      await cluster.tick(node);
      const wanted = await cluster.held(node);
      for (const withoutDevice of [false, true]) {
        for (let n = 1; ; n += 1) {
          expect(n).toBeLessThan(MANY);
          await cluster.writePeers(from);
          await cluster.tick(node);
          await cluster.writePeers(to);
          if (withoutDevice) await node.netns.ip("link", "del", "overlay1");
          const met = await statusWithFault(cluster, node, `${fault}:when=${n}`);
          expectSuccess(await cluster.call(node, "STATUS"));
          expect(await cluster.held(node), `${fault} at call ${n}`).toEqual(wanted);
          if (met) continue;
          expect(n).toBeGreaterThan(3);
          break;
        }
      }
    }),
  );
});
