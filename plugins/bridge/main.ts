/** The bridge plugin: a container's interface as a port of a bridge on the node. */
import { readHostLocal } from "../../ipam/host-local/config.ts";
import { previewLease } from "../../ipam/preview.ts";
import { explainedBackend } from "../../lib/attachment/explain.ts";
import { attach, collectAndRelease, detachAndRelease, explainInterface } from "../../lib/attachment/interface.ts";
import { refuseSecond, withLease } from "../../lib/attachment/lease.ts";
import { masqueradeBackend } from "../../lib/attachment/masquerade.ts";
import { requireResult } from "../../lib/attachment/previous.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import { checkAddressless, type Result, type ResultInterface, resultInterface } from "../../lib/cni/result.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CniError, NOT_AVAILABLE } from "../../lib/errors.ts";
import { checkBackend } from "../../lib/filter/choose-backend.ts";
import { serviceNote } from "../../lib/filter/kube-proxy.ts";
import { RecordStore } from "../../lib/filter/store.ts";
import { warn } from "../../lib/host/io.ts";
import type { Prefix } from "../../lib/ip/address.ts";
import { formatMac } from "../../lib/ip/mac.ts";
import { getLinkByName, listLinks } from "../../lib/netlink/link.ts";
import { compare } from "../../lib/state/compare.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { requireUsable, restoreMac } from "../../lib/state/kinds/bridge.ts";
import { checkGateways } from "../../lib/state/kinds/gateways.ts";
import { applyGuard } from "../../lib/state/kinds/guard.ts";
import { OwnedFilter } from "../../lib/state/owned/filter.ts";
import { OwnedVeth } from "../../lib/state/owned/veth.ts";
import type { Owned } from "../../lib/state/owned.ts";
import { repair } from "../../lib/state/repair.ts";
import { type BridgeConfig, mayUseFilter, readBridgeConfig } from "./config.ts";
import { inputOfResult, planInput } from "./input.ts";
import { gatewayLink, type PlanInput, planBridge, planResult } from "./plan.ts";

/** BR_MAX_PORTS in net/bridge/br_private.h; port numbers begin at 1. */
const MAX_PORTS = 1023;

export const bridge: Plugin = {
  name: "bridge",
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
  const config = readBridgeConfig(call);
  if (config.ipam === "") checkAddressless(call.config.cniVersion);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    refuseSecond(kernel, call.request.ifname);
    return withLease(call, config.ipam, kernel, (lease) => {
      const input = planInput(call, config, lease, kernel, masqueradeBackend(kernel, config));
      const made = attach(kernel, planBridge(input), () => interfacesOf(kernel, input, call.request.netns));
      return planResult(input, made, lease);
    });
  } finally {
    kernel.close();
  }
}

/** The interfaces that were made. Both ends of the pair have one MTU, and the container's the address it was made with. */
function interfacesOf(kernel: Kernel, input: PlanInput, sandbox: string): ResultInterface[] {
  const { config, names, ifname } = input;
  const before = kernel.seen("host", config.bridge);
  const found = kernel.link("host", config.bridge);
  const isGateway = config.isGateway && gatewayLink(config) === config.bridge;
  const bridgeLink = isGateway ? restoreMac(kernel, before, found) : found;
  const hostLink = kernel.seen("host", names.hostLink) ?? kernel.link("host", names.hostLink);
  const containerMac = formatMac(config.mac ?? names.containerMac);
  const interfaces = [
    resultInterface(bridgeLink.name, bridgeLink.mac, bridgeLink.mtu, ""),
    resultInterface(hostLink.name, hostLink.mac, hostLink.mtu, ""),
    resultInterface(ifname, containerMac, hostLink.mtu, sandbox),
  ];
  const gateway = gatewayLink(config);
  if (gateway !== config.bridge && config.isGateway && input.ips.length > 0) {
    const link = kernel.link("host", gateway);
    interfaces.push(resultInterface(link.name, link.mac, link.mtu, ""));
  }
  return interfaces;
}

