/**
 * Kernels that lack a module, one after another: it is unloaded, and modprobe is kept from finding it. Every error must name
 * what is missing, leave nothing, and be gone with the module back.
 */
import { rm, writeFile } from "node:fs/promises";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { type CallResult, expectError, expectSuccess, type JsonObject, type Netns } from "../../../testbed/harness.ts";
import { addressOf, BRIDGE, type Plugin, type SmallNode, withNode } from "./lab.ts";

const RULES = "/etc/modprobe.d/podwire-missing.conf";

/** Takes modules away from this kernel, runs a test, and lets them come back. */
async function without(modules: readonly string[], body: () => Promise<void>): Promise<void> {
  await writeFile(RULES, modules.map((name) => `install ${name} /bin/false\n`).join(""));
  try {
    /* What uses them goes first; namespaces that were just removed may still hold them. */
    for (let tries = 0; tries < 20; tries += 1) {
      const loaded = await loadedModules();
      const stay = modules.filter((name) => loaded.has(name));
      if (stay.length === 0) break;
      for (const name of stay) await unload(name, loaded);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const loaded = await loadedModules();
    expect(modules.filter((name) => loaded.has(name))).toEqual([]);
    await body();
  } finally {
    await rm(RULES);
  }
}

/** The modules that are loaded, with those that use each. */
async function loadedModules(): Promise<Map<string, string[]>> {
  const { stdout } = await execa("cat", ["/proc/modules"]);
  return new Map(
    stdout.split("\n").map((line) => {
      const [name = "", , , users = "-"] = line.split(" ");
      return [name, users.split(",").filter((user) => user !== "" && user !== "-")];
    }),
  );
}

async function unload(name: string, loaded: Map<string, string[]>): Promise<void> {
  for (const user of loaded.get(name) ?? []) await unload(user, loaded);
  await execa("rmmod", [name], { reject: false });
}

interface Case {
  readonly modules: readonly string[];
  readonly plugin: Plugin;
  readonly extra?: JsonObject;
  readonly msg: RegExp;
  readonly details: RegExp;
  /** Whether STATUS can know without making anything. */
  readonly status?: boolean;
}

const NO_NFTABLES = { msg: /nf_tables/, details: /CONFIG_NF_TABLES \(module nf_tables\)/ };
const RULE = { msg: /^cannot (make|add)/ };

const CASES: readonly Case[] = [
  { modules: ["bridge"], plugin: "bridge", msg: /cannot make bridges/, details: /CONFIG_BRIDGE \(module bridge\)/ },
  {
    ...{ modules: ["bridge"], plugin: "bridge", extra: { vlan: 100 } },
    ...{ msg: /cannot make bridges/, details: /CONFIG_BRIDGE \(module bridge\)/ },
  },
  { modules: ["veth"], plugin: "bridge", msg: /cannot make veth/, details: /CONFIG_VETH \(module veth\)/ },
  /* Where nf_tables is missing iptables is tried, and that is nothing else than nf_tables today. */
  { modules: ["nf_tables"], plugin: "bridge", extra: { ipMasq: true }, ...NO_NFTABLES },
  { modules: ["nf_tables"], plugin: "bridge", extra: { macspoofchk: true }, ...NO_NFTABLES },
  { modules: ["nf_tables"], plugin: "portmap", ...NO_NFTABLES },
  { modules: ["nft_chain_nat"], plugin: "portmap", ...RULE, details: /nft_chain_nat/ },
  { modules: ["nft_nat"], plugin: "portmap", ...RULE, details: /nft_nat/ },
  { modules: ["nft_masq"], plugin: "bridge", extra: { ipMasq: true }, ...RULE, details: /nft_masq/ },
  { modules: ["nft_ct"], plugin: "portmap", ...RULE, details: /nft_ct/ },
  { modules: ["nft_fib_inet"], plugin: "portmap", ...RULE, details: /nft_fib/ },
  {
    modules: ["sch_tbf"],
    plugin: "bandwidth",
    msg: /lacks the queueing discipline tbf/,
    details: /module sch_tbf/,
    status: true,
  },
  { modules: ["ifb"], plugin: "bandwidth", msg: /lacks ifb links/, details: /module ifb/, status: true },
  {
    modules: ["sch_ingress"],
    plugin: "bandwidth",
    msg: /discipline clsact/,
    details: /module sch_ingress/,
    status: true,
  },
  {
    modules: ["act_mirred"],
    plugin: "bandwidth",
    msg: /lacks the action mirred/,
    details: /module act_mirred/,
    status: true,
  },
  {
    ...{ modules: ["cls_matchall", "cls_u32"], plugin: "bandwidth" },
    ...{ msg: /lacks filters of kind u32/, details: /module cls_u32.*matchall/, status: true },
  },
];

/** ADD of the plugin for a pod that has all before it in the chain. */
async function attach(node: SmallNode, pod: Netns, { plugin, extra }: Case): Promise<CallResult> {
  if (plugin === "bridge") return node.run(plugin, "ADD", pod, extra);
  const prevResult = expectSuccess(await node.run("bridge", "ADD", pod));
  return node.run(plugin, "ADD", pod, { prevResult, ...extra });
}

async function detach(node: SmallNode, pod: Netns, { plugin, extra }: Case): Promise<void> {
  expectSuccess(await node.run(plugin, "DEL", pod, extra));
  if (plugin !== "bridge") expectSuccess(await node.run("bridge", "DEL", pod));
}

describe.for(CASES)("$plugin $extra without $modules", (example) => {
  test("the error names it, nothing is left, and with it back both work", () =>
    withNode(async (node) => {
      const pod = await node.sandbox.pod();
      await without(example.modules, async () => {
        const error = { msg: example.msg, details: example.details };
        expectError(await attach(node, pod, example), { code: 100, ...error });
        if (example.status)
          expectError(await node.run(example.plugin, "STATUS", pod, example.extra), { code: 50, ...error });
        await detach(node, pod, example);
        expect(await pod.links()).toEqual(["lo"]);
        expect((await node.host.links()).filter((link) => link !== BRIDGE)).toEqual(["lo"]);
        await node.host.exec("ip", ["link", "del", BRIDGE], { reject: false });
        await node.host.exec("nft", ["flush", "ruleset"], { reject: false });
      });
      expectSuccess(await node.run(example.plugin, "STATUS", pod, example.extra));
      expectSuccess(await attach(node, pod, example));
      await detach(node, pod, example);
    }));
});

test("bridge alone takes no packet filter", () =>
  withNode((node) =>
    without(["nf_tables"], async () => {
      const [a, b] = [await node.pod(), await node.pod()];
      expect(await a.pod.ping(addressOf(b.result))).toBe(true);
      expectSuccess(await node.run("bridge", "CHECK", a.pod, { prevResult: a.result }));
      expectSuccess(await node.run("bridge", "DEL", a.pod));
    }),
  ));

test("bandwidth does with u32 where there is no matchall", () =>
  withNode((node) =>
    without(["cls_matchall"], async () => {
      const { pod, result } = await node.pod();
      const limited = expectSuccess(await node.run("bandwidth", "ADD", pod, { prevResult: result }));
      expectSuccess(await node.run("bandwidth", "CHECK", pod, { prevResult: limited }));
      expect((await loadedModules()).has("cls_u32")).toBe(true);
    }),
  ));

test("vxlan-overlay without vxlan: the error names it, and with it back it works", () =>
  withNode(async (node) => {
    await node.host.ip("link", "add", "out", "type", "dummy");
    await node.host.ip("address", "add", "192.0.2.1/24", "dev", "out");
    await node.host.ip("link", "set", "out", "up");
    const config = {
      ...{ cniVersion: "1.1.0", name: "pwt-net", type: "vxlan-overlay", podCIDRs: ["10.244.1.0/24"] },
      peers: [1, 2].map((peer) => ({ nodeIP: `192.0.2.${peer}`, podCIDRs: [`10.244.${peer}.0/24`] })),
    };
    const status = () => node.call({ plugin: "vxlan-overlay", command: "STATUS", config });
    await without(["vxlan"], async () => {
      expectError(await status(), { code: 50, msg: /cannot make VXLAN/, details: /CONFIG_VXLAN \(module vxlan\)/ });
      expect(await node.host.links()).toEqual(["lo", "out"]);
    });
    expectSuccess(await status());
  }));
