/**
 * What lies in `examples/` works as it stands: networks, units, scripts; and so do the networks that the READMEs show. Only
 * files that they name are put elsewhere.
 */
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, call, expectSuccess, type JsonObject, Netns, repository } from "../testbed/harness.ts";
import { type Cluster, withCluster } from "./plugins/overlay-lab.ts";

const examples = join(repository, "examples");
const lists = (await readdir(examples)).filter((name) => name.endsWith(".conflist"));

interface NetworkList {
  readonly cniVersion: string;
  readonly cniVersions?: readonly string[];
  readonly name: string;
  readonly plugins: readonly (JsonObject & { readonly type: string })[];
}

/** The networks that a README shows, each with all its plugins. */
async function listsIn(readme: string): Promise<(readonly [string, NetworkList])[]> {
  const text = await readFile(join(repository, readme), "utf8");
  const blocks = [...text.matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(
    (match) => JSON.parse(match[1] ?? "") as NetworkList,
  );
  return blocks
    .filter((list) => list.plugins !== undefined)
    .map((list, index) => [`${readme}, network ${index + 1}`, list]);
}

async function listOf(name: string): Promise<NetworkList> {
  return JSON.parse(await readFile(join(examples, name), "utf8")) as NetworkList;
}

/** The list with leases and peers in the test's directory, and the overlay's underlay as there is one. */
function elsewhere(list: NetworkList, directory: string, peersFile: string): NetworkList {
  const dataDir = join(directory, "leases");
  const plugins = list.plugins.map((plugin) => {
    if (plugin.type === "tuning") return { ...plugin, dataDir: join(directory, "tuning") };
    if (plugin.ipam !== undefined) return { ...plugin, ipam: { ...(plugin.ipam as JsonObject), dataDir } };
    if (plugin.type !== "vxlan-overlay") return plugin;
    const ranges = (plugin.podCIDRs as string[]).map((subnet) => [{ subnet }]);
    const delegate =
      plugin.delegate === undefined ? {} : { delegate: { ipam: { type: "host-local", ranges, dataDir } } };
    return { ...plugin, peersFile, ...delegate };
  });
  return { ...list, plugins };
}

/** Calls every plugin of a list in its order, DEL the other way round; the last result. */
async function walk(cluster: Cluster, list: NetworkList, command: string, pod: Netns, result: JsonObject | null) {
  const { name } = list;
  /* As a runtime does that knows all of them. */
  const cniVersion = list.cniVersions?.at(-1) ?? list.cniVersion;
  const inside = cluster.node(1).netns;
  let previous = result;
  for (const plugin of command === "DEL" ? list.plugins.toReversed() : list.plugins) {
    const config = { cniVersion, name, ...plugin, ...(previous === null ? {} : { prevResult: previous }) };
    const who = { containerId: pod.name, netns: pod.path, ifname: "eth0" };
    const options = { plugin: plugin.type, command, config, inside, ...(command === "STATUS" ? {} : who) };
    const answer = await call(options);
    expect(answer.exitCode, `${plugin.type} ${command}: ${answer.stdout}`).toBe(0);
    if (command === "ADD") previous = expectSuccess(answer);
  }
  return previous;
}

const READMES = [
  "README.md",
  ...["bridge", "firewall", "portmap", "bandwidth", "tuning", "vxlan-overlay"].map(
    (name) => `plugins/${name}/README.md`,
  ),
];
const shown: readonly (readonly [string, NetworkList])[] = [
  ...(await Promise.all(lists.map(async (name) => [name, await listOf(name)] as const))),
  ...(await Promise.all(READMES.map(listsIn))).flat(),
];

describe("networks", () => {
  test.each(shown)("%s: STATUS, ADD, CHECK, DEL of every plugin", (_name, given) =>
    withCluster({ nodes: 1 }, async (cluster) => {
      await cluster.node(1).netns.ip("address", "add", "192.0.2.11/24", "dev", "eth0");
      const overlay = given.plugins.find((plugin) => plugin.type === "vxlan-overlay");
      const own = { nodeIP: "192.0.2.11", podCIDRs: (overlay?.podCIDRs ?? []) as string[] };
      await cluster.writePeers([own, { nodeIP: "192.0.2.12", podCIDRs: ["10.244.2.0/24"] }]);
      const list = elsewhere(given, cluster.directory, cluster.peersFile);
      const pod = await Netns.create("pod");
      try {
        await walk(cluster, list, "STATUS", pod, null);
        const result = await walk(cluster, list, "ADD", pod, null);
        await walk(cluster, list, "CHECK", pod, result);
        await walk(cluster, list, "STATUS", pod, null);
        await walk(cluster, list, "DEL", pod, result);
        expect(await pod.links()).toEqual(["lo"]);
      } finally {
        await pod.remove();
      }
    }),
  );
});

/** Nodes as `kubectl get nodes -o json` shows them, as far as it matters. */
function kubernetesNode(name: string, address: string, podCIDRs: readonly string[] | null): JsonObject {
  const spec = podCIDRs === null ? {} : { podCIDR: podCIDRs[0], podCIDRs };
  const internal = [address, "fd31::99"].map((item) => ({ type: "InternalIP", address: item }));
  /* Nodes of one cluster name their addresses in either order. */
  const addresses = [{ type: "Hostname", address: name }, ...(name === "two" ? internal.toReversed() : internal)];
  return { metadata: { name }, spec, status: { addresses } };
}

describe("overlay/peers-from-kubectl", () => {
  /** A directory with a kubectl that prints what lies beside it, and fails if nothing does. */
  async function fakeKubectl(cluster: Cluster): Promise<(nodes: readonly JsonObject[] | null) => Promise<number>> {
    const bin = join(cluster.directory, "fake");
    await mkdir(bin);
    await writeFile(join(bin, "kubectl"), `#!/bin/sh\n[ "$*" = "get nodes --output json" ] && cat "${bin}/nodes"\n`);
    await chmod(join(bin, "kubectl"), 0o755);
    return async (nodes) => {
      const text = nodes === null ? "the API server is gone" : JSON.stringify({ items: nodes });
      await writeFile(join(bin, "nodes"), text);
      const { exitCode } = await execa(join(examples, "overlay/peers-from-kubectl"), [cluster.peersFile], {
        env: { PATH: `${bin}:${process.env.PATH}` },
        reject: false,
      });
      return exitCode ?? -1;
    };
  }

  test("writes a list that the plugin takes, only if there is news, and none if anything fails", () =>
    withCluster({ nodes: 2 }, async (cluster) => {
      const write = await fakeKubectl(cluster);
      const cidrs = (number: number) => cluster.record(number).podCIDRs;
      const [one, two] = [
        kubernetesNode("one", cluster.nodeIp(1), cidrs(1)),
        kubernetesNode("two", cluster.nodeIp(2), cidrs(2)),
      ];
      expect(await write([two, kubernetesNode("fresh", "172.31.0.9", null), one])).toBe(0);
      const lines = (await readFile(cluster.peersFile, "utf8")).trimEnd().split("\n");
      const [header, ...records] = lines.map((line) => JSON.parse(line) as JsonObject);
      expect(header).toMatchObject({ complete: true, peers: 2 });
      expect(records).toEqual([cluster.record(1), cluster.record(2)]);
      const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
      expect(await cluster.ask(a.netns, b.v4)).toBe(`pod-2 saw ${a.v4}`);

      const before = await stat(cluster.peersFile);
      expect(await write([one, two])).toBe(0);
      expect(await write(null)).not.toBe(0);
      expect(await write([])).not.toBe(0);
      const after = await stat(cluster.peersFile);
      expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs]);
      expect((await readdir(cluster.directory)).filter((name) => name.startsWith("peers.ndjson."))).toEqual([]);

      /* A clock that went back makes no older list; a node without an address of the others' IP version is left out. */
      const later = (await readFile(cluster.peersFile, "utf8")).replace(/"generation":\d+/, '"generation":9999999999');
      await writeFile(cluster.peersFile, later);
      const sixth = kubernetesNode("six", "fd31::6", ["10.244.6.0/24"]);
      expect(await write([one, sixth])).toBe(0);
      const [first = "", ...rest] = (await readFile(cluster.peersFile, "utf8")).trimEnd().split("\n");
      expect(JSON.parse(first)).toMatchObject({ generation: 10000000000 });
      expect(rest.map((line) => JSON.parse(line) as JsonObject)).toEqual([cluster.record(1)]);
    }));
});

