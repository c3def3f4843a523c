/** What the bandwidth plugin makes, compares and removes in the kernel. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { both, CONTAINERD_BURST, CRIO_BURST, ShapedNode } from "./bandwidth-lab.ts";
import type { Pod } from "./portmap-lab.ts";

let lab: ShapedNode;

beforeEach(async () => {
  lab = await ShapedNode.create();
});

afterEach(async () => {
  await lab.remove();
});

const LIMITS = both(10e6);
/** 10 Mbit/s as the kernel gets it: with the headers of full packets. */
const RATE = 10_369_864;

const interfaces = (result: JsonObject) => result.interfaces as { name: string; mac?: string; sandbox?: string }[];
const filters = (pod: Pod, hook = "ingress") => lab.tc("filter", "show", "dev", lab.hostLink(pod), hook);

/** Nothing is left of a pod's limits; the place for filters may be. */
async function expectUnlimited(pod: Pod): Promise<void> {
  expect(await lab.ifbs()).toEqual([]);
  expect(await lab.buckets()).toEqual([]);
  expect(await filters(pod)).toBe("");
  expect(await filters(pod, "egress")).toBe("");
}

describe("ADD", () => {
  test("limits both directions, tells the ifb, and names its owner", async () => {
    const pod = await lab.pod(LIMITS);
    const [ifb = ""] = await lab.ifbs();
    expect(ifb).toBe(`ifbe${lab.hostLink(pod).slice(4)}`);
    expect((await lab.buckets()).map(({ link, rate, burst }) => [link, rate, Math.round(burst / 100)])).toEqual([
      [lab.hostLink(pod), RATE, 625],
      [ifb, RATE, 625],
    ]);
    const [link] = await lab.node.host.query("link", "show", "dev", ifb);
    expect(link).toMatchObject({ ifalias: `podwire pwt-net ${pod.containerId} eth0`, mtu: 1500 });
    expect(link?.flags).toContain("UP");
    expect(await filters(pod)).toMatch(new RegExp(`mirred \\(Egress Redirect to device ${ifb}\\) stolen`));
    expect(interfaces(pod.result).slice(0, -1)).toEqual(interfaces(pod.bridged));
    expect(interfaces(pod.result).at(-1)).toMatchObject({ name: ifb, mac: link?.address });
    expect({ ...pod.result, interfaces: null }).toEqual({ ...pod.bridged, interfaces: null });
    expectSuccess(await lab.check(pod, LIMITS));
  });

  test("limits one direction only", async () => {
    const ingress = await lab.pod({ ingressRate: 1e6, ingressBurst: CONTAINERD_BURST });
    expect(await lab.ifbs()).toEqual([]);
    expect((await lab.buckets()).map(({ link }) => link)).toEqual([lab.hostLink(ingress)]);
    expect(ingress.result).toEqual(ingress.bridged);
    const egress = await lab.pod({ egressRate: 1e6, egressBurst: CRIO_BURST });
    expect((await lab.buckets()).map(({ link }) => link)).not.toContain(lab.hostLink(egress));
    expect(await lab.ifbs()).toHaveLength(1);
  });

  test("takes rates from 8 kbit/s to 400 Gbit/s and bursts of any size", async () => {
    const pod = await lab.pod({ ingressRate: 8000, ingressBurst: 0, egressRate: 400e9, egressBurst: 4e18 });
    const [slow, fast] = await lab.buckets();
    expect(slow?.rate).toBe(8296);
    expect((fast?.rate ?? 0) / 400e9).toBeCloseTo(1.037, 3);
    expect(fast?.burst).toBeGreaterThan(4.2e9);
    expectSuccess(await lab.check(pod, { ingressRate: 8000, ingressBurst: 0, egressRate: 400e9, egressBurst: 4e18 }));
  });

  test("raises a burst that is less than a packet, and says so [ERROR-4]", async () => {
    const pod = await lab.node.bridged();
    const limits = { ingressRate: 1e6, ingressBurst: 800 };
    const result = await lab.call("ADD", pod, lab.config(limits, { prevResult: pod.bridged }));
    expectSuccess(result);
    expect(result.stderr).toBe(
      "bandwidth: ingressBurst of 800 bits is less than a packet of this link; 12112 bits are used\n",
    );
  });

  test("again replaces what is there: other limits, fewer, the same", async () => {
    const pod = await lab.pod(LIMITS);
    await lab.limit(pod, both(20e6));
    expect((await lab.buckets()).map(({ rate }) => rate)).toEqual([20_739_728, 20_739_728]);
    expectSuccess(await lab.check(pod, both(20e6)));
    await lab.limit(pod, { ingressRate: 10e6, ingressBurst: CONTAINERD_BURST });
    expect(await lab.buckets()).toHaveLength(1);
    expect(await lab.ifbs()).toEqual([]);
    expect(await filters(pod)).toBe("");
    await lab.limit(pod, { egressRate: 10e6, egressBurst: CONTAINERD_BURST });
    expect((await lab.buckets()).map(({ link }) => link)).toEqual(await lab.ifbs());
    await lab.limit(pod, LIMITS, { unshapedSubnets: ["10.0.0.0/8"] });
    expect(await lab.ifbs()).toHaveLength(2);
    await lab.limit(pod, LIMITS);
    await lab.limit(pod, LIMITS);
    expect(await lab.ifbs()).toHaveLength(1);
    expectSuccess(await lab.check(pod, LIMITS));
  });

  test("that fails leaves nothing", async () => {
    const pod = await lab.node.bridged();
    const name = `ifbe${lab.hostLink(pod).slice(4)}`;
    await lab.node.host.ip("link", "add", name, "type", "bridge");
    const result = await lab.call("ADD", pod, lab.config(LIMITS, { prevResult: pod.bridged }));
    expectError(result, { code: 102, msg: `link ${name} exists and is not this attachment's` });
    await expectUnlimited(pod);
    expect(await lab.node.host.links()).toContain(name);
  });

  test("leaves the filters of others where they are", async () => {
    const pod = await lab.node.bridged();
    const other = ["dev", lab.hostLink(pod), "ingress", "prio", "1", "protocol", "ip", "u32"];
    await lab.tc("qdisc", "add", "dev", lab.hostLink(pod), "clsact");
    await lab.tc("filter", "add", ...other, "match", "ip", "dst", "192.0.2.77/32", "flowid", "1:7");
    await lab.limit(pod, LIMITS);
    expectSuccess(await lab.check(pod, LIMITS));
    expectSuccess(await lab.del(pod, LIMITS));
    expect(await filters(pod)).toMatch(/pref 1 u32 .*flowid 1:7/);
    expect(await filters(pod)).not.toMatch(/mirred/);
    expect(await lab.tc("qdisc", "show", "dev", lab.hostLink(pod))).toMatch(/clsact/);
  });

  test("finds its way in an older ingress, too", async () => {
    const pod = await lab.node.bridged();
    await lab.tc("qdisc", "add", "dev", lab.hostLink(pod), "ingress");
    await lab.limit(pod, LIMITS);
    expectSuccess(await lab.check(pod, LIMITS));
  });

  test("refuses to take the place of somebody else's queueing discipline, and DEL leaves it", async () => {
    const pod = await lab.node.bridged();
    const own = "root handle 1: tbf rate 1mbit burst 20000 limit 20000".split(" ");
    await lab.tc("qdisc", "add", "dev", lab.hostLink(pod), ...own);
    const result = await lab.call("ADD", pod, lab.config(LIMITS, { prevResult: pod.bridged }));
    expectError(result, { code: 102, msg: /has a queueing discipline of somebody else's: tbf/ });
    expectSuccess(await lab.del(pod, LIMITS));
    expect(await lab.tc("qdisc", "show", "dev", lab.hostLink(pod))).toMatch(/tbf 1: root/);
    expect(await lab.ifbs()).toEqual([]);
  });

  test("needs a result of a plugin before it, and an interface", async () => {
    const pod = await lab.node.bridged();
    expectError(await lab.call("ADD", pod, lab.config(LIMITS)), { code: 7, msg: "must be called as chained plugin" });
    const other = { ...pod, ifname: "eth9" };
    const prevResult = { ...pod.bridged, interfaces: [] };
    const ips = (pod.bridged.ips as JsonObject[]).map(({ interface: _, ...ip }) => ip);
    const result = await lab.call("ADD", other, lab.config(LIMITS, { prevResult: { ...prevResult, ips } }));
    expectError(result, { code: 100, msg: "container interface eth9 is not there" });
  });
});

describe("the interface", () => {
  test("is found though no other plugin lists its host's end", async () => {
    const pod = await lab.node.bridged();
    const ips = (pod.bridged.ips as JsonObject[]).map(({ interface: _, ...ip }) => ip);
    const prevResult = { ...pod.bridged, interfaces: [], ips };
    expectSuccess(await lab.call("ADD", pod, lab.config(LIMITS, { prevResult })));
    expect((await lab.buckets())[0]?.link).toBe(lab.hostLink(pod));
  });

  test("is the right one of two attachments, each with limits of its own", async () => {
    const first = await lab.pod(LIMITS);
    const { netns, containerId } = first;
    const second = await lab.pod(both(20e6), {}, { netns, containerId, ifname: "net1" });
    expect(await lab.ifbs()).toHaveLength(2);
    expectSuccess(await lab.check(first, LIMITS));
    expectSuccess(await lab.check(second, both(20e6)));
    expectSuccess(await lab.del(second, null));
    expectSuccess(await lab.check(first, LIMITS));
    expect(await lab.ifbs()).toEqual([`ifbe${lab.hostLink(first).slice(4)}`]);
  });

  test("is the right one of several that a result lists", async () => {
    const other = await lab.node.bridged();
    const pod = await lab.node.bridged();
    const prevResult = { ...pod.bridged, interfaces: [...interfaces(pod.bridged), { name: lab.hostLink(other) }] };
    expectSuccess(await lab.call("ADD", pod, lab.config(LIMITS, { prevResult })));
    expect((await lab.buckets()).map(({ link }) => link)).not.toContain(lab.hostLink(other));
  });

  test("is found though it has been renamed, at either end", async () => {
    const pod = await lab.node.bridged();
    await pod.netns.rename("eth0", "lan0");
    await lab.node.host.rename(lab.hostLink(pod), "pod0");
    expectSuccess(await lab.call("ADD", pod, lab.config(LIMITS, { prevResult: pod.bridged })));
    expect((await lab.buckets())[0]?.link).toBe("pod0");
  });

  test("that is no veth is refused, or shaped inside the container if that is asked for", async () => {
    const netns = await lab.node.namespace();
    await lab.node.host.ip("link", "add", "link", "up0", "name", "eth0", "netns", netns.name, "type", "macvlan");
    await netns.ip("link", "set", "eth0", "up");
    const pod = { netns, containerId: netns.name, ifname: "eth0" };
    const prevResult = { cniVersion: "1.1.0", interfaces: [{ name: "eth0", sandbox: netns.path }] };
    expectError(await lab.call("ADD", pod, lab.config(LIMITS, { prevResult })), {
      code: 7,
      msg: "container interface eth0 has no veth peer: it is a macvlan, not a veth with an end on the host",
    });
    const inside = lab.config(LIMITS, { prevResult, shapeIn: "container" });
    const result = expectSuccess(await lab.call("ADD", pod, inside));
    expect(interfaces(result).at(-1)?.sandbox).toBe(netns.path);
    const [ifb = ""] = await lab.ifbs(netns);
    expect((await lab.buckets(netns)).map(({ link }) => link).toSorted()).toEqual(["eth0", ifb]);
    expectSuccess(await lab.call("CHECK", pod, { ...inside, prevResult: result }));
    expectSuccess(await lab.call("DEL", pod, { ...inside, prevResult: result }));
    expect(await lab.buckets(netns)).toEqual([]);
    expect(await lab.ifbs(netns)).toEqual([]);
  });

  test("is shaped without an ifb inside the container if that is asked for", async () => {
    const pod = await lab.pod(LIMITS, { shapeIn: "container" });
    expect(await lab.ifbs()).toEqual([]);
    expect((await lab.buckets()).map(({ link }) => link)).toEqual([lab.hostLink(pod)]);
    expect((await lab.buckets(pod.netns)).map(({ link }) => link)).toEqual(["eth0"]);
    expectSuccess(await lab.check(pod, LIMITS, { shapeIn: "container" }));
    expectSuccess(await lab.del(pod, null));
    expect(await lab.buckets(pod.netns)).toEqual([]);
  });
});

describe("CHECK names", () => {
  const cases: [string, (pod: Pod, link: string, ifb: string) => Promise<unknown>, RegExp][] = [
    ["a missing limit", (_, link) => lab.tc("qdisc", "del", "dev", link, "root"), /^veth\w+ has no rate limit/],
    [
      "another rate",
      (_, link) =>
        lab.tc(..."qdisc change dev".split(" "), link, ..."root tbf rate 5mbit burst 62500 limit 32406".split(" ")),
      /^veth\w+ has a rate of 625000 bytes a second, expected 1296233$/,
    ],
    [
      "another burst, of the ifb",
      (_, __, ifb) =>
        lab.tc(..."qdisc change dev".split(" "), ifb, ..."root tbf rate 10369864 burst 20000 limit 32406".split(" ")),
      /^ifbe\w+ has a burst of \d+ ticks, expected \d+$/,
    ],
    [
      "another latency",
      (_, link) =>
        lab.tc(..."qdisc change dev".split(" "), link, ..."root tbf rate 10369864 burst 62500 limit 50000".split(" ")),
      /^veth\w+ has a queue \(latency\) of 50000 bytes, expected 32406$/,
    ],
    ["a missing ifb", (_, __, ifb) => lab.node.host.ip("link", "del", ifb), /^ifbe\w+, through which .* is missing$/],
    ["an ifb that is down", (_, __, ifb) => lab.node.host.ip("link", "set", ifb, "down"), /^ifbe\w+ is down$/],
    ["a missing filter", (_, link) => lab.tc("filter", "del", "dev", link, "ingress"), /lacks the filter that sends/],
    ["a missing place for filters", (_, link) => lab.tc("qdisc", "del", "dev", link, "clsact"), /lacks the filter/],
  ];
  test.each(cases)("%s", async (_name, change, message) => {
    const pod = await lab.pod(LIMITS);
    const [ifb = ""] = await lab.ifbs();
    await change(pod, lab.hostLink(pod), ifb);
    expectError(await lab.check(pod, LIMITS), { code: 101, msg: message });
    await lab.limit(pod, LIMITS);
    expectSuccess(await lab.check(pod, LIMITS));
  });

  test("another redirection, and limits that have been configured since", async () => {
    const pod = await lab.pod(LIMITS);
    expectError(await lab.check(pod, both(11e6)), { code: 101, msg: /rate/ });
    await lab.node.host.ip("link", "add", "ifb9", "type", "ifb");
    const filter = ["dev", lab.hostLink(pod), "ingress", "prio", "60002"];
    await lab.tc("filter", "del", ...filter);
    await lab.tc(
      "filter",
      "add",
      ...filter,
      ..."protocol all u32 match u32 0 0 action mirred egress redirect dev ifb9".split(" "),
    );
    expectError(await lab.check(pod, LIMITS), { code: 101, msg: /sends packets through link \d+, expected link \d+/ });
  });
});

test("CHECK compares the filters of subnets", async () => {
  const subnets = { unshapedSubnets: ["10.0.0.0/8", "192.0.2.0/24", "fd00::/8"] };
  const pod = await lab.pod(LIMITS, subnets);
  expectSuccess(await lab.check(pod, LIMITS, subnets));
  const other = { unshapedSubnets: ["10.0.0.0/8", "192.0.3.0/24", "fd00::/8"] };
  expectError(await lab.check(pod, LIMITS, other), { code: 101, msg: /lacks the filter/ });
  const fewer = { unshapedSubnets: ["10.0.0.0/8", "fd00::/8"] };
  expectError(await lab.check(pod, LIMITS, fewer), { code: 101, msg: /has more filters than it was given/ });
});

describe("DEL", () => {
  test("removes everything, and again nothing", async () => {
    const pod = await lab.pod(LIMITS, { unshapedSubnets: ["10.0.0.0/8"] });
    expect(await lab.ifbs()).toHaveLength(2);
    const result = await lab.del(pod, LIMITS);
    expectSuccess(result);
    expect(result.stdout).toBe("");
    await expectUnlimited(pod);
    expectSuccess(await lab.del(pod, LIMITS));
  });

  test("needs neither namespace nor previous result nor a configuration that is right", async () => {
    const pod = await lab.pod(LIMITS);
    await lab.node.kill(pod);
    expect(await lab.ifbs()).toHaveLength(1);
    const config = lab.config({ ingressBurst: 5 }, { shapeIn: "nowhere" });
    expectSuccess(await lab.call("DEL", pod, config, { netns: "" }));
    expect(await lab.ifbs()).toEqual([]);
  });

  test.each([
    ["the ifb", (_: string, ifb: string) => lab.node.host.ip("link", "del", ifb)],
    ["the host's end", (link: string) => lab.node.host.ip("link", "del", link)],
    ["the limit", (link: string) => lab.tc("qdisc", "del", "dev", link, "root")],
    ["the filter", (link: string) => lab.tc("filter", "del", "dev", link, "ingress")],
  ] as const)("does with %s missing", async (_name, remove) => {
    const pod = await lab.pod(LIMITS);
    const [ifb = ""] = await lab.ifbs();
    await remove(lab.hostLink(pod), ifb);
    expectSuccess(await lab.del(pod, LIMITS));
    expect(await lab.ifbs()).toEqual([]);
    expect(await lab.buckets()).toEqual([]);
  });
});

describe("no limit", () => {
  test.each([
    ["none at all", null],
    ["limits of 0", { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 }],
  ] as const)("(%s) changes nothing in any verb, with and without a previous result", async (_name, limits) => {
    const pod = await lab.node.bridged();
    const chained = lab.config(limits, { prevResult: pod.bridged });
    expect(expectSuccess(await lab.call("ADD", pod, chained))).toEqual(pod.bridged);
    expect(expectSuccess(await lab.call("ADD", pod, lab.config(limits)))).toEqual({ cniVersion: "1.1.0" });
    for (const verb of ["CHECK", "DEL"]) {
      expectSuccess(await lab.call(verb, pod, chained));
      expectSuccess(await lab.call(verb, pod, lab.config(limits)));
    }
    await expectUnlimited(pod);
  });
});

describe("GC and STATUS", () => {
  test("GC removes the ifb links of the network's attachments that are not valid any more", async () => {
    const stays = await lab.pod(LIMITS);
    const goes = await lab.pod(LIMITS);
    await lab.node.kill(goes);
    const elsewhere = await lab.node.bridged();
    const other = lab.config(LIMITS, { name: "other", prevResult: elsewhere.bridged });
    expectSuccess(await lab.call("ADD", elsewhere, other));
    expect(await lab.ifbs()).toHaveLength(3);
    const valid = [{ containerID: stays.containerId, ifname: "eth0" }];
    const config = { ...lab.config(null), "cni.dev/valid-attachments": valid };
    expectSuccess(await lab.node.sandbox.call({ plugin: "bandwidth", command: "GC", config }));
    expect(await lab.ifbs()).toHaveLength(2);
    expectSuccess(await lab.check(stays, LIMITS));
    expectSuccess(await lab.call("CHECK", elsewhere, other));
    expectSuccess(await lab.node.sandbox.call({ plugin: "bandwidth", command: "GC", config: lab.config(null) }));
    expect(await lab.ifbs()).toHaveLength(2);
    /* What an ADD leaves that is killed before it has named the owner: only name and MAC tell. */
    const mac = interfaces(stays.result).at(-1)?.mac ?? "";
    const orphan = ["ifbe00000000000", "address", `${mac.slice(0, 8)}:00:00:01`, "type", "ifb"];
    await lab.node.host.ip("link", "add", ...orphan);
    await lab.node.host.ip("link", "add", "ifb7", "type", "ifb");
    expectSuccess(await lab.node.sandbox.call({ plugin: "bandwidth", command: "GC", config }));
    expect(await lab.ifbs()).toHaveLength(3);
    expect(await lab.ifbs()).not.toContain("ifbe00000000000");
  });

  test("STATUS is fine where the kernel has what it takes, and leaves no trace", async () => {
    const links = await lab.node.host.links();
    const status = (config: JsonObject) => lab.node.sandbox.call({ plugin: "bandwidth", command: "STATUS", config });
    expectSuccess(await status(lab.config(LIMITS)));
    expect(await lab.node.host.links()).toEqual(links);
    expectError(await status(lab.config(null, { ingressBurst: 1 })), { code: 7 });
  });
});
