/**
 * Input made to harm: names that are paths, results that name what is others', delegates that are any program, links in
 * the place of the plugins' directories, and much too much of everything. Nothing of others is read, written or changed.
 */
import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  binDirectory,
  type CallResult,
  expectError,
  expectSuccess,
  type JsonObject,
  Sandbox,
} from "../../testbed/harness.ts";
import { difference } from "../faults/snapshot.ts";
import { type Node, withNode } from "../plugins/portmap-lab.ts";
import { PLUGINS, type PluginName, traces, validCall, validConfig } from "../protocol/fixtures.ts";
import { Disk } from "./disk.ts";
import { nodeSnapshot } from "./snapshot.ts";

const PATHS = ["../../x", "..", ".", "a/b", "/etc/passwd", "eth0/../../x", "a\u0000b", "-rf"];

describe("names that are paths", () => {
  let sandbox: Sandbox;
  beforeAll(async () => {
    sandbox = await Sandbox.create();
  });
  afterAll(() => sandbox.remove());

  test.each(PLUGINS)("%s: refused by every verb, and nothing is touched", async (plugin) => {
    const pod = await sandbox.pod();
    const before = await traces(sandbox, pod);
    for (const name of PATHS) {
      for (const command of ["ADD", "CHECK", "DEL"]) {
        const base = validCall(plugin, command, sandbox, pod);
        /* No environment holds a NUL. */
        if (!name.includes("\u0000")) {
          /* As an interface's name this is odd, but one. */
          if (name !== "-rf") expectError(await sandbox.call({ ...base, ifname: name }), { code: 4 });
          expectError(await sandbox.call({ ...base, containerId: name }), { code: 4 });
        }
        const config = { ...validConfig(plugin, "1.1.0", sandbox), name };
        expectError(await sandbox.call({ ...base, config }), { code: 7 });
      }
      const attachments = [{ containerID: name, ifname: name }];
      const config = { ...validConfig(plugin, "1.1.0", sandbox), name, "cni.dev/valid-attachments": attachments };
      expectError(await sandbox.call({ ...validCall(plugin, "GC", sandbox, pod), config }), { code: 7 });
    }
    expect(await traces(sandbox, pod)).toEqual(before);
  });
});

/** A program that tells that it was started. */
const EVIL = '#!/bin/sh\ntouch "$(dirname "$0")/started"\necho \'{}\'\n';

describe("a delegate that is any program", () => {
  const delegating: readonly (readonly [string, PluginName, (type: string) => JsonObject])[] = [
    ["bridge's IPAM", "bridge", (type) => ({ ipam: { type } })],
    ["vxlan-overlay's delegate", "vxlan-overlay", (type) => ({ delegate: { type } })],
    ["IPAM of vxlan-overlay's delegate", "vxlan-overlay", (type) => ({ delegate: { ipam: { type } } })],
  ];

  test.each(delegating)("%s", (_name, plugin, extra) =>
    withNode({}, async (node) => {
      const pod = await node.namespace();
      const before = await nodeSnapshot(node, { pod });
      const outside = await node.sandbox.script("evil", EVIL);
      const inside = join(outside, "bin");
      await mkdir(inside);
      await symlink(join(outside, "evil"), join(inside, "linked"));
      for (const type of [
        "../evil",
        "../../bin/sh",
        "/bin/sh",
        `${outside}/evil`,
        "./linked",
        "..",
        ".",
        "a/../linked",
      ]) {
        for (const command of ["ADD", "CHECK", "DEL", "GC", "STATUS"]) {
          const result = await node.sandbox.call({
            ...validCall(plugin, command, node.sandbox, pod),
            config: { ...overlayOr(plugin, node), ...extra(type), prevResult: { cniVersion: "1.1.0" } },
            path: `${inside}:${binDirectory}`,
          });
          expect(result.exitCode, `${command} ${type} ${result.stdout}`).not.toBe(null);
          if (command === "ADD") expectError(result, { code: Number(result.json?.code), msg: /type|delegate|plugin/i });
        }
      }
      await expect(stat(join(outside, "started"))).rejects.toThrow();
      const left = difference(before, await nodeSnapshot(node, { pod }));
      expect(left.filter((line) => !isForAll(line))).toEqual([]);
    }),
  );
});

function overlayOr(plugin: PluginName, node: Node): JsonObject {
  const peers = [{ nodeIP: "192.0.2.2", podCIDRs: ["10.89.0.0/24"] }];
  return {
    ...validConfig(plugin, "1.1.0", node.sandbox),
    ...(plugin === "vxlan-overlay" ? { podCIDRs: ["10.88.0.0/24"], underlay: "192.0.2.1", peers } : {}),
  };
}

