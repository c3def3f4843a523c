/** What happens to a node under its overlay: links and addresses that change, devices and rules that somebody altered. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, expectError, expectSuccess, noted } from "../../testbed/harness.ts";
import { type Cluster, type Node, withCluster } from "./overlay-lab.ts";

const DATAPATHS = ["classic", "gpe"] as const;

async function mtuOf(node: Node, link = "overlay1"): Promise<number> {
  const [found] = await node.netns.query("link", "show", "dev", link);
  return Number(found?.mtu);
}

interface Said {
  readonly exitCode: number | undefined;
  readonly said: string;
}

/** The command that a timer calls, without CNI's environment. */
async function repair(node: Node, ...files: readonly string[]): Promise<Said> {
  const command = [`--net=${node.netns.path}`, "--", join(binDirectory, "vxlan-overlay"), "repair", ...files];
  const { exitCode, stdout, stderr } = await execa("nsenter", command, { reject: false });
  return { exitCode, said: stdout + stderr };
}

const NOTHING: Said = { exitCode: 0, said: "" };
const MENDED: Said = { exitCode: 0, said: "vxlan-overlay: something was missing; it was restored" };

describe.each(DATAPATHS)("the link between the nodes (%s)", (datapath) => {
  const room = datapath === "classic" ? 50 : 36;

  test("that becomes narrower is noticed by STATUS, which says what is right, and by CHECK for pods made before", () =>
    withCluster({ nodes: 2, datapath }, async (cluster) => {
      const node = cluster.node(1);
      const pod = await cluster.pod(node);
      await node.netns.ip("link", "set", "eth0", "mtu", "1400");
      const note = new RegExp(`had MTU ${1500 - room}, which should be ${1400 - room}`);
      expect(noted(await cluster.call(node, "STATUS"))).toMatch(note);
      expect(await mtuOf(node)).toBe(1400 - room);
      expectSuccess(await cluster.call(node, "STATUS"));
      expectError(await cluster.callFor(pod, "CHECK"), {
        code: 101,
        msg: new RegExp(`which should be ${1400 - room}`),
      });
      await node.netns.ip("link", "set", "eth0", "mtu", "1500");
      expectSuccess(await cluster.call(node, "STATUS"));
      expect(await mtuOf(node)).toBe(1500 - room);
      expectSuccess(await cluster.callFor(pod, "CHECK"));
    }));

  test("that is down is reported, and so is an address that is gone", () =>
    withCluster({ nodes: 2, datapath }, async (cluster) => {
      const node = cluster.node(1);
      const { netns } = node;
      await cluster.tick(node);
      const held = await cluster.held(node);
      await netns.ip("link", "set", "eth0", "down");
      expect(noted(await cluster.call(node, "STATUS"))).toMatch(/link eth0 .* is down/);
      await netns.ip("link", "set", "eth0", "up");
      await netns.ip("route", "replace", "default", "via", "172.31.0.254");
      await cluster.tick(node);
      expect(await cluster.held(node)).toEqual(held);
      /* The peers still know the node by its old address. */
      await netns.ip("address", "del", "172.31.0.1/24", "dev", "eth0");
      expectError(await cluster.call(node, "STATUS"), { code: 50 });
      await netns.ip("address", "add", "172.31.0.77/24", "dev", "eth0");
      await netns.ip("route", "replace", "default", "via", "172.31.0.254");
      expect(noted(await cluster.call(node, "STATUS"))).toMatch(/line 2 has this node's networks under 172\.31\.0\.1/);
      expect(await cluster.held(node)).toEqual(held);
      await cluster.writePeers([cluster.record(1, { nodeIP: "172.31.0.77" }), cluster.record(2)]);
      await cluster.tick(node);
      expect(await cluster.held(node)).toEqual(held);
      if (datapath === "gpe") return;
      const [device] = await netns.query("-d", "link", "show", "dev", "overlay1");
      expect(device).toMatchObject({ address: "0e:f4:ac:1f:00:4d", linkinfo: { info_data: { local: "172.31.0.77" } } });
    }));

  test("that has no room is refused with the number it should have", () =>
    withCluster({ nodes: 1, datapath }, async (cluster) => {
      const node = cluster.node(1);
      await node.netns.ip("link", "set", "eth0", "mtu", "1300");
      const msg = new RegExp(`${1300 - room} bytes.*IPv6 needs 1280`);
      expectError(await cluster.call(node, "STATUS"), { code: 50, msg });
    }));
});

describe("the device", () => {
  test("is put right by the next call if somebody changed its MTU, or its Ethernet address as udev does", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      const { netns } = a.node;
      await netns.ip("link", "set", "overlay1", "mtu", "1300");
      await cluster.tick(a.node);
      expect(await mtuOf(a.node)).toBe(1450);
      await netns.ip("link", "set", "overlay1", "address", "0e:00:00:00:00:99");
      await cluster.tick(a.node);
      const [device] = await netns.query("link", "show", "dev", "overlay1");
      expect(device).toMatchObject({ address: "0e:f4:ac:1f:00:01" });
      expect(String(device?.ifalias)).toBe("podwire-overlay pwt-net via eth0 172.31.0.1");
      expect(await cluster.ask(a.netns, b.v4)).toBe(`pod-2 saw ${a.v4}`);
    }));

  test.each(DATAPATHS)("leaves checksums to the links below, or not, as txChecksumOffload says (%s)", (datapath) =>
    withCluster({ nodes: 1, datapath }, async (cluster) => {
      const node = cluster.node(1);
      const offload = async (): Promise<string> => {
        const all = await node.netns.exec("ethtool", ["-k", "overlay1"]);
        return /tx-checksum-ip-generic: (\w+)/.exec(all)?.[1] ?? all;
      };
      expectSuccess(await cluster.call(node, "STATUS"));
      expect(await offload()).toBe("on");
      expectSuccess(await cluster.call(node, "STATUS", { txChecksumOffload: "off" }));
      expect(await offload()).toBe("off");
      await node.netns.ip("link", "del", "overlay1");
      expectSuccess(await cluster.call(node, "STATUS", { txChecksumOffload: "off" }));
      expect(await offload()).toBe("off");
      expectSuccess(await cluster.call(node, "STATUS", { txChecksumOffload: "on" }));
      expect(await offload()).toBe("on");
      expectError(await cluster.call(node, "STATUS", { txChecksumOffload: "auto" }), {
        code: 7,
        msg: /txChecksumOffload/,
      });
    }),
  );
});

