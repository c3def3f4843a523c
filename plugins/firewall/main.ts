/**
 * The firewall plugin: lets a container's packets through the host's forward filter, and keeps bridges apart. It stands behind
 * a plugin that makes the interface.
 */
import { explainPlan, explainRemoval } from "../../lib/attachment/explain.ts";
import { attachmentOf, filterOwnerOf } from "../../lib/attachment/identity.ts";
import { reportedLinks } from "../../lib/attachment/previous.ts";
import { collectGarbage, detach } from "../../lib/attachment/removal.ts";
import { validateInterfaceName } from "../../lib/cni/environment.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import { reportLack } from "../../lib/cni/status.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";
import { judgedFamilies, refuseFirewalld } from "../../lib/filter/forward-filter.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { identify } from "../../lib/host/namespace.ts";
import type { Family } from "../../lib/ip/address.ts";
import { getLinkByName, type Link } from "../../lib/netlink/link.ts";
import { apply } from "../../lib/state/apply.ts";
import { compare } from "../../lib/state/compare.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import { OwnedFilter } from "../../lib/state/owned/filter.ts";
import { GonePolicies } from "../../lib/state/owned/ingress-policies.ts";
import type { Owned } from "../../lib/state/owned.ts";
import { repair } from "../../lib/state/repair.ts";
import { clip } from "../../lib/text.ts";
import { type FirewallConfig, readFirewallConfig } from "./config.ts";
import { addressesOf, type NetworkLink, planFirewall } from "./plan.ts";

export const firewall: Plugin = {
  name: "firewall",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc,
  status,
  explain,
  repair,
};

const FAMILIES: readonly Family[] = [4, 6];

function add(call: Call): Result {
  const config = readFirewallConfig(call);
  const previous = previousOf(call);
  const kernel = Kernel.forHost();
  try {
    apply(kernel, planned(kernel, call, config, previous));
  } finally {
    kernel.close();
  }
  return previous;
}

function check(call: Call): void {
  const config = readFirewallConfig(call);
  const previous = previousOf(call);
  const kernel = Kernel.forHost();
  try {
    compare(kernel, planned(kernel, call, config, previous));
  } finally {
    kernel.close();
  }
}

function del(call: Call): void {
  detach(call, owned());
}

function gc(call: Call): void {
  collectGarbage(call, owned());
}

function owned(): Owned[] {
  return [new OwnedFilter({ plugin: "firewall", reference: [], search: true }), new GonePolicies()];
}

/** Puts back our tables if somebody has flushed them. */
function status(call: Call): void {
  const config = readFirewallConfig(call);
  const kernel = Kernel.forHost();
  try {
    kernel.filter.requireNftables();
    refuseFirewalld(kernel.filter.socket, config.backend);
    judgedFamilies(kernel.filter.socket, FAMILIES);
    kernel.filter.restore(["firewall"]);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    reportLack("firewall", error, true, "");
  } finally {
    kernel.close();
  }
}

function explain(call: Call): string[] {
  const { command, netns } = call.request;
  if (command !== "ADD") return explainRemoval(call, owned());
  const config = readFirewallConfig(call);
  const previous = previousOf(call);
  const kernel = Kernel.forHost();
  try {
    return explainPlan(kernel, planned(kernel, call, config, previous), netns);
  } finally {
    kernel.close();
  }
}

/** @throws CniError 7 */
function previousOf(call: Call): Result {
  const previous = call.config.prevResult();
  if (previous !== null) return previous;
  throw new CniError(
    INVALID_CONFIG,
    "missing prevResult from earlier plugin",
    "firewall lets packets of an interface through that a plugin before it has made; put it behind bridge or ptp in the list of plugins",
  );
}

/** @throws CniError 7, 100 */
function planned(kernel: Kernel, call: Call, config: FirewallConfig, previous: Result): KernelObject[] {
  refuseFirewalld(kernel.filter.socket, config.backend);
  const addresses = addressesOf(previous.ips);
  const families = FAMILIES.filter((family) => addresses.some((address) => address.family === family));
  return planFirewall({
    config,
    owner: filterOwnerOf(call, "firewall"),
    netns: identify(call.request.netns),
    timeMs: sinceBootMs(),
    addresses,
    judged: judgedFamilies(kernel.filter.socket, families),
    link: networkLink(kernel, call, config, previous),
  });
}

/** The link that the policy is for; null without a policy. @throws CniError 7 if the previous result does not tell it */
function networkLink(kernel: Kernel, call: Call, config: FirewallConfig, previous: Result): NetworkLink | null {
  if (config.policy === "") return null;
  const [first] = previous.interfaces;
  /* Inside a container it is nothing of the node's, which may have another link of that name. */
  if (first === undefined || first.name === "" || first.sandbox !== "") {
    if (config.policy === "open") return null;
    throw new CniError(
      INVALID_CONFIG,
      `interface needs to be set for ingress policy "${config.policy}", make sure to chain "firewall" plugin with "bridge"`,
      "the first interface in prevResult is the bridge; without it nothing can be kept apart",
    );
  }
  requireLinkName(first.name);
  const link = getLinkByName(kernel.host, first.name);
  if (link === null) {
    /* What was kept apart by that name may be gone. */
    if (config.policy === "open") return null;
    throw new CniError(
      INVALID_CONFIG,
      `the first interface in prevResult, ${first.name}, is no link of this node, and ingressPolicy is "${config.policy}"`,
      "pods are kept apart by the link that leads to them; put firewall behind bridge or ptp",
    );
  }
  if (link.kind !== "bridge") return { name: first.name, isBridge: false, port: "" };
  return { name: first.name, isBridge: true, port: portOf(kernel, call, config, previous, link) };
}

/** @throws CniError 7 for a name that the kernel gives to no link, or that nft takes for a pattern */
function requireLinkName(name: string): void {
  let problem = name.includes("*") ? "* stands for any name in rules" : "";
  try {
    validateInterfaceName(name);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    problem = error.message;
  }
  if (problem === "") return;
  throw new CniError(
    INVALID_CONFIG,
    `prevResult has an interface "${clip(name)}": ${problem}`,
    "the first one is the bridge",
  );
}

/** The pod's port of the bridge. @throws CniError 7 if pods are to be isolated, and the previous result does not tell it */
function portOf(kernel: Kernel, call: Call, config: FirewallConfig, previous: Result, bridge: Link): string {
  const { ifname, netns } = call.request;
  const name = reportedLinks(previous, attachmentNames(attachmentOf(call)), ifname, netns).outside.name;
  const port = getLinkByName(kernel.host, name);
  if (port !== null && port.master === bridge.index) return name;
  if (config.policy !== "isolated") return "";
  throw new CniError(
    INVALID_CONFIG,
    `prevResult does not tell the pod's port of the bridge ${bridge.name}, and its pods are to be isolated`,
    "put firewall behind the plugin bridge, which lists the host's end of the pod's veth pair",
  );
}