/** What each plugin behind bridge is asked for. */
const WISHES: Readonly<Record<string, JsonObject>> = {
  bridge: { ipMasq: true, macspoofchk: true },
  portmap: {
    capabilities: { portMappings: true },
    runtimeConfig: { portMappings: [{ hostPort: 8099, containerPort: 80, protocol: "tcp" }] },
  },
  bandwidth: { ingressRate: 1e7, egressRate: 1e7 },
  firewall: { ingressPolicy: "same-bridge" },
  "vxlan-overlay": { podCIDRs: ["10.88.0.0/24", "fd88::/64"], underlay: "192.0.2.1", mtu: 1200, peers: [] },
  loopback: {},
};

describe("a result that names what is others'", () => {
  test.each(Object.keys(WISHES))("%s changes nothing of theirs", (plugin) =>
    withNode({}, async (node) => {
      const neighbour = await node.pod({ mappings: [{ hostPort: 8081, containerPort: 80, protocol: "tcp" }] });
      const own = await node.namespace();
      const places = { neighbour: neighbour.netns, client: node.client };
      const before = [...(await nodeSnapshot(node, places)), ...(await mtus(node))];
      const host = ((neighbour.bridged.interfaces ?? []) as JsonObject[])[1];
      const prevResult = {
        cniVersion: "1.1.0",
        interfaces: [
          { name: "up0" },
          { name: "cni0" },
          host,
          { name: "lo", sandbox: own.path },
          { name: "eth0", sandbox: neighbour.netns.path, mac: "02:00:00:00:00:01" },
        ],
        ips: [
          { address: "10.88.0.200/24", interface: 4 },
          { address: "192.0.2.1/24", interface: 0 },
        ],
        routes: [{ dst: "0.0.0.0/0", gw: "192.0.2.2" }],
      };
      const base = plugin === "bridge" ? node.bridgeConfig() : node.portmapConfig(null);
      for (const command of ["CHECK", "DEL", "ADD", "CHECK", "DEL"]) {
        const result = await node.sandbox.call({
          plugin,
          command,
          containerId: "stranger",
          ifname: plugin === "loopback" ? "lo" : "eth0",
          netns: own.path,
          config: { ...base, ...WISHES[plugin], type: plugin, prevResult },
        });
        expect(result.signal).toBeNull();
        if (command === "DEL") expectSuccess(result);
        const now = [...(await nodeSnapshot(node, places)), ...(await mtus(node))];
        expect(
          before.filter((line) => !now.includes(line)),
          command,
        ).toEqual([]);
        if (command === "DEL")
          expect(now.filter((line) => !before.includes(line) && /8099|stranger/.test(line))).toEqual([]);
      }
    }),
  );
});

/** MTUs of the node's links, which a snapshot leaves out. */
async function mtus(node: Node): Promise<string[]> {
  const links = (await node.host.query("link", "show")).filter(({ ifname }) => /^(up|cni|veth)/.test(String(ifname)));
  return links.map(({ ifname, mtu, master, flags }) => `${ifname} ${mtu} ${master} ${JSON.stringify(flags)}`);
}

describe("links in the place of what is kept on tmpfs", () => {
  test.each([
    ["portmap", "net", WISHES.portmap],
    ["bridge", "net", WISHES.bridge],
    ["firewall", "net", WISHES.firewall],
    ["vxlan-overlay", "overlay", WISHES["vxlan-overlay"]],
  ] as const)("%s follows none", (plugin, kind, wishes) =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      const netns = plugin === "bridge" ? await node.namespace() : pod.netns;
      const disk = await Disk.mount("/run/podwire");
      try {
        const inode = (await stat(node.host.path)).ino;
        const target = join(node.sandbox.directory, "target");
        if (kind === "net") await mkdir(target);
        else await writeFile(target, "precious");
        await symlink(target, join(disk.directory, `${kind}-${inode}`));
        const before = await nodeSnapshot(node, {});
        const base =
          plugin === "bridge" ? node.bridgeConfig() : { ...node.portmapConfig(null), prevResult: pod.bridged };
        const result = await node.sandbox.call({
          plugin,
          command: "ADD",
          containerId: "stranger",
          ifname: "eth0",
          netns: netns.path,
          config: { ...base, ...wishes, type: plugin },
          through: disk.through,
        });
        expectError(result, { code: 5, msg: /is a symbolic link/, details: /remove it/ });
        expect(difference(before, await nodeSnapshot(node, {}))).toEqual([]);
        if (kind === "net") expect(await readdir(target)).toEqual([]);
        else expect(await readFile(target, "utf8")).toBe("precious");
      } finally {
        await disk.remove();
      }
    }),
  );
});

/** What stays of a failed call since others may use it: an overlay's device, and what keeps neighbours from 127.0.0.1. */
function isForAll(line: string): boolean {
  return /overlay1|"podwire|CNI-HOSTPORT-LOCALNET|"table":"raw"|"name":"raw"/.test(line);
}