describe.each(DATAPATHS)("a node whose kernel settings somebody changed (%s)", (datapath) => {
  const DEVICE = "/proc/sys/net";
  const settings = [
    ["ipv4/ip_forward", "0", "1"],
    ["ipv6/conf/all/forwarding", "0", "1"],
    ["ipv4/conf/overlay1/forwarding", "0", "1"],
    ["ipv6/conf/overlay1/forwarding", "0", "1"],
    ["ipv6/conf/overlay1/disable_ipv6", "1", "0"],
  ] as const;
  const set = (node: Node, path: string, value: string) =>
    node.netns.exec("sh", ["-ec", `echo ${value} > ${DEVICE}/${path}`]);
  const get = async (node: Node, path: string) => (await node.netns.exec("cat", [`${DEVICE}/${path}`])).trim();

  test("forwards again, and has IPv6 again, after STATUS, GC, CHECK and repair", () =>
    withCluster({ nodes: 2, datapath }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      const { node } = a;
      const held = await cluster.held(node);
      for (const [index, [path, wrong, right]] of settings.entries()) {
        await set(node, path, wrong);
        if (index % 4 === 0) expect(noted(await cluster.call(node, "STATUS"))).toBe("");
        if (index % 4 === 1) expect(await repair(node)).toEqual(MENDED);
        if (index % 4 === 2) expectSuccess(await cluster.callFor(a, "CHECK"));
        if (index % 4 === 3) expectSuccess(await cluster.call(node, "GC"));
        expect(await get(node, path), path).toBe(right);
      }
      await set(node, "ipv6/conf/overlay1/disable_ipv6", "1");
      expect(await repair(node)).toEqual(MENDED);
      expect(await cluster.held(node)).toEqual(held);
      expect(await cluster.ask(b.netns, a.v6)).toBe(`pod-1 saw ${b.v6}`);
      expect(await cluster.ask(b.netns, a.v4)).toBe(`pod-1 saw ${b.v4}`);
    }));

  test("forwards though new links are set not to", () =>
    withCluster({ nodes: 2, datapath }, async (cluster) => {
      const node = cluster.node(1);
      for (const path of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]) await set(node, path, "1");
      for (const path of ["ipv4/conf/default/forwarding", "ipv6/conf/default/forwarding"]) await set(node, path, "0");
      await set(node, "ipv6/conf/default/disable_ipv6", "1");
      await cluster.tick(node);
      for (const [path, , right] of settings) expect(await get(node, path), path).toBe(right);
      expect((await cluster.held(node)).join("\n")).toContain("fd44:0:0:2::/64");
    }));
});

