import { describe, expect, test } from "vitest";
import type { FilterRecord } from "../../lib/filter/record.ts";
import { type Address, parseAddress, parsePrefix } from "../../lib/ip/address.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { FirewallConfig } from "./config.ts";
import { addressesOf, type PlanInput, planFirewall } from "./plan.ts";

const CONFIG: FirewallConfig = { backend: "", adminChain: "CNI-ADMIN", policy: "", markBit: 12 };
const address = (text: string) => parseAddress(text) as Address;
const BRIDGE = { name: "cni0", isBridge: true, port: "veth1" };
const VETH = { name: "veth1", isBridge: false, port: "" };

function plan(input: Partial<PlanInput>): KernelObject[] {
  return planFirewall({
    config: CONFIG,
    owner: { network: "n1", containerId: "c1", ifname: "eth0", plugin: "firewall" },
    netns: { device: 4, inode: 7, path: "/run/netns/x" },
    timeMs: 1,
    addresses: [address("10.1.0.5"), address("fd00::5")],
    judged: [4, 6],
    link: null,
    ...input,
  });
}

function recordIn(objects: readonly KernelObject[]): FilterRecord {
  const filter = objects.find((object) => object.kind === "filter");
  if (filter === undefined) throw new Error("the plan has no part of the packet filter");
  return filter.record;
}

const elements = (objects: readonly KernelObject[]) =>
  recordIn(objects).elements.map(({ table, set, key, data }) => [table, set, key, data].join(" ").trim());

test("each address leads to the chain that marks, and both families have iptables' rules", () => {
  const objects = plan({});
  expect(elements(objects)).toEqual([
    "firewall accepted4 10.1.0.5 goto mark-12",
    "firewall accepted6 fd00::5 goto mark-12",
  ]);
  const record = recordIn(objects);
  expect(record.chains).toEqual([{ table: "firewall", name: "mark-12", rules: ["meta mark set mark | 4096"] }]);
  expect(record.iptables.map(({ family, rules }) => [family, rules.length])).toEqual([
    [4, 0],
    [6, 0],
  ]);
});

test("rules of iptables are only for families that it decides about and the pod has", () => {
  const families = (input: Partial<PlanInput>) => recordIn(plan(input)).iptables.map(({ family }) => family);
  expect(families({ judged: [] })).toEqual([]);
  expect(families({ judged: [6] })).toEqual([6]);
  expect(families({ addresses: [address("10.1.0.5")] })).toEqual([4]);
});

test("the highest bit is no negative number", () => {
  const record = recordIn(plan({ config: { ...CONFIG, markBit: 31 } }));
  expect(record.chains[0]?.rules).toEqual(["meta mark set mark | 2147483648"]);
  expect(record.iptables[0]?.sharedRules[2]?.text).toBe("-m mark --mark 0x80000000/0x80000000 -j ACCEPT");
});

describe("a policy", () => {
  const withPolicy = (policy: FirewallConfig["policy"], link: PlanInput["link"]) =>
    plan({ config: { ...CONFIG, policy }, link, addresses: [] });

  test("of a bridge is the bridge's, before anything is accepted; what isolates a pod is its own", () => {
    expect(plan({ config: { ...CONFIG, policy: "same-bridge" }, link: BRIDGE })[0]).toEqual({
      ...{ kind: "ingress-policy", bridge: "cni0", policy: "same-bridge" },
    });
    expect(withPolicy("open", BRIDGE).map(({ kind }) => kind)).toEqual(["ingress-policy"]);
    expect(elements(withPolicy("isolated", BRIDGE))).toEqual(["isolation isolated_ports veth1"]);
  });

  test("of a link that leads to one pod is the pod's", () => {
    expect(withPolicy("same-bridge", VETH).map(({ kind }) => kind)).toEqual(["filter"]);
    expect(elements(withPolicy("isolated", VETH))).toEqual([
      "firewall within_link veth1 . veth1 drop",
      "firewall policy_links veth1",
    ]);
    expect(withPolicy("open", VETH)).toEqual([]);
  });

  test("without one, and without addresses, there is nothing to do", () => {
    expect(withPolicy("", BRIDGE)).toEqual([]);
  });
});

test("an address counts once, whatever the length of its prefix", () => {
  const ip = (text: string) => ({ address: parsePrefix(text) as never, gateway: null, interface: null });
  expect(addressesOf([ip("10.1.0.5/24"), ip("10.1.0.5/32"), ip("fd00::5/64")])).toEqual([
    address("10.1.0.5"),
    address("fd00::5"),
  ]);
});