/** Within this time a call has done its work or says why not, on a busy machine too. */
const LIMIT_MS = 30_000;

function many<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

describe("much too much", () => {
  const ips = many(20_000, (i) => ({ address: `10.${88 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}/24`, interface: 0 }));
  const huge = {
    cniVersion: "1.1.0",
    interfaces: many(5_000, (i) => ({ name: i === 0 ? "eth0" : `link${i}`, sandbox: "/run/netns/nowhere" })),
    ips,
    routes: many(10_000, (i) => ({ dst: `10.${i >> 8}.${i & 255}.0/24` })),
    dns: { nameservers: many(5_000, (i) => `192.0.2.${i & 255}`) },
  };
  const ports = many(40_000, (i) => ({ hostPort: i + 1, containerPort: 80, protocol: "tcp" }));
  const cases: readonly (readonly [string, string, JsonObject])[] = [
    ["a result before it", "bridge", { prevResult: huge }],
    ["a result before it", "portmap", { ...WISHES.portmap, prevResult: huge }],
    ["a result before it", "bandwidth", { ...WISHES.bandwidth, prevResult: huge }],
    ["a result before it", "firewall", { prevResult: huge }],
    ["a result before it", "vxlan-overlay", { ...WISHES["vxlan-overlay"], prevResult: huge }],
    ["a result before it", "loopback", { prevResult: huge }],
    ["ports", "portmap", { capabilities: { portMappings: true }, runtimeConfig: { portMappings: ports } }],
    ["conditions", "portmap", { ...WISHES.portmap, conditionsV4: many(50_000, () => "!") }],
    [
      "ranges",
      "bridge",
      { ipam: { type: "host-local", ranges: [many(5_000, (i) => ({ subnet: `10.${i >> 8}.${i & 255}.0/24` }))] } },
    ],
    [
      "range sets",
      "bridge",
      { ipam: { type: "host-local", ranges: many(5_000, (i) => [{ subnet: `10.${i >> 8}.${i & 255}.0/24` }]) } },
    ],
    [
      "subnets",
      "bandwidth",
      { ...WISHES.bandwidth, unshapedSubnets: many(50_000, (i) => `10.${i >> 8}.${i & 255}.0/24`) },
    ],
    [
      "sysctls",
      "tuning",
      { sysctl: Object.fromEntries(many(50_000, (i) => [`net.core.a${i}`, "1"])), prevResult: huge },
    ],
    [
      "peers",
      "vxlan-overlay",
      {
        ...WISHES["vxlan-overlay"],
        peers: many(20_000, (i) => ({ nodeIP: `172.16.${i >> 8}.${i & 255}`, podCIDRs: ["10.1.0.0/24"] })),
      },
    ],
  ];

  test.each(cases)("%s: %s", { timeout: 120_000 }, (_name, plugin, extra) =>
    withNode({}, async (node) => {
      const pod = plugin === "bridge" ? null : await node.bridged();
      const netns = pod?.netns ?? (await node.namespace());
      const before = await nodeSnapshot(node, {});
      const ipam = {
        dataDir: node.sandbox.dataDir,
        ...((extra.ipam ?? { type: "host-local", subnet: "10.88.0.0/16" }) as JsonObject),
      };
      const base =
        plugin === "bridge"
          ? { ...node.bridgeConfig(), ...extra, ipam }
          : { ...node.portmapConfig(null, { prevResult: pod?.bridged }), ...extra };
      const run = (command: string): Promise<CallResult> =>
        node.sandbox.call({
          plugin,
          command,
          containerId: "stranger",
          ifname: plugin === "loopback" ? "lo" : "eth0",
          netns: netns.path,
          config: { ...base, type: plugin },
          timeoutMs: LIMIT_MS,
        });
      const added = await run("ADD");
      if (added.exitCode === 0) expectSuccess(added);
      else {
        expectError(added, { code: Number(added.json?.code) });
        expect(added.json?.code).not.toBe(999);
        expect(added.stdout.length).toBeLessThan(5000);
        const left = difference(before, await nodeSnapshot(node, {}));
        expect(left.filter((line) => !isForAll(line))).toEqual([]);
      }
      const deleted = await run("DEL");
      expect([0, 1]).toContain(deleted.exitCode);
      if (deleted.exitCode === 1) expect(deleted.json?.code).toBe(7);
    }),
  );

  test("directories in CNI_PATH", () =>
    withNode({}, async (node) => {
      const pod = await node.namespace();
      const path = `${many(5_000, (i) => `/nowhere/${i}`).join(":")}:${binDirectory}`;
      const who = { netns: pod, containerId: pod.name, ifname: "eth0" };
      expectSuccess(await node.call("bridge", "ADD", who, node.bridgeConfig(), { path }));
      expectSuccess(await node.call("bridge", "DEL", who, node.bridgeConfig(), { path }));
    }));
});