test("systemd/podwire-overlay.service makes a node's overlay before any pod, and brings it up to date with another list", () =>
  withCluster({ nodes: 2 }, async (cluster) => {
    const unit = await readFile(join(examples, "systemd/podwire-overlay.service"), "utf8");
    const command = /^ExecStart=\/opt\/cni\/bin\/(.*)$/m.exec(unit)?.[1] ?? "";
    expect(command).toContain(" /etc/cni/net.d/10-podwire-overlay.conflist");
    const list = { cniVersion: "1.0.0", name: "pwt-net", plugins: [cluster.overlayConfig(cluster.node(1))] };
    await writeFile(join(cluster.directory, "10-podwire-overlay.conflist"), JSON.stringify(list));
    const there = `${binDirectory}/${command.replace("/etc/cni/net.d", cluster.directory)}`;
    const run = () => cluster.node(1).netns.exec("sh", ["-ec", there]);
    expect(await run()).not.toBe("");
    expect((await cluster.held(cluster.node(1))).join("\n")).toContain("10.244.2.0/24");
    const [a, b] = [await cluster.pod(cluster.node(1)), await cluster.pod(cluster.node(2))];
    expect(await run()).toBe("");
    await cluster.writePeers([cluster.record(1)], { force: true });
    expect(await run()).not.toBe("");
    expect(await cluster.held(a.node)).toEqual([]);
    await cluster.writePeers([cluster.record(1), cluster.record(2)]);
    expect(await run()).not.toBe("");
    expect(await cluster.ask(a.netns, b.v4)).toBe(`pod-2 saw ${a.v4}`);
    expect(await run()).toBe("");
  }));

test("systemd takes the units", async (ctx) => {
  const { exitCode } = await execa("systemd-analyze", ["--version"], { reject: false });
  if (exitCode !== 0) ctx.skip("no systemd-analyze on this machine");
  const directory = join(examples, "systemd");
  const units = (await readdir(directory)).filter((name) => !name.includes(".d-")).map((name) => join(directory, name));
  const { all } = await execa("systemd-analyze", ["verify", "--man=no", ...units], { all: true, reject: false });
  /* What a unit starts is not installed here, and systemd's own units may not be. */
  const complaints = all.split("\n").filter((line) => /examples\/systemd/.test(line) && !/not executable/.test(line));
  expect(complaints).toEqual([]);
});
