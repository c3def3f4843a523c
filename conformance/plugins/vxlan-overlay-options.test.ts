/** What the configuration may say, and what is refused by its field. */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, noted } from "../../testbed/harness.ts";
import { withCluster } from "./overlay-lab.ts";

describe("a wrong option", () => {
  test.each([
    [{ vni: 0 }, "vni"],
    [{ vni: 16777216 }, "vni"],
    [{ port: 65536 }, "port"],
    [{ datapath: "geneve" }, "datapath"],
    [{ underlay: "no/link" }, "underlay"],
    [{ underlay: "eth9" }, "underlay"],
    [{ underlay: "203.0.113.9" }, "underlay"],
    [{ podCIDRs: [] }, "podCIDRs"],
    [{ podCIDRs: ["10.244.1.0"] }, "podCIDRs[0]"],
    [{ mtu: 40 }, "mtu"],
    [{ peersFile: "peers.ndjson" }, "peersFile"],
    [{ peersFile: null }, "peersFile"],
    [{ peersDir: "/tmp" }, "peersDir"],
    [{ peersFile: null, peers: ["nonsense"] }, "peers[0]"],
    [{ podCIDRs: ["127.0.5.0/24"] }, "podCIDRs[0]"],
    [{ clusterCIDRs: ["10.0.0.0/33"] }, "clusterCIDRs[0]"],
    [{ delegate: 7 }, "delegate"],
  ] as const)("%j is named", (option, field) =>
    withCluster({ nodes: 1 }, async (cluster) => {
      const node = cluster.node(1);
      const result = await cluster.call(node, "STATUS", option);
      expect(result.json?.msg, result.stdout).toMatch(
        new RegExp(`invalid value for "${field.replace(/[[\]]/g, "\\$&")}"`),
      );
      expect(await node.netns.links()).toEqual(["eth0", "lo"]);
    }),
  );
});

describe("peers", () => {
  test("may stand in the configuration", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const node = cluster.node(1);
      const inline = { peersFile: null, peers: [1, 2].map((number) => cluster.record(number)) };
      expectSuccess(await cluster.call(node, "STATUS", inline));
      expect((await cluster.held(node)).join("\n")).toContain("172.31.0.2");
      expectSuccess(await cluster.call(node, "STATUS", { ...inline, peers: [] }));
      expect(await cluster.held(node)).toEqual([]);
    }));

  test("may be a file each in a directory", () =>
    withCluster({ nodes: 3 }, async (cluster) => {
      const node = cluster.node(1);
      const peersDir = join(cluster.directory, "peers");
      const option = { peersFile: null, peersDir };
      await mkdir(peersDir);
      const put = async (number: number): Promise<void> => {
        await writeFile(join(peersDir, ".new"), JSON.stringify(cluster.record(number)));
        await rename(join(peersDir, ".new"), join(peersDir, `node-${number}`));
      };
      await put(2);
      expectSuccess(await cluster.call(node, "STATUS", option));
      const two = await cluster.held(node);
      expect(two).toHaveLength(5);
      await put(3);
      expectSuccess(await cluster.call(node, "STATUS", option));
      expect(await cluster.held(node)).toHaveLength(10);
      await writeFile(join(peersDir, "node-3"), '{"nodeIP":');
      expect(noted(await cluster.call(node, "STATUS", option))).toMatch(/peers\/node-3 is not JSON/);
      expect(await cluster.held(node)).toHaveLength(10);
    }));
});

describe("the MTU", () => {
  test("is as narrow as asked for, and follows the link between the nodes", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const a = await cluster.pod(cluster.node(1));
      const { netns } = a.node;
      const mtus = async () => (await netns.query("link", "show", "dev", "overlay1")).map((link) => link.mtu);
      expectSuccess(await cluster.call(a.node, "STATUS", { mtu: 1300 }));
      expect(await mtus()).toEqual([1300]);
      expectSuccess(await cluster.call(a.node, "STATUS", { mtu: 9000 }));
      expect(await mtus()).toEqual([1450]);
      await netns.ip("link", "set", "eth0", "mtu", "1400");
      expectSuccess(await cluster.call(a.node, "GC"));
      expect(await mtus()).toEqual([1350]);
      expectError(await cluster.callFor(a, "CHECK"), { code: 101, msg: /has MTU 1450, which should be 1350/ });
      expectSuccess(await cluster.callFor(a, "ADD"));
      expectSuccess(await cluster.callFor(a, "CHECK"));
    }));

  test("of a path that nobody told of is found where pods are to learn it", () =>
    withCluster({ nodes: 4, overlay: { pmtud: true } }, async (cluster) => {
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(4))];
      await cluster.narrow(1380);
      const ping = (size: number) =>
        a.netns.exec("ping", ["-n", "-c", "3", "-i", "0.2", "-W", "1", "-M", "do", "-s", `${size}`, b.v4]).then(
          () => "passed",
          (error: Error) => (/mtu ?= ?1330/.test(error.message) ? "learned 1330" : error.message),
        );
      expect(await ping(1400)).toBe("learned 1330");
      expect(await ping(1330 - 28)).toBe("passed");
    }));

  test("of a path with a narrower route counts", () =>
    withCluster({ nodes: 4 }, async (cluster) => {
      const node = cluster.node(1);
      await node.netns.ip("route", "add", "172.31.1.0/24", "via", "172.31.0.254", "mtu", "1380");
      await cluster.tick(node);
      expect((await node.netns.query("link", "show", "dev", "overlay1")).map((link) => link.mtu)).toEqual([1330]);
    }));
});
