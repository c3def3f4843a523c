/**
 * Hosts that give little away: a read-only /proc/sys, places where nothing can be made, leases on a volume. What is right
 * already or only makes things better is done without, with a note; only what a pod cannot do without is a failure.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type CallResult, expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { difference } from "../faults/snapshot.ts";
import { type Node, type Pod, withNode } from "../plugins/portmap-lab.ts";
import { nodeSnapshot } from "./snapshot.ts";

const ERRORS = [
  ["EROFS", "read-only file system"],
  ["EACCES", "permission denied"],
] as const;

const FORWARDING = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] as const;
/** Without these an address cannot be added, or packets for others are not forwarded. */
const NEEDED = /\/(disable_ipv6|ip_forward|all\/forwarding)$/;
const BRIDGE = "cni0";

/** Starts a plugin with /proc/sys read-only. */
const READ_ONLY_PROC = inMounts("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys");
/** The same with nothing at /run/podwire, and no way to make it. */
const READ_ONLY_RUN = inMounts("mount -t tmpfs -o ro,mode=755 none /run/podwire");

function inMounts(commands: string): readonly string[] {
  return ["/usr/bin/unshare", "--mount", "sh", "-c", `${commands} && exec "$0"`];
}

function failing(path: string, call: string, error: string): readonly string[] {
  return ["/usr/bin/strace", "-f", "-o", "/dev/null", "-P", path, "-e", `inject=${call}:error=${error}`];
}

async function set(netns: Netns, path: string, value: string): Promise<void> {
  await netns.exec("sh", ["-ec", `echo ${value} >/proc/sys/${path}`]);
}

/** As before the first pod: no bridge, no forwarding, IPv6 off for new links. */
async function reset(node: Node, pod: Netns): Promise<void> {
  await node.host.exec("ip", ["link", "delete", BRIDGE], { reject: false });
  for (const path of FORWARDING) await set(node.host, path, "0");
  for (const netns of [node.host, pod]) await set(netns, "net/ipv6/conf/default/disable_ipv6", "1");
}

async function bridge(
  node: Node,
  command: string,
  pod: Netns,
  extra: JsonObject,
  through: readonly string[],
): Promise<CallResult> {
  const who = { netns: pod, containerId: pod.name, ifname: "eth0" };
  return node.call("bridge", command, who, node.bridgeConfig(extra), { through });
}

/** The settings that an ADD writes on a fresh node, below /proc/sys. */
async function writtenSettings(node: Node, pod: Netns): Promise<string[]> {
  const output = join(node.sandbox.directory, "trace");
  const through = ["/usr/bin/strace", "-y", "-o", output, "-e", "trace=pwrite64"];
  expectSuccess(await bridge(node, "ADD", pod, {}, through));
  expectSuccess(await bridge(node, "DEL", pod, {}, []));
  const paths = [...(await readFile(output, "utf8")).matchAll(/<(\/proc\/sys\/[^>]+)>/g)].map(([, path]) => path ?? "");
  return [...new Set(paths)];
}

describe.each(ERRORS)("bridge: a setting that cannot be written (%s)", (error, words) => {
  test("is a failure only if pods need it, and noted otherwise", { timeout: 300_000 }, () =>
    withNode({}, async (node) => {
      const pod = await node.namespace();
      await pod.ip("link", "set", "lo", "up");
      await reset(node, pod);
      const settings = await writtenSettings(node, pod);
      for (const part of ["accept_ra", "accept_dad", "disable_ipv6", "ip_forward", "all/forwarding"]) {
        expect(
          settings.some((path) => path.endsWith(part)),
          part,
        ).toBe(true);
      }
      for (const path of settings) {
        await reset(node, pod);
        const before = await nodeSnapshot(node, { pod });
        const through = failing(path, "pwrite64", error);
        const added = await bridge(node, "ADD", pod, {}, through);
        const note = new RegExp(`cannot set ${path.replaceAll("/", "\\/")} to \\d: ${words}`);
        if (NEEDED.test(path)) {
          expectError(added, { code: 100 });
          if (!path.endsWith("disable_ipv6")) expect(added.json?.msg).toMatch(note);
          const left = difference(before, await nodeSnapshot(node, { pod }));
          expect(
            left.filter((line) => !/cni0|forward|podwire/.test(line)),
            path,
          ).toEqual([]);
        } else {
          expectSuccess(added);
          expect(added.stderr, path).toMatch(note);
          expectSuccess(await bridge(node, "CHECK", pod, { prevResult: added.json }, through));
          expect(await pod.ping("10.88.0.1"), path).toBe(true);
        }
        expectSuccess(await bridge(node, "DEL", pod, {}, through));
      }
    }),
  );
});

