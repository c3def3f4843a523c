/** firewall on the node of the portmap suites: short ways to call it, and to see who reaches whom. */
import { expect } from "vitest";
import { type CallOptions, type CallResult, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { type Family, type Node, type Pod, withNode } from "./portmap-lab.ts";
import { BRIEFLY, type Protocol } from "./traffic.ts";

export const FAMILIES: readonly Family[] = [4, 6];

export const own = (pod: Pod, family: Family) => (family === 4 ? pod.v4 : pod.v6);

/** A second network, of another bridge: what its pods are attached with. */
export function otherBridge(node: Node): JsonObject {
  const ranges = [[{ subnet: "10.89.0.0/24" }], [{ subnet: "fd89::/64" }]];
  return { name: "pwt-other", bridge: "cni1", ipam: { type: "host-local", dataDir: node.sandbox.dataDir, ranges } };
}

/** A pod of the second network. */
export async function otherPod(node: Node, label?: string): Promise<Pod> {
  return node.bridged({ bridge: otherBridge(node), ...(label === undefined ? {} : { label }) });
}

export function firewallConfig(node: Node, pod: Pod, extra: JsonObject = {}): JsonObject {
  /* The newest version that the reference of Debian 12 has. */
  const cniVersion = "1.0.0";
  return { cniVersion, name: node.network, type: "firewall", prevResult: { ...pod.bridged, cniVersion }, ...extra };
}

export function call(
  node: Node,
  verb: string,
  pod: Pod,
  extra: JsonObject = {},
  options: Partial<CallOptions> = {},
): Promise<CallResult> {
  return node.call("firewall", verb, pod, firewallConfig(node, pod, extra), options);
}

export async function add(node: Node, pod: Pod, extra: JsonObject = {}): Promise<JsonObject> {
  return expectSuccess(await call(node, "ADD", pod, extra));
}

/** DEL as a runtime does it, which must succeed and say nothing. */
export async function del(node: Node, pod: Pod, extra: JsonObject = {}): Promise<void> {
  const result = await call(node, "DEL", pod, extra);
  expectSuccess(result);
  expect(result.stdout).toBe("");
}

/** iptables of both IP versions on the node. */
export async function iptables(node: Node, ...args: string[]): Promise<void> {
  for (const program of ["iptables", "ip6tables"]) await node.host.exec(program, ["-w", ...args]);
}

/** The rules of iptables' table "filter", as a person sees them. */
export async function filterRules(node: Node, family: Family, chain = ""): Promise<string[]> {
  const program = family === 4 ? "iptables" : "ip6tables";
  const text = await node.host.exec(program, ["-w", "-S", ...(chain === "" ? [] : [chain])]);
  return text.split("\n").filter((line) => line !== "");
}

/** Whether a server answers. */
export async function reaches(
  node: Node,
  from: Pod["netns"],
  address: string,
  protocol: Protocol = "tcp",
): Promise<boolean> {
  return (await node.ask(from, address, 80, protocol, BRIEFLY)).includes(" saw ");
}

/** A node whose forward filter drops all that nobody has accepted, as Docker leaves it. */
export function withClosedNode(
  options: Parameters<typeof withNode>[0],
  test: (node: Node) => Promise<void>,
): Promise<void> {
  return withNode(options, async (node) => {
    await iptables(node, "-P", "FORWARD", "DROP");
    await test(node);
  });
}
