/** The portmap plugin: ports of the host that lead to a pod's. It stands behind a plugin that makes the interface. */
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import { reportLack } from "../../lib/cni/status.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CniError, CONFLICT, INVALID_CONFIG } from "../../lib/errors.ts";
import { checkBackend, chooseBackend } from "../../lib/filter/backend.ts";
import { hostPortsIn } from "../../lib/filter/hostports.ts";
import { compileConditions } from "../../lib/filter/language.ts";
import { PacketFilter } from "../../lib/filter/packet-filter.ts";
import type { FilterOwner } from "../../lib/filter/record.ts";
import { RecordStore } from "../../lib/filter/store.ts";
import { LanguageError } from "../../lib/filter/values.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { takenBy } from "../../lib/host/listeners.ts";
import { identify } from "../../lib/host/namespace.ts";
import { readSysctl } from "../../lib/host/sysctl.ts";
import type { Prefix } from "../../lib/ip/address.ts";
import { getLinkByIndex, getLinkByName, type Link } from "../../lib/netlink/link.ts";
import { NFPROTO_INET } from "../../lib/netlink/nftables/objects.ts";
import { getRouteLink } from "../../lib/netlink/route.ts";
import { apply } from "../../lib/state/apply.ts";
import { compare } from "../../lib/state/compare.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import { repair } from "../../lib/state/repair.ts";
import { type PortmapConfig, readMappingsForRemoval, readPortmapConfig } from "./config.ts";
import { type PlanInput, type PodAddress, planPortmap, podAddresses } from "./plan.ts";

export const portmap: Plugin = {
  name: "portmap",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc,
  status,
  repair,
};

function add(call: Call): Result {
  const config = checkedConfig(call);
  const previous = previousResult(call);
  if (config.mappings.length === 0) return previous;
  if (!config.lastWins) refuseTaken(config, call.request.containerId);
  const kernel = new Kernel(null);
  try {
    apply(kernel, planPortmap(planInput(kernel, call, config, previous)));
  } finally {
    kernel.close();
  }
  return previous;
}

function check(call: Call): void {
  const config = checkedConfig(call);
  const previous = previousResult(call);
  if (config.mappings.length === 0) return;
  const kernel = new Kernel(null);
  try {
    compare(kernel, planPortmap(planInput(kernel, call, config, previous)));
  } finally {
    kernel.close();
  }
}

/** Needs neither mappings nor previous result: what is recorded of the attachment goes. Without either there is nothing to do. */
function del(call: Call): void {
  const owner = ownerOf(call);
  const published = readMappingsForRemoval(call).length > 0;
  if (!published && !RecordStore.has(owner)) return;
  const filter = new PacketFilter();
  try {
    const record = filter.remove(owner, published);
    filter.removeReference(owner, ["hostports"]);
    if (record !== null) filter.forgetTranslated(hostPortsIn([...record.elements, ...record.claims]));
  } finally {
    filter.close();
  }
}

function gc(call: Call): void {
  const valid = call.config.validAttachments();
  if (valid === null) return;
  const keep = new Set<string>();
  for (const item of valid) keep.add(`${item.containerId} ${item.ifname}`);
  const filter = new PacketFilter();
  try {
    const removed = filter.sweep(call.config.name, "portmap", keep);
    for (const record of removed) filter.forgetTranslated(hostPortsIn([...record.elements, ...record.claims]));
  } finally {
    filter.close();
  }
}

/** What the packet filter lacks is a failure where each pod has ports. Otherwise pods without one are attached all the same. */
function status(call: Call): void {
  const config = checkedConfig(call);
  const filter = new PacketFilter();
  try {
    /* Whoever flushed ours flushed the rest as well. */
    if (checkBackend(filter, config.backend)) repair();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    reportLack("portmap", error, config.mappings.length > 0, "pods with ports");
  } finally {
    filter.close();
  }
}