describe("a read-only /proc/sys", () => {
  test("does no harm where everything is as it should be", () =>
    withNode({}, async (node) => {
      const pod = await node.namespace();
      for (const netns of [node.host, pod]) {
        for (const key of ["accept_ra", "autoconf", "accept_dad"])
          await set(netns, `net/ipv6/conf/default/${key}`, "0");
        for (const key of ["ndisc_notify", "keep_addr_on_down"]) await set(netns, `net/ipv6/conf/default/${key}`, "1");
      }
      for (const path of FORWARDING) await set(node.host, path, "1");
      const added = await bridge(node, "ADD", pod, {}, READ_ONLY_PROC);
      expectSuccess(added);
      expect(added.stderr).toBe("");
      expectSuccess(await bridge(node, "CHECK", pod, { prevResult: added.json }, READ_ONLY_PROC));
      expect(await pod.ping("10.88.0.1")).toBe(true);
      expect(await pod.ping("fd88::1")).toBe(true);
      expectSuccess(await bridge(node, "DEL", pod, {}, READ_ONLY_PROC));
    }));

  test("is named where forwarding is off", () =>
    withNode({}, async (node) => {
      const pod = await node.namespace();
      for (const path of FORWARDING) await set(node.host, path, "0");
      const msg = /cannot set \/proc\/sys\/net\/ipv4\/ip_forward to 1: read-only file system/;
      expectError(await bridge(node, "ADD", pod, {}, READ_ONLY_PROC), { code: 100, msg });
      expect(await pod.links()).toEqual(["lo"]);
      /* Nobody needs it without a gateway. */
      const isolated = { isDefaultGateway: false };
      expectSuccess(await bridge(node, "ADD", pod, isolated, READ_ONLY_PROC));
      expectSuccess(await bridge(node, "DEL", pod, isolated, READ_ONLY_PROC));
    }));

  const publish = (node: Node, command: string, pod: Pod, hostIP: JsonObject): Promise<CallResult> => {
    const mappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp", ...hostIP }];
    const config = node.portmapConfig(mappings, { prevResult: pod.bridged });
    return node.call("portmap", command, pod, config, { through: READ_ONLY_PROC });
  };

  test("portmap publishes, but not for 127.0.0.1", () =>
    withNode({}, async (node) => {
      const pod = await node.bridged({ label: "pod" });
      const setting = `net/ipv4/conf/${BRIDGE}/route_localnet`;
      const added = await publish(node, "ADD", pod, {});
      expectSuccess(added);
      expect(added.stderr).toContain(`cannot set /proc/sys/${setting} to 1`);
      expect(await node.host.sysctl(setting)).toBe("0");
      expect(await node.ask(node.client, "192.0.2.1", 8080)).toContain("pod");
      expectSuccess(await publish(node, "CHECK", pod, {}));
      expectSuccess(await publish(node, "DEL", pod, {}));
      const refused = await publish(node, "ADD", pod, { hostIP: "127.0.0.1" });
      expectError(refused, { code: 100, msg: /route_localnet to 1: read-only file system/ });
      expect(await node.ruleset()).not.toContain("8080");
    }));
});

/** Who keeps something below /run/podwire. */
const CONFIGURATIONS: readonly (readonly [string, string, JsonObject, boolean])[] = [
  ["bridge", "bridge", {}, false],
  ["bridge with masquerade", "bridge", { ipMasq: true }, true],
  ["bridge with spoof checks", "bridge", { macspoofchk: true }, true],
  ["portmap without ports", "portmap", {}, false],
  [
    "portmap with ports",
    "portmap",
    { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] } },
    true,
  ],
  ["bandwidth", "bandwidth", { ingressRate: 1e7, egressRate: 1e7 }, false],
  ["firewall", "firewall", {}, true],
  ["firewall with isolated pods", "firewall", { ingressPolicy: "isolated" }, true],
  [
    "vxlan-overlay",
    "vxlan-overlay",
    { podCIDRs: ["10.88.0.0/24", "fd88::/64"], underlay: "192.0.2.1", peers: [] },
    true,
  ],
];

/** The ways in which nothing can be made there. */
const PLACES: readonly (readonly [string, readonly string[], string])[] = [
  ["read-only", READ_ONLY_RUN, "read-only file system"],
  ...ERRORS.map(
    ([error, words]) =>
      [
        `${error} of each mkdir`,
        ["/usr/bin/strace", "-o", "/dev/null", "-e", `inject=mkdirat:error=${error}`],
        words,
      ] as const,
  ),
];

describe.each(PLACES)("/run/podwire (%s)", (_place, through, words) => {
  test.each(CONFIGURATIONS)("%s", (_name, plugin, extra, needed) =>
    withNode({}, async (node) => {
      /* The leases are on a volume that was there before. */
      const other = await node.bridged();
      const pod = plugin === "bridge" ? null : await node.bridged();
      const netns = pod?.netns ?? (await node.namespace());
      const base =
        plugin === "bridge" ? node.bridgeConfig() : { ...node.portmapConfig(null), prevResult: pod?.bridged };
      const call = (command: string, more: JsonObject = {}) =>
        node.sandbox.call({
          plugin,
          command,
          containerId: netns.name,
          ifname: "eth0",
          netns: netns.path,
          config: { ...base, ...extra, ...more, type: plugin },
          through,
        });
      const rules = plugin === "vxlan-overlay" ? "" : await node.nft("list", "tables");
      if (rules !== "") await node.nft("flush", "ruleset");
      /* The overlay keeps a file there and makes no directory. */
      const fails = needed && (plugin !== "vxlan-overlay" || through === READ_ONLY_RUN);
      const added = await call("ADD");
      if (fails) {
        expectError(added, { code: 5, msg: new RegExp(words) });
        expect(String(added.json?.msg)).toContain("/run/podwire");
        if (plugin === "bridge") expectError(await call("STATUS"), { code: 50, msg: new RegExp(words) });
      } else if (!needed) {
        expectSuccess(added);
        expectSuccess(await call("CHECK", { prevResult: added.json }));
        expectSuccess(await call("STATUS"));
        /* Neighbours' router advertisements are dropped, record or not. */
        if (plugin === "bridge") expect(await node.ruleset()).toContain("table bridge podwire");
      }
      expectSuccess(await call("DEL"));
      if (plugin !== "vxlan-overlay")
        expectSuccess(
          await call("GC", { "cni.dev/valid-attachments": [{ containerID: other.containerId, ifname: "eth0" }] }),
        );
    }),
  );
});