function check(call: Call): void {
  const config = readBridgeConfig(call);
  const previous = requireResult(call);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    if (config.ipam !== "") call.delegates.check(config.ipam);
    compare(kernel, planBridge(inputOfResult(kernel, call, config, previous)));
  } finally {
    kernel.close();
  }
}

/** With the addresses of prevResult; without one, with those that IPAM would give. */
function explain(call: Call): string[] {
  return explainInterface(call, owned(false), (kernel) => {
    const config = readBridgeConfig(call);
    const backend = explainedBackend(kernel, config.ipMasqBackend);
    const lease = call.config.prevResult() ?? previewLease(call, config.ipam);
    return planBridge(planInput(call, config, lease, kernel, backend));
  });
}

function del(call: Call): void {
  detachAndRelease(call, owned(mayUseFilter(call.config)));
}

function gc(call: Call): void {
  collectAndRelease(call, owned(false));
}

/** The links last: the kernel clears up after both at the same time, in what the second one takes anyway. */
function owned(search: boolean): Owned[] {
  return [new OwnedFilter({ plugin: "bridge", reference: ["masquerade", "spoofcheck"], search }), new OwnedVeth()];
}

function status(call: Call): void {
  const config = readBridgeConfig(call);
  const kernel = Kernel.forHost();
  try {
    if (config.ipMasq) checkBackend(kernel.filter, config.ipMasqBackend);
    if (config.ipMasq || config.macSpoofCheck || config.ipSpoofCheck) RecordStore.requireWritable();
    const link = getLinkByName(kernel.host, config.bridge);
    if (link !== null) requireUsable(link, config.filtersVlans);
    if (link !== null && config.isGateway) checkGatewayAddresses(kernel, call, config);
    const ports = link === null ? 0 : listLinks(kernel.host, "veth", link.index).length;
    if (ports > 0) applyGuard(kernel);
    const note = config.isGateway ? serviceNote(kernel.filter.socket) : "";
    if (note !== "") warn(`bridge: ${note}\n`);
    if (ports >= MAX_PORTS) {
      throw notAvailable(`bridge ${config.bridge} is full`, `it has ${ports} ports of at most ${MAX_PORTS}`);
    }
  } catch (error) {
    if (error instanceof CniError) throw notAvailable(error.message, error.details);
    throw error;
  } finally {
    kernel.close();
  }
  if (config.ipam !== "") call.delegates.status(config.ipam);
}

/** Where host-local's configuration tells which gateways an ADD will want, their place must be free. @throws CniError 102 */
function checkGatewayAddresses(kernel: Kernel, call: Call, config: BridgeConfig): void {
  const link = gatewayLink(config);
  const { all, certain } = expectedGateways(call, config);
  if (certain.length === 0 || getLinkByName(kernel.host, link) === null) return;
  const { bridge, forceAddress: force } = config;
  checkGateways(kernel, { kind: "gateways", link, addresses: all, bridge, port: "", force }, certain);
}

/** The gateways of host-local's ranges. Of a set with several of them an ADD has one. */
function expectedGateways(call: Call, config: BridgeConfig): { all: Prefix[]; certain: Prefix[] } {
  const all: Prefix[] = [];
  const certain: Prefix[] = [];
  if (config.ipam !== "host-local") return { all, certain };
  try {
    for (const { ranges } of readHostLocal(call.config, "").sets) {
      for (const { gateway, subnet } of ranges) {
        if (gateway === null) continue;
        const prefix: Prefix = { address: gateway, length: subnet.length };
        all.push(prefix);
        if (ranges.length === 1) certain.push(prefix);
      }
    }
  } catch (error) {
    /* Host-local itself says what is wrong. */
    if (!(error instanceof CniError)) throw error;
  }
  return { all, certain };
}

function notAvailable(message: string, details: string): CniError {
  return new CniError(NOT_AVAILABLE, message, details);
}
