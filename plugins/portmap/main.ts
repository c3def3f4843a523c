/** The portmap plugin: ports of the host that lead to a pod's. It stands behind a plugin that makes the interface. */
import { explainedBackend, explainPlan, explainRemoval } from "../../lib/attachment/explain.ts";
import { attachmentOf, filterOwnerOf } from "../../lib/attachment/identity.ts";
import { requirePrevious } from "../../lib/attachment/previous.ts";
import { collectGarbage, detach } from "../../lib/attachment/removal.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import { reportLack } from "../../lib/cni/status.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CniError, CONFLICT, INVALID_CONFIG } from "../../lib/errors.ts";
import { type BackendName, checkBackend, chooseBackend } from "../../lib/filter/choose-backend.ts";
import type { ListenerPort } from "../../lib/filter/hostports.ts";
import { bridgedTrafficIsFiltered } from "../../lib/filter/kube-proxy.ts";
import { compileConditions } from "../../lib/filter/language.ts";
import { PacketFilter } from "../../lib/filter/packet-filter.ts";
import { RecordStore } from "../../lib/filter/store.ts";
import { LanguageError } from "../../lib/filter/values.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { throwIfInterrupted } from "../../lib/host/interrupt.ts";
import { listenersOn } from "../../lib/host/listeners.ts";
import { identify, tryOpenNamespace } from "../../lib/host/namespace.ts";
import { formatPrefix, type Prefix } from "../../lib/ip/address.ts";
import { getLinkByIndex, getLinkByName, type Link } from "../../lib/netlink/link.ts";
import { NFPROTO_INET } from "../../lib/netlink/nftables/objects.ts";
import { getRouteLink } from "../../lib/netlink/route.ts";
import { apply } from "../../lib/state/apply.ts";
import { compare } from "../../lib/state/compare.ts";
import { vethInto } from "../../lib/state/host-end.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import { OwnedFilter } from "../../lib/state/owned/filter.ts";
import type { Owned } from "../../lib/state/owned.ts";
import { repair } from "../../lib/state/repair.ts";
import * as sys from "../../lib/sys/sys.ts";
import { describeMapping, type PortmapConfig, readMappingsForRemoval, readPortmapConfig } from "./config.ts";
import { type PlanInput, type PodAddress, planPortmap, podAddresses } from "./plan.ts";

/**
 * How long the pod that is replaced may take to go: kubelets give a container two seconds to end even if the pod was deleted
 * by force (minimumGracePeriodInSeconds in pkg/kubelet/kuberuntime), then call DEL. Without waiting the kubelet would try
 * again in some 15 seconds.
 */
const PATIENCE_MS = 3000;
const PAUSE_US = 50_000;

/** Where portmap belongs. */
const ADVICE =
  "portmap publishes ports of an interface that a plugin before it has made; put it behind bridge in the list of plugins";

export const portmap: Plugin = {
  name: "portmap",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc,
  status,
  explain,
  repair,
};

function add(call: Call): Result {
  const config = checkedConfig(call);
  const previous = requirePrevious(call, ADVICE);
  if (config.mappings.length === 0) return previous;
  const kernel = Kernel.forHost();
  try {
    const input = planInput(kernel, call, config, previous, backendOf(kernel, config));
    const listeners = listenersBeside(config, input.pod, call.request.containerId);
    applyPatiently(kernel, planPortmap({ ...input, listeners }), call);
  } finally {
    kernel.close();
  }
  return previous;
}

/**
 * Applies a plan. Of pods that a controller replaces, the new one may come before the old one is gone: where a port is taken
 * it is tried again for a while, with nobody kept waiting for the lock meanwhile.
 */
function applyPatiently(kernel: Kernel, plan: readonly KernelObject[], call: Call): void {
  const patience = call.request.args.includes("K8S_POD_NAME=") ? PATIENCE_MS : 0;
  const end = sys.clockMs(sys.CLOCK_MONOTONIC) + patience;
  for (;;) {
    try {
      apply(kernel, plan);
      return;
    } catch (error) {
      if (!(error instanceof CniError) || error.code !== CONFLICT) throw error;
      if (sys.clockMs(sys.CLOCK_MONOTONIC) >= end) throw error;
    }
    sys.sleepUs(PAUSE_US);
    throwIfInterrupted();
  }
}

function check(call: Call): void {
  const config = checkedConfig(call);
  const previous = requirePrevious(call, ADVICE);
  if (config.mappings.length === 0) return;
  const kernel = Kernel.forHost();
  try {
    compare(kernel, planPortmap(planInput(kernel, call, config, previous, backendOf(kernel, config))));
  } finally {
    kernel.close();
  }
}

/** Whose ports they are has to be told by prevResult. */
function explain(call: Call): string[] {
  const { command, netns } = call.request;
  if (command !== "ADD") return explainRemoval(call, owned(false));
  const config = checkedConfig(call);
  if (config.mappings.length === 0) return ["# nothing: runtimeConfig.portMappings asks for no port"];
  const previous = requirePrevious(call, ADVICE);
  const kernel = Kernel.forHost();
  try {
    const backend = explainedBackend(kernel, config.backend);
    return explainPlan(kernel, planPortmap(planInput(kernel, call, config, previous, backend)), netns);
  } finally {
    kernel.close();
  }
}

/** Without mappings in the configuration only what is recorded of the attachment can be there. */
function del(call: Call): void {
  const search = readMappingsForRemoval(call).length > 0;
  if (search || RecordStore.has(filterOwnerOf(call, "portmap"))) detach(call, owned(search));
}

