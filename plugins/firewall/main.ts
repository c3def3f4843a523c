/**
 * The firewall plugin: lets a container's packets through the host's forward filter, and keeps bridges apart. It stands behind
 * a plugin that makes the interface.
 */
import { explainPlan, explainRemoval } from "../../lib/attachment/explain.ts";
import { filterOwnerOf } from "../../lib/attachment/identity.ts";
import { requirePrevious } from "../../lib/attachment/previous.ts";
import { collectGarbage, detach } from "../../lib/attachment/removal.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import { reportLack } from "../../lib/cni/status.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { judgedFamilies, refuseFirewalld } from "../../lib/filter/forward-filter.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { identify } from "../../lib/host/namespace.ts";
import type { Family } from "../../lib/ip/address.ts";
import { apply } from "../../lib/state/apply.ts";
import { compare } from "../../lib/state/compare.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import { OwnedFilter } from "../../lib/state/owned/filter.ts";
import { GonePolicies } from "../../lib/state/owned/ingress-policies.ts";
import type { Owned } from "../../lib/state/owned.ts";
import { repair } from "../../lib/state/repair.ts";
import { type FirewallConfig, readFirewallConfig } from "./config.ts";
import { networkLink } from "./link.ts";
import { addressesOf, planFirewall } from "./plan.ts";

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

/** Where firewall belongs. */
const ADVICE =
  "firewall lets packets of an interface through that a plugin before it has made; put it behind bridge or ptp in the list of plugins";

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
  return requirePrevious(call, ADVICE, "missing prevResult from earlier plugin");
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