describe("what keeps pods apart although each entry is right", () => {
  test("is named by the call that takes in the list, and by CHECK, GC and repair", () =>
    withCluster({ nodes: 2, overlay: { clusterCIDRs: ["10.244.0.0/16", "fd44::/48"] } }, async (cluster) => {
      const pod = await cluster.pod(cluster.node(1));
      const { node } = pod;
      const stray = { nodeIP: "172.31.0.9", podCIDRs: ["10.99.0.0/24"] };
      await cluster.writePeers([cluster.record(2), stray]);
      const notes = [
        /peers\.ndjson has no record of this node \(172\.31\.0\.1\)/,
        /10\.99\.0\.0\/24 of .*line 3 is in none/,
      ];
      const found = noted(await cluster.call(node, "STATUS"));
      for (const note of notes) expect(found).toMatch(note);
      expect(noted(await cluster.call(node, "STATUS"))).toBe("");
      await node.netns.ip("route", "add", "10.244.2.128/25", "via", "172.31.0.254");
      notes.push(/somebody's route 10\.244\.2\.128\/25 via 172\.31\.0\.254 .* 10\.244\.2\.0\/24/);
      for (const call of [cluster.call(node, "GC"), cluster.callFor(pod, "CHECK")]) {
        const said = noted(await call);
        for (const note of notes) expect(said).toMatch(note);
      }
      const { exitCode, said } = await repair(node);
      expect(exitCode).toBe(0);
      for (const note of notes) expect(said).toMatch(note);
    }));
});

describe("a node that others know by an address that it does not have", () => {
  test("finds itself by its networks, is joined by them, and asks whether that is meant unless told", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const { netns } = cluster.node(1);
      const nodeIP = "172.31.0.101";
      await cluster.writePeers([cluster.record(1, { nodeIP }), cluster.record(2)]);
      const note = /line 2 has this node's networks under 172\.31\.0\.101/;
      expect(noted(await cluster.call(cluster.node(1), "STATUS"))).toMatch(note);
      const [device] = await netns.query("link", "show", "dev", "overlay1");
      expect(device).toMatchObject({ address: "0e:f4:ac:1f:00:65" });
      const underlay = { underlay: "172.31.0.1" };
      expect(noted(await cluster.call(cluster.node(1), "STATUS", underlay))).toBe("");
    }));
});

describe("a node whose address is on lo", () => {
  test.each(DATAPATHS)("gives pods what the way out carries (%s)", (datapath) =>
    withCluster({ nodes: 2, datapath }, async (cluster) => {
      const node = cluster.node(1);
      const room = datapath === "classic" ? 50 : 36;
      await node.netns.ip("address", "add", "198.18.0.1/32", "dev", "lo");
      await cluster.writePeers([cluster.record(1, { nodeIP: "198.18.0.1" }), cluster.record(2)]);
      await cluster.tick(node);
      expect(await mtuOf(node)).toBe(1500 - room);
      await node.netns.ip("link", "set", "eth0", "mtu", "1400");
      await cluster.tick(node);
      expect(await mtuOf(node)).toBe(1400 - room);
      await node.netns.ip("link", "set", "eth0", "mtu", "1500");
      await cluster.writePeers([cluster.record(1, { nodeIP: "198.18.0.1" })], { force: true });
      await cluster.tick(node);
      expect(await mtuOf(node)).toBe(1500 - room);
    }),
  );
});

describe("a rule of the packet filter that somebody replaced by another", () => {
  test("is found by CHECK and by repair, though there are as many as before", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const pod = await cluster.pod(cluster.node(1));
      const { netns } = pod.node;
      const rules = (): Promise<string> => netns.exec("nft", ["list", "table", "inet", "podwire_overlay1"]);
      const before = await rules();
      for (const mend of ["CHECK", "repair"]) {
        await netns.exec("nft", ["flush chain inet podwire_overlay1 output"]);
        await netns.exec("nft", ["add rule inet podwire_overlay1 output udp dport 8472 accept"]);
        if (mend === "CHECK") expectSuccess(await cluster.callFor(pod, "CHECK"));
        else expect(await repair(pod.node)).toEqual(MENDED);
        expect(await rules()).toBe(before);
      }
    }));
});

