/** firewall: CHECK, DEL, GC, STATUS, repair, several calls at once, and what it takes of the node. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { expectSuccess, type JsonObject, runProgram } from "../../testbed/harness.ts";
import { add, call, del, FAMILIES, filterRules, iptables, own, reaches, withClosedNode } from "./firewall-lab.ts";
import { remains } from "./node-filter.ts";
import { addressOf, type Node, type Pod, withNode } from "./portmap-lab.ts";

const ISOLATED = { ingressPolicy: "isolated" };

/** The error of a CHECK, which must fail. */
async function complaint(node: Node, pod: Pod, extra: JsonObject = {}): Promise<string> {
  const { json } = await call(node, "CHECK", pod, extra);
  expect(json).toMatchObject({ code: 101 });
  return String(json?.msg);
}

/** Besides what stays with the bridge: its policy, and the rules of iptables that all attachments share. */
async function owned(node: Node): Promise<string[]> {
  return (await remains(node)).filter((line) => !line.endsWith(".ingress-policy"));
}

describe("CHECK", () => {
  const cases: readonly [string, (node: Node, pod: Pod) => Promise<unknown>, RegExp][] = [
    [
      "the pod's element",
      (node, pod) => node.nft("delete", "element", "inet", "podwire-firewall", "accepted6", `{ ${pod.v6} }`),
      /accepted6 \{ fd88::\w+ : goto mark-12 \} is missing/,
    ],
    ["a chain", (node) => node.nft("flush", "chain", "inet", "podwire-firewall", "forward"), /forward has 0 rules/],
    ["our tables", (node) => node.nft("delete", "table", "inet", "podwire-firewall"), /is missing/],
    ["the bridges' table", (node) => node.nft("delete", "table", "bridge", "podwire-firewall"), /isolated_ports/],
    [
      "the policy",
      (node) => node.nft("delete", "element", "inet", "podwire-firewall", "policy_links", "{ cni0 }"),
      /policy_links \{ cni0 \} is missing/,
    ],
    ["iptables' jump", (node) => iptables(node, "-F", "FORWARD"), /iptables has no rule .*FORWARD/],
    ["iptables' accept", (node) => iptables(node, "-D", "CNI-FORWARD", "2"), /--mark 0x1000\/0x1000 -j ACCEPT/],
    ["the admin chain's place", (node) => iptables(node, "-D", "CNI-FORWARD", "1"), /-j CNI-ADMIN/],
    ["all of iptables", (node) => iptables(node, "-F"), /iptables has no rule/],
    ["everything", (node) => node.nft("flush", "ruleset"), /is missing/],
  ];

  test.each(cases)("misses %s, and puts it back", (_what, spoil, message) =>
    withClosedNode({}, async (node) => {
      await node.traffic.serveAll(node.server, "server", 80);
      const pod = await node.bridged({ label: "pod" });
      await add(node, pod, ISOLATED);
      expectSuccess(await call(node, "CHECK", pod, ISOLATED));
      await spoil(node, pod);
      expect(await complaint(node, pod, ISOLATED)).toMatch(message);
      expectSuccess(await call(node, "CHECK", pod, ISOLATED));
      await iptables(node, "-P", "FORWARD", "DROP");
      for (const family of FAMILIES) {
        expect(await reaches(node, pod.netns, addressOf("server", family))).toBe(true);
      }
    }),
  );

  test("another program's rules beside ours are none of its business, and another policy is", () =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      await add(node, pod, { ingressPolicy: "same-bridge" });
      await iptables(node, "-I", "FORWARD", "-j", "ACCEPT");
      await iptables(node, "-A", "CNI-ADMIN", "-j", "RETURN");
      await iptables(node, "-I", "CNI-FORWARD", "-j", "RETURN");
      expectSuccess(await call(node, "CHECK", pod, { ingressPolicy: "same-bridge" }));
      expect(await complaint(node, pod, ISOLATED)).toContain("cni0");
      expect(await complaint(node, pod, { ingressPolicy: "open" })).toContain("the bridge cni0 has a policy");
    }));
});

test("repair puts back what was flushed, of either kind", () =>
  withClosedNode({}, async (node) => {
    await node.traffic.serveAll(node.server, "server", 80);
    const pods = [await node.bridged(), await node.bridged()];
    for (const pod of pods) await add(node, pod, ISOLATED);
    for (const flush of [() => node.nft("flush", "ruleset"), () => iptables(node, "-F")]) {
      await flush();
      expect((await node.repair()).exitCode).toBe(0);
      await iptables(node, "-P", "FORWARD", "DROP");
      for (const pod of pods) {
        expectSuccess(await call(node, "CHECK", pod, ISOLATED));
        expect(await reaches(node, pod.netns, addressOf("server", 4))).toBe(true);
      }
    }
  }));