/** The configuration, with conditions that the packet filter understands. @throws CniError 7 */
function checkedConfig(call: Call): PortmapConfig {
  const config = readPortmapConfig(call);
  if (config.backend === "iptables") return config;
  checkConditions(call, "conditionsV4", "ipv4", config.conditions4);
  checkConditions(call, "conditionsV6", "ipv6", config.conditions6);
  return config;
}

function checkConditions(call: Call, key: string, protocol: string, tokens: readonly string[]): void {
  if (tokens.length === 0) return;
  try {
    compileConditions(NFPROTO_INET, ["meta", "nfproto", protocol, ...tokens]);
  } catch (error) {
    if (!(error instanceof LanguageError)) throw error;
    throw call.config.fields.invalid(key, `${error.message}${error.details === "" ? "" : `: ${error.details}`}`);
  }
}

function previousResult(call: Call): Result {
  const previous = call.config.prevResult();
  if (previous !== null) return previous;
  throw new CniError(
    INVALID_CONFIG,
    "must be called as chained plugin",
    "portmap publishes ports of an interface that a plugin before it has made; put it behind bridge in the list of plugins",
  );
}

/** A port that a program of the host listens on would be lost to it. */
function refuseTaken(config: PortmapConfig, containerId: string): void {
  for (const mapping of config.mappings) {
    const taker = takenBy(mapping.protocol, mapping.hostIp, mapping.family, mapping.hostPort, containerId);
    if (taker === null) continue;
    throw new CniError(
      CONFLICT,
      `host port ${mapping.protocol}/${mapping.hostPort} is taken by ${taker}`,
      `runtimeConfig.portMappings[${mapping.index}]: end that program or publish another port; with "conflicts": "last-wins" the pod gets the port`,
    );
  }
}

function planInput(kernel: Kernel, call: Call, config: PortmapConfig, previous: Result): PlanInput {
  const pod: PodAddress[] = [];
  let reflectingPort = "";
  const links: Link[] = [];
  for (const address of podAddresses(previous, call.request.ifname)) {
    const index = getRouteLink(kernel.host, address.address);
    const known = links.find((other) => other.index === index) ?? null;
    const link = known ?? (index === 0 ? null : getLinkByIndex(kernel.host, index));
    if (link !== null) links.push(link);
    const bridged = link !== null && link.kind === "bridge";
    const filtered = bridged && bridgedTrafficIsFiltered(address);
    pod.push({ address, link: link === null ? "" : link.name, bypassed: bridged && !filtered });
    if (link !== null && filtered && reflectingPort === "") reflectingPort = portOf(kernel, call, previous, link);
  }
  const { request } = call;
  const { backend } = chooseBackend(kernel.filter, config.backend);
  return {
    config,
    backend,
    owner: ownerOf(call),
    pod,
    reflectingPort,
    netns: identify(request.netns),
    timeMs: sinceBootMs(),
  };
}

/** Whether the bridges of this namespace hand their traffic to the IP packet filter (br_netfilter). */
function bridgedTrafficIsFiltered(address: Prefix): boolean {
  const key = address.address.family === 4 ? "bridge-nf-call-iptables" : "bridge-nf-call-ip6tables";
  return readSysctl(["net", "bridge", key]) === "1";
}

/** The pod's port of the bridge: by its derived name, else the one that a plugin before us reports; "" if it cannot be told. */
function portOf(kernel: Kernel, call: Call, previous: Result, bridge: Link): string {
  const { network, containerId, ifname } = ownerOf(call);
  const names = [attachmentNames({ network, containerId, ifname }).hostLink];
  for (const item of previous.interfaces) {
    if (item.sandbox === "") names.push(item.name);
  }
  for (const name of names) {
    const link = getLinkByName(kernel.host, name);
    if (link === null || link.port === null || link.master !== bridge.index) continue;
    kernel.note("host", link);
    return link.name;
  }
  return "";
}

function ownerOf(call: Call): FilterOwner {
  const { containerId, ifname } = call.request;
  return { network: call.config.name, containerId, ifname, plugin: "portmap" };
}
