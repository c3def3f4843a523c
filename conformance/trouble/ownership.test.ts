/**
 * Directories of the plugins' own that somebody else has made, or can write in: what is in them is neither believed nor
 * written to, and the error says which it is, what is wrong about it and what to do. A file that has a second name is not
 * written through.
 */
import { chmod, chown, link, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { difference } from "../faults/snapshot.ts";
import { type Network, withNetwork } from "../plugins/host-local-harness.ts";
import { withNode } from "../plugins/portmap-lab.ts";
import { Disk } from "./disk.ts";
import { nodeSnapshot } from "./snapshot.ts";

const SUBNET = { subnet: "10.9.0.0/24" };
/** A user who is not root. */
const STRANGER = 1234;
const GC_ALL = { "cni.dev/valid-attachments": [] };

/** What is wrong about a directory, and how an error says so. */
const FAULTS: readonly (readonly [string, (path: string) => Promise<void>, RegExp])[] = [
  ["another user's", (path) => chown(path, STRANGER, 0), /belongs to user 1234 and has mode 0[0-7]{4}$/],
  ["open to a group", (path) => chmod(path, 0o770), /belongs to user 0 and has mode 00770$/],
  ["open to all", (path) => chmod(path, 0o777), /belongs to user 0 and has mode 00777$/],
  ["like /tmp", (path) => chmod(path, 0o1777), /belongs to user 0 and has mode 01777$/],
];

/** Sets right again what a fault has set wrong. */
async function mend(path: string): Promise<void> {
  await chown(path, 0, 0);
  await chmod(path, 0o755);
}

const PLACES: readonly (readonly [string, (network: Network) => string])[] = [
  ["the data directory", ({ dataDir }) => dataDir],
  ["a network's leases", ({ leases }) => leases],
  ["our own", ({ own }) => dirname(own)],
  ["a network's records", ({ own }) => own],
];

describe.each(PLACES)("host-local: %s is", (place, pathIn) => {
  test.each(FAULTS)("%s", (name, spoil, words) =>
    withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      const path = pathIn(network);
      await spoil(path);
      /* There somebody may make a directory of another name, but not replace ours. */
      const harmless = place === "the data directory" && name === "like /tmp";
      const before = [await network.leaseFiles(), await network.records()];
      for (const verb of ["ADD", "CHECK", "STATUS", "GC", "DEL"]) {
        if (harmless) break;
        const result = await network.call(verb, verb === "ADD" ? "c2" : "c1", { more: GC_ALL });
        expectError(result, {
          code: verb === "STATUS" ? 50 : 5,
          msg: words,
          details: /look at what is in it.*chmod go-w/,
        });
        expect(String(result.json?.msg)).toContain(`${path} is open to others`);
        expect([await network.leaseFiles(), await network.records()], verb).toEqual(before);
      }
      if (!harmless) await mend(path);
      expectSuccess(await network.call("STATUS", ""));
      await network.add("c2");
      await network.del("c1");
      await network.del("c2");
      expect(await network.addresses()).toEqual([]);
    }),
  );
});

describe("host-local: the directory that the data directory is to be made in is", () => {
  test.each(FAULTS)("%s", (name, spoil, words) =>
    withNetwork(SUBNET, async (network) => {
      const parent = join(network.directory, "parent");
      await mkdir(parent);
      await spoil(parent);
      const ipam = { ...SUBNET, dataDir: join(parent, "deep", "er") };
      for (const verb of ["DEL", "GC"]) expectSuccess(await network.call(verb, "c1", { ipam, more: GC_ALL }));
      if (name !== "like /tmp") {
        for (const verb of ["STATUS", "ADD"]) {
          const result = await network.call(verb, "c1", { ipam });
          expectError(result, { code: verb === "ADD" ? 5 : 50, msg: words });
          expect(String(result.json?.msg)).toContain(`${parent} is open to others`);
        }
        await expect(stat(join(parent, "deep"))).rejects.toThrow();
        await mend(parent);
      }
      expectSuccess(await network.call("ADD", "c1", { ipam }));
      expectSuccess(await network.call("STATUS", "c1", { ipam }));
      expect((await stat(join(parent, "deep"))).mode & 0o777).toBe(0o700);
    }),
  );
});

const PUBLISHED: JsonObject = {
  capabilities: { portMappings: true },
  runtimeConfig: { portMappings: [{ hostPort: 8099, containerPort: 80, protocol: "tcp" }] },
};
const OVERLAY: JsonObject = {
  podCIDRs: ["10.88.0.0/24", "fd88::/64"],
  underlay: "192.0.2.1",
  peers: [{ nodeIP: "192.0.2.2", podCIDRs: ["10.89.0.0/24"] }],
};

/** Which plugin keeps what below /run/podwire. */
const KEEPERS: readonly (readonly [string, string, JsonObject, string])[] = [
  ["bridge", "bridge", { ipMasq: true, macspoofchk: true }, ""],
  ["bridge", "bridge", { ipMasq: true, macspoofchk: true }, "net-"],
  ["portmap", "portmap", PUBLISHED, ""],
  ["portmap", "portmap", PUBLISHED, "net-"],
  ["firewall", "firewall", { ingressPolicy: "isolated" }, ""],
  ["firewall", "firewall", { ingressPolicy: "isolated" }, "net-"],
  ["vxlan-overlay", "vxlan-overlay", OVERLAY, ""],
];