describe("DEL", () => {
  const ways: readonly [string, JsonObject][] = [
    ["with what ADD had", ISOLATED],
    ["without a previous result", { prevResult: undefined }],
    ["with another policy and another chain", { ingressPolicy: "open", iptablesAdminChainName: "OTHER" }],
    ["with a configuration that is wrong by now", { ingressPolicy: "none", forwardMarkBit: 99 }],
  ];

  test.each(ways)("%s removes what is the attachment's, three times over", (_how, extra) =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      const other = await node.bridged();
      for (const one of [pod, other]) await add(node, one, ISOLATED);
      for (let i = 0; i < 3; i += 1) await del(node, pod, extra);
      expect((await node.ruleset()).includes(pod.v4)).toBe(false);
      expectSuccess(await call(node, "CHECK", other, ISOLATED));
      await del(node, other, ISOLATED);
      expect(await owned(node)).toEqual([]);
    }),
  );

  test("works without the namespace", () =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      await add(node, pod);
      await pod.netns.remove();
      await del(node, pod);
      expect(await owned(node)).toEqual([]);
    }));
});

test("GC removes what belongs to nobody, and keeps what is valid", () =>
  withNode({}, async (node) => {
    const gone = await node.bridged();
    const kept = await node.bridged();
    for (const pod of [gone, kept]) await add(node, pod, ISOLATED);
    const valid = [{ containerID: kept.containerId, ifname: kept.ifname }];
    const config = { cniVersion: "1.1.0", prevResult: undefined, "cni.dev/valid-attachments": valid };
    expectSuccess(await call(node, "GC", gone, config));
    expectSuccess(await call(node, "CHECK", kept, ISOLATED));
    expect((await remains(node)).join("\n")).not.toContain(gone.v4);
    await node.host.ip("link", "del", "cni0");
    expectSuccess(await call(node, "GC", gone, { ...config, "cni.dev/valid-attachments": [] }));
    expect(await remains(node)).toEqual([]);
  }));

test("STATUS succeeds, and says what is missing where forwarded packets pass rules of iptables and it is not installed", () =>
  withClosedNode({}, async (node) => {
    const status = { cniVersion: "1.1.0", prevResult: undefined };
    const pod = await node.bridged();
    expectSuccess(await call(node, "STATUS", pod, status));
    const hidden = { through: await withoutIptables(node) };
    const failed = await call(node, "STATUS", pod, status, hidden);
    expect(failed.json).toMatchObject({ code: 50, msg: expect.stringContaining("has no iptables-restore") });
    const refused = await call(node, "ADD", pod, {}, hidden);
    expect(refused.json).toMatchObject({ code: 100, details: expect.stringContaining("install iptables") });
    expect(await owned(node)).toEqual([]);
    /* Where nobody has rules of iptables none are needed. */
    await node.nft("flush", "ruleset");
    expectSuccess(await call(node, "ADD", pod, {}, hidden));
    expectSuccess(await call(node, "CHECK", pod, {}, hidden));
    expect(await node.ruleset()).not.toContain("CNI-FORWARD");
    expect((await node.ruleset()).includes(pod.v4)).toBe(true);
  }));

test("where firewalld decides, an error says what to do, and backend iptables goes on without it", () =>
  withNode({}, async (node) => {
    const pod = await node.bridged();
    const advice = { details: expect.stringContaining("firewall-cmd --permanent --zone=trusted --add-source=SUBNET") };
    const asked = await call(node, "ADD", pod, { backend: "firewalld" });
    expect(asked.json).toMatchObject({ code: 100, msg: "the backend firewalld is not supported", ...advice });
    await node.nft("add", "table", "inet", "firewalld");
    const msg = "firewalld decides about forwarded packets on this node";
    expect((await call(node, "ADD", pod)).json).toMatchObject({ code: 100, msg, ...advice });
    const status = { cniVersion: "1.1.0", prevResult: undefined };
    expect((await call(node, "STATUS", pod, status)).json).toMatchObject({ code: 50, msg, ...advice });
    expect(await owned(node)).toEqual([]);
    await add(node, pod, { backend: "iptables" });
    expectSuccess(await call(node, "CHECK", pod, { backend: "iptables" }));
    await del(node, pod);
    expect(await owned(node)).toEqual([]);
  }));

/** A program that starts a plugin where /usr/sbin and /sbin are empty. */
async function withoutIptables(node: Node): Promise<string[]> {
  const empty = 'mount -t tmpfs none /usr/sbin; exec "$@"';
  const path = await node.sandbox.script("hidden", `#!/bin/sh\n${empty}\n`);
  return ["unshare", "--mount", "--", join(path, "hidden")];
}

