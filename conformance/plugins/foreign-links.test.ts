/**
 * Whose a link is. A container that may make links can make one that says to be the other end of anybody's; a runtime may
 * call DEL late, when the namespace is the next container's. Neither changes what is others'.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { type Bucket, both, ShapedNode } from "./bandwidth-lab.ts";
import type { Pod } from "./portmap-lab.ts";

let lab: ShapedNode;

beforeEach(async () => {
  lab = await ShapedNode.create();
});

afterEach(async () => {
  await lab.remove();
});

const LIMITS = both(10e6);
const INGRESS = { ingressRate: 10e6, ingressBurst: 1e6 };

async function linkIn(netns: Netns, name: string): Promise<{ index: number; mac: string }> {
  const [link] = await netns.query("link", "show", "dev", name);
  return { index: Number(link?.ifindex), mac: String(link?.address) };
}

/** A link eth0 that has the index of a pod's, and a peer with the index of its host end. */
async function forge(netns: Netns, victim: Pod, peerNamespace: readonly string[] = []): Promise<void> {
  const { index } = await linkIn(victim.netns, "eth0");
  const end = await linkIn(lab.node.host, lab.hostLink(victim));
  const peer = ["peer", "index", `${end.index}`, "name", "x", ...peerNamespace];
  await netns.ip("link", "add", "eth0", "index", `${index}`, "type", "veth", ...peer);
  expect(await linkIn(netns, "eth0")).toMatchObject({ index });
}

describe("a forged other end", () => {
  test.each([
    ["in its own namespace", false],
    ["in one more namespace", true],
  ])("%s: bandwidth neither sets nor takes away limits of a neighbour", async (_name, elsewhere) => {
    const victim = await lab.pod(LIMITS);
    const netns = await lab.node.namespace("attacker");
    const other = await lab.node.namespace("other");
    await forge(netns, victim, elsewhere ? ["netns", other.name] : []);
    const attacker = { netns, containerId: netns.name, ifname: "eth0" };
    const prevResult = { cniVersion: "1.1.0", interfaces: [{ name: "eth0", sandbox: netns.path }] };
    const before = await lab.buckets();
    const msg = "container interface eth0 has no veth peer: its other end is not in this network namespace";
    for (const command of ["ADD", "CHECK"]) {
      expectError(await lab.call(command, attacker, lab.config(both(1e6), { prevResult })), { code: 7, msg });
    }
    expectSuccess(await lab.call("DEL", attacker, lab.config(LIMITS, { prevResult })));
    expectSuccess(await lab.call("DEL", attacker, lab.config(LIMITS)));
    expect(await lab.buckets()).toEqual(before);
    expectSuccess(await lab.check(victim, LIMITS));
  });

  test("listed as the attacker's own: no better", async () => {
    const victim = await lab.pod(LIMITS);
    const netns = await lab.node.namespace("attacker");
    await forge(netns, victim);
    await netns.rename("eth0", "lan0");
    const { mac } = await linkIn(netns, "lan0");
    const listed = [{ name: lab.hostLink(victim) }, { name: "eth0", mac, sandbox: netns.path }];
    const prevResult = { cniVersion: "1.1.0", interfaces: listed };
    const attacker = { netns, containerId: netns.name, ifname: "eth0" };
    expectError(await lab.call("ADD", attacker, lab.config(both(1e6), { prevResult })), { code: 7 });
    const nameless = { ...prevResult, interfaces: [{ name: lab.hostLink(victim) }] };
    expectError(await lab.call("ADD", attacker, lab.config(both(1e6), { prevResult: nameless })), { code: 100 });
    expectSuccess(await lab.check(victim, LIMITS));
  });

  test("in the place of an interface that was moved away: CHECK of bridge is not deceived", async () => {
    const pod = await lab.node.bridged();
    const prevResult = pod.bridged;
    const end = await linkIn(lab.node.host, lab.hostLink(pod));
    const { index, mac } = await linkIn(pod.netns, "eth0");
    expectSuccess(await lab.node.call("bridge", "CHECK", pod, lab.node.bridgeConfig({ prevResult })));
    const child = await lab.node.namespace("child");
    await pod.netns.ip("link", "set", "eth0", "netns", child.name);
    expect(await linkIn(child, "eth0")).toMatchObject({ index });
    const forged = ["eth0", "address", mac, "index", `${index}`];
    await pod.netns.ip("link", "add", ...forged, "type", "veth", "peer", "index", `${end.index}`, "name", "x");
    expectError(await lab.node.call("bridge", "CHECK", pod, lab.node.bridgeConfig({ prevResult })), {
      code: 101,
      msg: "the host end of eth0 is missing",
    });
  });
});

