/**
 * STATUS fails only where ADD fails for every pod for a reason of this node, since a runtime makes the node not ready of it and
 * a kubelet evicts the pods there. Where ADD works, or works for some pods, it says what is wrong on standard error.
 */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { type Node, type Pod, withNode } from "./portmap-lab.ts";

/** Root without the right to change networks: whatever a plugin asks the kernel for is refused. */
const POWERLESS = ["/usr/bin/setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"];
const REFUSED = /operation not permitted/;

interface Case {
  readonly name: string;
  readonly plugin: "portmap" | "bandwidth";
  /** What a pod asks for, as the runtime hands it on. */
  readonly wish: JsonObject;
  /** What the configuration asks for, for every pod. */
  readonly forAll: JsonObject;
  readonly note: RegExp;
}

const PORTS = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
const RATES = { ingressRate: 1e7, ingressBurst: 1e6, egressRate: 1e7, egressBurst: 1e6 };

const CASES: readonly Case[] = [
  {
    name: "portmap",
    plugin: "portmap",
    wish: { capabilities: { portMappings: true }, runtimeConfig: { portMappings: PORTS } },
    forAll: { runtimeConfig: { portMappings: PORTS } },
    note: /^portmap: .*operation not permitted: ADD fails for pods with ports/,
  },
  {
    name: "bandwidth",
    plugin: "bandwidth",
    wish: { capabilities: { bandwidth: true }, runtimeConfig: { bandwidth: RATES } },
    forAll: RATES,
    note: /^bandwidth: .*operation not permitted: ADD fails for pods with a limit/,
  },
];

function calls(node: Node, plugin: string, pod: Pod) {
  return (command: string, extra: JsonObject = {}) =>
    node.sandbox.call({
      plugin,
      command,
      containerId: pod.containerId,
      ifname: pod.ifname,
      netns: pod.netns.path,
      config: {
        cniVersion: "1.1.0",
        name: node.network,
        type: plugin,
        ...(plugin === "portmap" ? { backend: "nftables" } : {}),
        ...(command === "STATUS" ? {} : { prevResult: pod.bridged }),
        ...extra,
      },
      through: POWERLESS,
    });
}

describe.each(CASES)("$name: what only some pods ask for is not to be had", ({ plugin, wish, forAll, note }) => {
  test("STATUS succeeds and tells, as ADD succeeds for the others", () =>
    withNode({}, async (node) => {
      const call = calls(node, plugin, await node.bridged());
      const told = await call("STATUS");
      expect(told).toMatchObject({ exitCode: 0, stdout: "" });
      expect(told.stderr).toMatch(note);
      expectSuccess(await call("ADD"));
      expectError(await call("ADD", wish), { code: 100, msg: REFUSED });
    }));

  test("STATUS fails where the configuration asks for it for all", () =>
    withNode({}, async (node) => {
      const call = calls(node, plugin, await node.bridged());
      expectError(await call("STATUS", forAll), { code: 50, msg: REFUSED });
      expectError(await call("ADD", forAll), { code: 100, msg: REFUSED });
    }));
});

test("bridge hands on that no address is left, and only fails of it if that is asked for", () =>
  withNode({}, async (node) => {
    const subnet = { subnet: "10.88.9.0/30" };
    const ipam = { type: "host-local", dataDir: node.sandbox.dataDir, ...subnet };
    const strict = { ...ipam, statusFailsWhenExhausted: true };
    const pod = await node.bridged({ bridge: { ipam } });
    const status = (given: JsonObject) => node.call("bridge", "STATUS", pod, node.bridgeConfig({ ipam: given }));
    const told = await status(ipam);
    expect(told).toMatchObject({ exitCode: 0, stdout: "" });
    expect(told.stderr).toMatch(/^host-local: no IP addresses available in range set: 10\.88\.9\.1-10\.88\.9\.2: ADD/);
    expectError(await status(strict), { code: 50, msg: /no IP addresses available/ });
    expectSuccess(await node.call("bridge", "DEL", pod, node.bridgeConfig({ ipam })));
    expect(await status(strict)).toMatchObject({ exitCode: 0, stderr: "" });
  }));