test("twenty pods at once on a node without any rule: all pass, and each shared rule is there once", () =>
  withNode({}, async (node) => {
    const pods = await Promise.all(Array.from({ length: 20 }, () => node.bridged()));
    await node.nft("flush", "ruleset");
    await Promise.all(pods.map((pod) => add(node, pod, { ingressPolicy: "same-bridge" })));
    for (const family of FAMILIES) {
      const rules = (await filterRules(node, family)).filter((line) => line.startsWith("-A"));
      expect(rules).toHaveLength(3);
    }
    for (const pod of pods) expectSuccess(await call(node, "CHECK", pod, { ingressPolicy: "same-bridge" }));
    await Promise.all(pods.map((pod) => del(node, pod)));
    expect(await owned(node)).toEqual([]);
  }));

test("one process a call, once the rules of iptables are there", () =>
  withNode({}, async (node) => {
    await add(node, await node.bridged());
    const pod = await node.bridged();
    const log = join(node.sandbox.directory, "strace.log");
    for (const verb of ["ADD", "CHECK", "DEL"]) {
      const through = ["strace", "-f", "-qq", "-o", log, "-e", "trace=execve"];
      expectSuccess(await call(node, verb, pod, ISOLATED, { through }));
      expect((await readFile(log, "utf8")).match(/execve\(/g)).toHaveLength(1);
    }
  }));

test("tables of the older iptables do not lead it astray", (ctx) =>
  withNode({}, async (node) => {
    const pod = await node.bridged();
    const looked = [`--net=${node.host.path}`, "--", "iptables-legacy", "-S"];
    const { exitCode } = await runProgram("nsenter", looked, { reject: false });
    if (exitCode !== 0) ctx.skip("this kernel has no tables of the older iptables");
    await add(node, pod);
    await add(node, pod);
    expectSuccess(await call(node, "CHECK", pod));
    expect((await filterRules(node, 4)).filter((line) => line.startsWith("-A"))).toHaveLength(3);
  }));

describe("a configuration that is wrong", () => {
  const cases: readonly [string, JsonObject, string][] = [
    ["an unknown policy", { ingressPolicy: "none" }, 'unknown ingress policy: "none"'],
    ["no previous result", { prevResult: undefined }, "missing prevResult from earlier plugin"],
    ["a mark of portmap's", { forwardMarkBit: 13 }, '"forwardMarkBit": 13 is used by portmap'],
    ["a mark that is none", { forwardMarkBit: 32 }, "forwardMarkBit"],
    ["a chain of the kernel's", { iptablesAdminChainName: "FORWARD" }, "iptablesAdminChainName"],
    ["a chain that is an option", { iptablesAdminChainName: "-F" }, "iptablesAdminChainName"],
    ["a chain with a line break", { iptablesAdminChainName: "X\n-F" }, "iptablesAdminChainName"],
    [
      "a policy for an interface that is not there",
      {
        ...{ ingressPolicy: "same-bridge" },
        prevResult: { cniVersion: "1.0.0", interfaces: [{ name: "cni7" }], ips: [{ address: "10.88.0.9/24" }] },
      },
      "the first interface in prevResult, cni7, is no link of this node",
    ],
    [
      "a policy without an interface",
      { ingressPolicy: "isolated", prevResult: { cniVersion: "1.0.0", ips: [{ address: "10.88.0.9/24" }] } },
      'interface needs to be set for ingress policy "isolated", make sure to chain "firewall" plugin with "bridge"',
    ],
  ];

  test.each(cases)("%s changes nothing", (_what, extra, message) =>
    withNode({}, async (node) => {
      const pod = await node.bridged();
      const before = await node.ruleset();
      const { json } = await call(node, "ADD", pod, extra);
      expect(json).toMatchObject({ code: 7, msg: expect.stringContaining(message) });
      expect(await node.ruleset()).toBe(before);
    }),
  );

  test("a backend that nobody knows is as none, and told", () =>
    withNode({}, async (node) => {
      const result = await call(node, "ADD", await node.bridged(), { backend: "nftables" });
      expectSuccess(result);
      expect(result.stderr).toContain('the backend "nftables" is not known');
    }));
});

test("the result is that of the plugin before, with its DNS", () =>
  withNode({}, async (node) => {
    const pod = await node.bridged();
    const dns = { nameservers: ["10.0.0.53"], search: ["example.org"] };
    const prevResult = { ...pod.bridged, cniVersion: "1.0.0", dns };
    expect(await add(node, pod, { prevResult })).toEqual(expectedAt100(prevResult));
    expect(own(pod, 4)).toMatch(/^10\.88/);
  }));

/** Version 1.0.0 of a result has no MTU of interfaces. */
function expectedAt100(result: JsonObject): JsonObject {
  const interfaces = (result.interfaces as JsonObject[]).map(({ mtu: _mtu, ...others }) => others);
  return { ...result, interfaces };
}