describe("vxlan-overlay repair", () => {
  const harmed = async (cluster: Cluster, node: Node): Promise<void> => {
    const { netns } = node;
    await netns.ip("route", "flush", "proto", "112");
    await netns.exec("nft", ["flush ruleset"]);
    await netns.exec("bridge", ["fdb", "del", "0e:f4:ac:1f:00:02", "dev", "overlay1", "self"]);
    expect(await cluster.held(node)).not.toContain("172.31.0.2");
  };

  test("puts everything back as it was last configured, and says so", () =>
    withCluster({ nodes: 3 }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      const held = await cluster.held(a.node);
      expect(await repair(a.node)).toEqual(NOTHING);
      await harmed(cluster, a.node);
      expect(await repair(a.node)).toEqual(MENDED);
      expect(await cluster.held(a.node)).toEqual(held);
      await a.node.netns.ip("link", "del", "overlay1");
      expect(await repair(a.node)).toEqual(MENDED);
      expect(await cluster.held(a.node)).toEqual(held);
      expect(await cluster.ask(a.netns, b.v4)).toBe(`pod-2 saw ${a.v4}`);
      expect(await repair(a.node)).toEqual(NOTHING);
    }));

  test("takes in a new list of peers, and two overlays", () =>
    withCluster({ nodes: 3 }, async (cluster) => {
      const node = cluster.node(1);
      const second = {
        vni: 2,
        port: 8473,
        podCIDRs: ["10.99.1.0/24"],
        peers: [{ nodeIP: "172.31.0.3", podCIDRs: ["10.99.3.0/24"] }],
      };
      await cluster.writePeers([cluster.record(1)]);
      expectSuccess(await cluster.call(node, "STATUS"));
      expectSuccess(await cluster.call(node, "STATUS", { name: "second", peersFile: null, ...second }));
      await cluster.writePeers([cluster.record(1), cluster.record(2)]);
      await node.netns.ip("link", "del", "overlay2");
      expect(await repair(node)).toEqual(MENDED);
      const held = (await cluster.held(node)).join("\n");
      expect(held).toContain("10.244.2.0/24");
      expect(held).toContain("10.99.3.0/24");
    }));

  test("does not bring back what another VNI has replaced", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const node = cluster.node(1);
      await cluster.tick(node);
      expectSuccess(await cluster.call(node, "STATUS", { vni: 7 }));
      const devices = async (): Promise<string[]> =>
        (await node.netns.query("link", "show", "type", "vxlan")).map((link) => String(link.ifname));
      expect(await repair(node)).toEqual(NOTHING);
      await node.netns.ip("link", "del", "overlay7");
      expect(await repair(node)).toEqual(MENDED);
      expect(await devices()).toEqual(["overlay7"]);
    }));

  test("of a file's configuration makes an overlay that no pod has needed yet, and takes the file's peers", () =>
    withCluster({ nodes: 3 }, async (cluster) => {
      const node = cluster.node(1);
      const file = join(cluster.directory, "10-net.conflist");
      const write = async (...numbers: number[]): Promise<void> => {
        const peers = numbers.map((number) => cluster.record(number));
        const { name, cniVersion, ...plugin } = cluster.overlayConfig(node, { peersFile: null, peers });
        await writeFile(file, JSON.stringify({ name, cniVersion, plugins: [{ type: "bridge" }, plugin] }));
      };
      await write(1, 2);
      expect(await repair(node, file)).toEqual(MENDED);
      expect((await cluster.held(node)).join("\n")).toContain("10.244.2.0/24");
      expect(await repair(node, file)).toEqual(NOTHING);
      /* The call before had other peers; the file tells which there are now. */
      await write(1, 3);
      expect(await repair(node)).toEqual(NOTHING);
      expect(await repair(node, file)).toEqual(MENDED);
      expect((await cluster.held(node)).join("\n")).not.toContain("10.244.2.0/24");
      const missing = { exitCode: 1, said: expect.stringContaining("cannot open /none: no such file") };
      expect(await repair(node, "/none")).toEqual(missing);
      await writeFile(file, JSON.stringify({ name: "x", cniVersion: "1.0.0", plugins: [{ type: "bridge" }] }));
      expect(await repair(node, file)).toEqual({ exitCode: 1, said: expect.stringContaining("no plugin of the type") });
    }));

  test("of a node without overlays does nothing, and a list that is wrong is its failure", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const node = cluster.node(1);
      expect(await repair(node)).toEqual(NOTHING);
      await cluster.tick(node);
      await cluster.replacePeers("{");
      expect(await repair(node)).toEqual({ exitCode: 1, said: expect.stringContaining("peers.ndjson") });
    }));
});