describe.each(KEEPERS)("%s: /run/podwire", (_name, plugin, wishes, part) => {
  test.each(FAULTS)(`${part === "" ? "" : "a namespace's part of it "}is %s`, (_fault, spoil, words) =>
    withNode({}, async (node) => {
      const disk = await Disk.mount("/run/podwire");
      try {
        /* What the first pod makes for all stays. */
        const first = await node.bridged();
        const pod = plugin === "bridge" ? null : first;
        const netns = pod?.netns ?? (await node.namespace());
        const name = part === "" ? "" : `${part}${(await stat(node.host.path)).ino}`;
        const path = join(disk.directory, name);
        if (name !== "") await mkdir(path, { mode: 0o700 });
        await spoil(path);
        const before = await nodeSnapshot(node, {});
        const base =
          plugin === "bridge" ? node.bridgeConfig() : { ...node.portmapConfig(null), prevResult: pod?.bridged };
        const call = (command: string) =>
          node.sandbox.call({
            plugin,
            command,
            containerId: "pwt-stranger",
            ifname: "eth0",
            netns: netns.path,
            config: { ...base, ...wishes, type: plugin },
            through: disk.through,
          });
        const added = await call("ADD");
        expectError(added, { code: 5, msg: words, details: /look at what is in it.*chmod go-w/ });
        expect(String(added.json?.msg)).toContain(`${join("/run/podwire", name)} is open to others`);
        expect(difference(before, await nodeSnapshot(node, {}))).toEqual([]);
        if (plugin === "bridge") expectError(await call("STATUS"), { code: 50, msg: words });
        await mend(path);
        expectSuccess(await call("ADD"));
        await spoil(path);
        if (plugin !== "vxlan-overlay") expectError(await call("DEL"), { code: 5, msg: words });
        await mend(path);
        expectSuccess(await call("DEL"));
      } finally {
        await disk.remove();
      }
    }),
  );
});

test("repair puts nothing back that somebody else has planted", () =>
  withNode({}, async (node) => {
    const disk = await Disk.mount("/run/podwire");
    try {
      const config = { cniVersion: "1.1.0", name: node.network, type: "vxlan-overlay", ...OVERLAY };
      const through = disk.through;
      expectSuccess(await node.sandbox.call({ plugin: "vxlan-overlay", command: "STATUS", config, through }));
      await node.host.ip("link", "delete", "overlay1");
      await chown(disk.directory, STRANGER, 0);
      const repair = (plugin: string) =>
        execa("nsenter", [`--net=${node.host.path}`, ...through, join(binDirectory, plugin), "repair"], {
          reject: false,
        });
      for (const plugin of ["vxlan-overlay", "bridge", "firewall", "portmap"]) {
        const { exitCode, stdout } = await repair(plugin);
        expect(exitCode).toBe(1);
        expect(JSON.parse(String(stdout))).toMatchObject({ code: 5, msg: expect.stringMatching(/open to others/) });
      }
      expect(await node.host.links()).not.toContain("overlay1");
      await mend(disk.directory);
      expect((await repair("vxlan-overlay")).exitCode).toBe(0);
      expect(await node.host.links()).toContain("overlay1");
    } finally {
      await disk.remove();
    }
  }));

describe("a file with a second name is not written through", () => {
  test("host-local's: it is replaced", () =>
    withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      const precious = join(network.directory, "precious");
      await writeFile(precious, "precious");
      for (const path of [join(network.leases, "last_reserved_ip.0"), join(network.own, "index")]) {
        await rm(path);
        await link(precious, path);
      }
      expect(await network.addOne("c2")).toBe("10.9.0.3");
      await network.del("c1");
      expect(await readFile(precious, "utf8")).toBe("precious");
      expect(await readFile(join(network.leases, "last_reserved_ip.0"), "utf8")).toBe("10.9.0.3");
    }));

  test("vxlan-overlay's: it is named", () =>
    withNode({}, async (node) => {
      const disk = await Disk.mount("/run/podwire");
      try {
        const name = `overlay-${(await stat(node.host.path)).ino}`;
        await writeFile(join(disk.directory, "precious"), "precious");
        await link(join(disk.directory, "precious"), join(disk.directory, name));
        const config = { cniVersion: "1.1.0", name: node.network, type: "vxlan-overlay", ...OVERLAY };
        const call = {
          plugin: "vxlan-overlay",
          command: "GC",
          config: { ...config, ...GC_ALL },
          through: disk.through,
        };
        expectError(await node.sandbox.call(call), { code: 5, msg: /overlay-.*second name/, details: /remove it/ });
        expect(await readFile(join(disk.directory, "precious"), "utf8")).toBe("precious");
        await rm(join(disk.directory, name));
        expectSuccess(await node.sandbox.call(call));
      } finally {
        await disk.remove();
      }
    }));
});