function gc(call: Call): void {
  collectGarbage(call, owned(false));
}

function owned(search: boolean): Owned[] {
  return [new OwnedFilter({ plugin: "portmap", reference: ["hostports"], search })];
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

/**
 * What programs of the host listen on by an address of their own, of the ports that are wanted on all addresses: it stays
 * theirs.
 * @throws CniError 102 if a program has all that a mapping asks for, unless the last one wins
 */
function listenersBeside(config: PortmapConfig, pod: readonly PodAddress[], containerId: string): ListenerPort[] {
  const has4 = pod.some(({ address }) => address.address.family === 4);
  const has6 = pod.some(({ address }) => address.address.family === 6);
  const kept: ListenerPort[] = [];
  for (const { protocol, hostIp, hostPort, family, index } of config.mappings) {
    const wants4 = has4 && family !== 6;
    const wants6 = has6 && family !== 4;
    /* By one address the last one gets it all. */
    if ((!wants4 && !wants6) || (hostIp !== null && config.lastWins)) continue;
    const both = wants4 && wants6 ? 0 : wants4 ? 4 : 6;
    const { taker, addresses } = listenersOn(protocol, hostIp, both, hostPort, containerId);
    for (const address of addresses) kept.push({ protocol, hostPort, address });
    if (taker === null || config.lastWins) continue;
    throw new CniError(
      CONFLICT,
      `host port ${protocol}/${hostPort} is taken by ${taker}`,
      `runtimeConfig.portMappings[${index}]: end that program or publish another port; with "conflicts": "last-wins" the pod gets the port`,
    );
  }
  return kept;
}

function backendOf(kernel: Kernel, config: PortmapConfig): BackendName {
  return chooseBackend(kernel.filter, config.backend).backend;
}

function planInput(
  kernel: Kernel,
  call: Call,
  config: PortmapConfig,
  previous: Result,
  backend: BackendName,
): PlanInput {
  const pod: PodAddress[] = [];
  let reflectingPort = "";
  const links: Link[] = [];
  const addresses = podAddresses(previous, call.request.ifname);
  requirePublished(config, addresses, call.request.ifname);
  const onHost = previous.interfaces.length > 0 && !previous.interfaces.some((item) => item.sandbox !== "");
  for (const address of addresses) {
    const index = getRouteLink(kernel.host, address.address);
    const known = links.find((other) => other.index === index) ?? null;
    const link = known ?? (index === 0 ? null : getLinkByIndex(kernel.host, index));
    if (link !== null) links.push(link);
    const bridged = link !== null && link.kind === "bridge";
    const filtered = bridged && bridgedTrafficIsFiltered(address.address.family);
    if (link === null && onHost) throw notThePods(address);
    pod.push({ address, link: link === null ? "" : link.name, bypassed: bridged && !filtered });
    if (link !== null && filtered && reflectingPort === "") reflectingPort = portOf(kernel, call, previous, link);
  }
  const { request } = call;
  return {
    config,
    backend,
    owner: filterOwnerOf(call, "portmap"),
    pod,
    reflectingPort,
    netns: identify(request.netns),
    timeMs: sinceBootMs(),
    listeners: [],
  };
}

/** An address that a result gives to a link of the host, and that leads nowhere: it is the host's own. */
function notThePods(address: Prefix): CniError {
  return new CniError(
    INVALID_CONFIG,
    `prevResult gives ${formatPrefix(address)} to an interface of the host, and no link leads there`,
    "it lists no interface in the container's namespace, so the pod's address cannot be told; the plugin before portmap has to list it",
  );
}

/** @throws CniError 7 if ports are asked for and none would be published */
function requirePublished(config: PortmapConfig, pod: readonly Prefix[], ifname: string): void {
  const published = config.mappings.some(({ family }) =>
    pod.some(({ address }) => family === 0 || family === address.family),
  );
  if (published) return;
  const [first] = config.mappings;
  const wanted = first === undefined ? "" : describeMapping(first);
  throw new CniError(
    INVALID_CONFIG,
    pod.length === 0
      ? `prevResult has no address of ${ifname}, and ports are to be published`
      : `${ifname} has no address of the IP version that its ports are published for`,
    `asked for ${wanted}; put portmap behind the plugin that gives the interface its addresses`,
  );
}

/**
 * The pod's port of the bridge: by its derived name, else one that a plugin before us reports and that leads into the
 * pod's namespace; "" if it cannot be told.
 */
function portOf(kernel: Kernel, call: Call, previous: Result, bridge: Link): string {
  const derived = portNamed(kernel, attachmentNames(attachmentOf(call)).hostLink, bridge);
  if (derived !== null) return derived.name;
  const namespace = tryOpenNamespace(call.request.netns);
  if (namespace === null) return "";
  try {
    for (const item of previous.interfaces) {
      const link = item.sandbox === "" ? portNamed(kernel, item.name, bridge) : null;
      if (link !== null && vethInto(kernel.host, link.index, namespace) !== null) return link.name;
    }
  } finally {
    sys.close(namespace.fd);
  }
  return "";
}

function portNamed(kernel: Kernel, name: string, bridge: Link): Link | null {
  const link = getLinkByName(kernel.host, name);
  if (link === null || link.port === null || link.master !== bridge.index) return null;
  kernel.note("host", link);
  return link;
}