describe("a late DEL", () => {
  /** A pod whose links go without its DEL, and the next one in its namespace. */
  async function successors(limits = LIMITS): Promise<{ first: Pod; next: Pod }> {
    const first = await lab.pod(limits, {}, { containerId: "first" });
    await lab.node.host.ip("link", "delete", lab.hostLink(first));
    const next = await lab.pod(both(20e6), {}, { netns: first.netns, containerId: "next" });
    return { first, next };
  }

  test.each([
    ["with its previous result", true],
    ["without one", false],
  ])("of bandwidth, %s, leaves the limits of the namespace's next container", async (_name, told) => {
    const { first, next } = await successors();
    const prevResult = told ? first.result : undefined;
    expectSuccess(await lab.call("DEL", first, lab.config(LIMITS, { prevResult })));
    expectSuccess(await lab.check(next, both(20e6)));
    expect(await lab.ifbs()).toEqual([`ifbe${lab.hostLink(next).slice(4)}`]);
    expectSuccess(await lab.del(next, both(20e6)));
    expect(await lab.buckets()).toEqual([]);
  });

  test("of bandwidth finds its own limits though the path is another namespace's", async () => {
    const first = await lab.pod(LIMITS, {}, { containerId: "first" });
    const next = await lab.pod(both(20e6), {}, { containerId: "next" });
    expectSuccess(await lab.call("DEL", { ...first, netns: next.netns }, lab.config(LIMITS)));
    expectSuccess(await lab.check(next, both(20e6)));
    expect((await lab.buckets()).map(({ link }) => link)).not.toContain(lab.hostLink(first));
  });

  test("of bandwidth inside the container leaves what is the next one's", async () => {
    const { first, next } = await successors();
    expectSuccess(await lab.del(next, null));
    await lab.limit(next, LIMITS, { shapeIn: "container" });
    expectSuccess(await lab.call("DEL", first, lab.config(null)));
    expectSuccess(await lab.check(next, LIMITS, { shapeIn: "container" }));
  });

  test("of bridge leaves an interface that another suite has made there since", async () => {
    const first = await lab.node.bridged();
    await lab.node.host.ip("link", "delete", lab.hostLink(first));
    await lab.node.host.ip(
      "link",
      "add",
      "vethother",
      "type",
      "veth",
      "peer",
      "name",
      "eth0",
      "netns",
      first.netns.name,
    );
    const config = lab.node.bridgeConfig({ prevResult: first.bridged });
    expectSuccess(await lab.node.call("bridge", "DEL", first, config));
    expect(await first.netns.links()).toContain("eth0");
    /* Without a previous result it may be this container's, made before Podwire was installed. */
    expectSuccess(await lab.node.call("bridge", "DEL", first, lab.node.bridgeConfig()));
    expect(await first.netns.links()).not.toContain("eth0");
  });
});

describe("links of another suite, which name no owner", () => {
  const hostEnds = (buckets: readonly Bucket[]): string[] =>
    buckets.map(({ link }) => link).filter((name) => name === "vethother");

  async function foreign(): Promise<{ netns: Netns; prevResult: JsonObject }> {
    const netns = await lab.node.namespace();
    await lab.node.host.ip("link", "add", "vethother", "type", "veth", "peer", "name", "eth0", "netns", netns.name);
    const { mac } = await linkIn(netns, "eth0");
    const interfaces = [{ name: "vethother" }, { name: "eth0", mac, sandbox: netns.path }];
    return { netns, prevResult: { cniVersion: "1.1.0", interfaces } };
  }

  test("bandwidth limits them, and undoes that for the container that the previous result is of", async () => {
    const { netns, prevResult } = await foreign();
    const own = { netns, containerId: "own", ifname: "eth0" };
    const result = expectSuccess(await lab.call("ADD", own, lab.config(INGRESS, { prevResult })));
    expectSuccess(await lab.call("CHECK", own, lab.config(INGRESS, { prevResult: result })));
    const stale = {
      ...prevResult,
      interfaces: [{ name: "veth1" }, { name: "eth0", mac: "02:00:00:00:00:07", sandbox: "x" }],
    };
    for (const previous of [stale, undefined]) {
      const late = { netns, containerId: "other", ifname: "eth0" };
      expectSuccess(await lab.call("DEL", late, lab.config(INGRESS, { prevResult: previous })));
      expect(hostEnds(await lab.buckets())).toEqual(["vethother"]);
    }
    expectSuccess(await lab.call("DEL", own, lab.config(INGRESS, { prevResult: result })));
    expect(await lab.buckets()).toEqual([]);
  });

  test("without a previous result the ifb tells", async () => {
    const { netns, prevResult } = await foreign();
    const own = { netns, containerId: "own", ifname: "eth0" };
    expectSuccess(await lab.call("ADD", own, lab.config(LIMITS, { prevResult })));
    expectSuccess(await lab.call("DEL", { ...own, containerId: "other" }, lab.config(LIMITS)));
    expect(await lab.buckets()).toHaveLength(2);
    expectSuccess(await lab.call("DEL", own, lab.config(LIMITS)));
    expect(await lab.buckets()).toEqual([]);
    expect(await lab.ifbs()).toEqual([]);
  });

  test("portmap makes the port reflect that leads into the pod's namespace, whatever else is listed", async (ctx) => {
    const filtered = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    const hasFilter = await lab.node.host.exec("sh", ["-c", `test -e ${filtered} && echo yes || true`]);
    if (hasFilter.trim() !== "yes") ctx.skip("the kernel lacks br_netfilter");
    const neighbour = await lab.node.bridged({ bridge: { hairpinMode: false } });
    const pod = await lab.node.bridged({ bridge: { hairpinMode: false } });
    await lab.node.host.rename(lab.hostLink(pod), "vethother");
    const listed = [{ name: lab.hostLink(neighbour) }, { name: "vethother" }];
    const inside = { name: "eth0", sandbox: pod.netns.path };
    const ips = (pod.bridged.ips as JsonObject[]).map((ip) => ({ ...ip, interface: 2 }));
    const prevResult = { ...pod.bridged, interfaces: [...listed, inside], ips };
    const mappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
    expectSuccess(await lab.node.publish(pod, mappings, { prevResult }));
    const ports = await lab.node.host.query("link", "show", "type", "bridge_slave");
    const reflecting = ports.filter((link) => {
      const data = (link.linkinfo as JsonObject).info_slave_data as JsonObject;
      return data.hairpin === true;
    });
    expect(reflecting.map((link) => link.ifname)).toEqual(["vethother"]);
  });
});
