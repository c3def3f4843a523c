/**
 * What Debian's kernels have and others lack, each with traffic: VLANs that a bridge filters, trunks into pods with 802.1Q
 * links, fair queues below a rate limit, filters for all packets, IPv6 beside IPv4. Nothing here is skipped.
 */
import { expect, test } from "vitest";
import { expectSuccess, type JsonObject, type Netns } from "../../../testbed/harness.ts";
import { addressOf, BRIDGE, type SmallNode, withNode } from "./lab.ts";

/** An 802.1Q link of a pod and its address. */
async function tagged(pod: Netns, id: number, address: string): Promise<void> {
  await pod.ip("link", "add", `eth0.${id}`, "link", "eth0", "type", "vlan", "id", `${id}`);
  await pod.ip("address", "add", address, "dev", `eth0.${id}`);
  await pod.ip("link", "set", `eth0.${id}`, "up");
}

test("a pod in a VLAN reaches its VLAN and its gateway, and no other VLAN", () =>
  withNode(async (node) => {
    const [a, b] = [await node.pod({ vlan: 100 }), await node.pod({ vlan: 100 })];
    const other = await node.pod({ vlan: 200 });
    expect(await a.pod.ping(addressOf(b.result))).toBe(true);
    expect(await a.pod.ping("10.77.0.1")).toBe(true);
    expect(await a.pod.ping(addressOf(other.result), 2)).toBe(false);
    expectSuccess(await node.run("bridge", "CHECK", a.pod, { vlan: 100, prevResult: a.result }));
  }));

test("a trunk carries the VLANs it lists, tagged, and no other", () =>
  withNode(async (node) => {
    const trunk = { vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 202 }], isDefaultGateway: false };
    const router = await node.pod(trunk);
    const access = async (vlan: number, address: string) => {
      const { pod } = await node.pod({ vlan, isDefaultGateway: false });
      await pod.ip("address", "add", address, "dev", "eth0");
      return pod;
    };
    const pods = [await access(101, "192.168.101.2/24"), await access(202, "192.168.202.2/24")];
    await tagged(router.pod, 101, "192.168.101.1/24");
    await tagged(router.pod, 202, "192.168.202.1/24");
    expect(await pods[0]?.ping("192.168.101.1")).toBe(true);
    expect(await pods[1]?.ping("192.168.202.1")).toBe(true);
    expectSuccess(await node.run("bridge", "CHECK", router.pod, { ...trunk, prevResult: router.result }));
    /* 203 is not on the list, so its frames stay outside. */
    const outsider = await access(203, "192.168.203.2/24");
    await tagged(router.pod, 203, "192.168.203.1/24");
    expect(await outsider.ping("192.168.203.1", 2)).toBe(false);
  }));

test("a rate limit has a fair queue below it, and one filter for all packets", () =>
  withNode(async (node) => {
    const { pod, result } = await node.pod();
    const limited = expectSuccess(await node.run("bandwidth", "ADD", pod, { prevResult: result }));
    const queues = await node.host.exec("tc", ["qdisc", "show"]);
    const fair = [...queues.matchAll(/^qdisc fq_codel \S+ dev (\S+) parent/gm)].map((match) => match[1]);
    const buckets = [...queues.matchAll(/^qdisc tbf \S+ dev (\S+) root/gm)].map((match) => match[1]);
    expect(buckets).toHaveLength(2);
    expect(fair.toSorted()).toEqual(buckets.toSorted());
    const filters = await node.host.exec("tc", ["filter", "show", "dev", hostEnd(result), "ingress"]);
    expect(filters).toContain("matchall");
    expect(filters).not.toContain("u32");
    expectSuccess(await node.run("bandwidth", "CHECK", pod, { prevResult: limited }));
    expect(await pod.ping("10.77.0.1")).toBe(true);
    expectSuccess(await node.run("bandwidth", "DEL", pod, { prevResult: limited }));
    expect(await node.host.exec("tc", ["qdisc", "show"])).not.toMatch(/tbf/);
  }));

test("both families: pods and the node, masquerade, spoof check, a published port", () =>
  withNode(async (node) => {
    const ranges = [[{ subnet: "10.77.0.0/24" }], [{ subnet: "fd77::/64" }]];
    const ipam = { type: "host-local", dataDir: node.sandbox.dataDir, ranges };
    const extra = { ipam, ipMasq: true, macspoofchk: true };
    const [a, b] = [await node.pod(extra), await node.pod(extra)];
    for (const address of [...addresses(b.result), "10.77.0.1", "fd77::1"])
      expect(await a.pod.ping(address)).toBe(true);
    await node.traffic.serve({ netns: a.pod, label: "web", port: 80, protocol: "tcp" });
    const published = expectSuccess(await node.run("portmap", "ADD", a.pod, { prevResult: a.result }));
    /* As the answers have to pass the node, a pod on the same bridge is seen as the gateway. */
    for (const address of ["10.77.0.1", "fd77::1"])
      expect(await ask(node, b.pod, address)).toMatch(/^web saw (10\.77\.0\.1|fd77::1)$/);
    expectSuccess(await node.run("portmap", "CHECK", a.pod, { prevResult: published }));
    expectSuccess(await node.run("portmap", "DEL", a.pod, { prevResult: published }));
    for (const { pod, result } of [a, b]) {
      expectSuccess(await node.run("bridge", "CHECK", pod, { ...extra, prevResult: result }));
      expectSuccess(await node.run("bridge", "DEL", pod, extra));
    }
    expect(await node.host.links()).toEqual(["lo", BRIDGE]);
  }));

function ask(node: SmallNode, netns: Netns, address: string): Promise<string> {
  return node.traffic.ask({ netns, protocol: "tcp", address, port: 8080, timeoutMs: 10_000 });
}

function addresses(result: JsonObject): string[] {
  return (result.ips as { address: string }[]).map(({ address }) => address.split("/")[0] ?? "");
}

/** The host's end of a pod's veth. */
function hostEnd(result: JsonObject): string {
  const interfaces = result.interfaces as { name: string; sandbox?: string }[];
  return interfaces.find(({ name, sandbox }) => sandbox === undefined && name.startsWith("veth"))?.name ?? "";
}
