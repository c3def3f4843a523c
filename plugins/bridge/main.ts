/** The bridge plugin: a container's interface as a port of a bridge on the node. */
import { readHostLocal } from "../../ipam/host-local/config.ts";
import { attachmentOf, filterOwnerOf } from "../../lib/attachment/identity.ts";
import { collectGarbage, detach } from "../../lib/attachment/removal.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import {
  checkAddressless,
  EMPTY_RESULT,
  type Result,
  type ResultInterface,
  resultInterface,
} from "../../lib/cni/result.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CniError, CONFLICT, INVALID_CONFIG, KERNEL_REFUSED, NOT_AVAILABLE } from "../../lib/errors.ts";
import { type BackendName, checkBackend, chooseBackend } from "../../lib/filter/choose-backend.ts";
import { serviceNote } from "../../lib/filter/kube-proxy.ts";
import { RecordStore } from "../../lib/filter/store.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { quietly, warn } from "../../lib/host/io.ts";
import { type Namespace, type NamespaceIdentity, NO_NAMESPACE } from "../../lib/host/namespace.ts";
import { hasIpv6 } from "../../lib/host/sysctl.ts";
import { formatPrefix, type Prefix } from "../../lib/ip/address.ts";
import { formatMac, parseMac } from "../../lib/ip/mac.ts";
import { getLinkByName, listLinks } from "../../lib/netlink/link.ts";
import { apply, undo } from "../../lib/state/apply.ts";
import { compare } from "../../lib/state/compare.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { requireUsable, restoreMac } from "../../lib/state/kinds/bridge.ts";
import { checkGateways } from "../../lib/state/kinds/gateways.ts";
import { applyGuard } from "../../lib/state/kinds/guard.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import { OwnedFilter } from "../../lib/state/owned/filter.ts";
import { OwnedVeth } from "../../lib/state/owned/veth.ts";
import type { Owned } from "../../lib/state/owned.ts";
import { repair } from "../../lib/state/repair.ts";
import { type BridgeConfig, ipamType, mayUseFilter, readBridgeConfig } from "./config.ts";
import { completeGateways, completeRoutes, gatewayLink, type PlanInput, planBridge, planResult } from "./plan.ts";

/** An Ethernet address that the previous result does not tell. */
const NOT_COMPARED = new Uint8Array(0);
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
  repair,
};

function add(call: Call): Result {
  const config = readBridgeConfig(call);
  if (config.ipam === "") checkAddressless(call.config.cniVersion);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    refuseSecond(kernel, call.request.ifname);
    try {
      const lease = config.ipam === "" ? EMPTY_RESULT : leased(call, config);
      const input = planInput(call, config, lease, kernel);
      return planResult(input, attach(kernel, input, call.request.netns), lease);
    } catch (error) {
      release(call, config.ipam, kernel);
      throw error;
    }
  } finally {
    kernel.close();
  }
}

/** Before IPAM is asked: the addresses of an attachment that is there already must stay with it. */
function refuseSecond(kernel: Kernel, ifname: string): void {
  if (getLinkByName(kernel.container, ifname) === null) return;
  throw new CniError(
    CONFLICT,
    `container veth name ("${ifname}") already exists`,
    `the namespace has a link ${ifname} already; DEL the attachment before adding it again`,
  );
}

/** The addresses from IPAM. */
function leased(call: Call, config: BridgeConfig): Result {
  const lease = call.delegates.add(config.ipam);
  if (lease.ips.length === 0) {
    throw new CniError(
      INVALID_CONFIG,
      "IPAM plugin returned missing IP config",
      `plugin ${config.ipam} gave no address`,
    );
  }
  const ipv6 = lease.ips.find((ip) => ip.address.address.family === 6);
  if (ipv6 !== undefined && !hasIpv6()) {
    throw new CniError(
      KERNEL_REFUSED,
      `this kernel has no IPv6, but ${config.ipam} gave ${formatPrefix(ipv6.address)}`,
      "/proc/sys/net/ipv6 is missing: start the node with IPv6 enabled, or remove the IPv6 ranges from the configuration",
    );
  }
  return lease;
}

/**
 * Gives the addresses back after a failure, also IPAM's own: the specification has us DEL what failed to ADD. If the
 * interface is there all the same, another call for the same attachment was quicker, and the addresses are its own.
 */
function release(call: Call, ipam: string, kernel: Kernel): void {
  if (ipam === "") return;
  quietly("give the addresses back", () => {
    if (getLinkByName(kernel.container, call.request.ifname) === null) call.delegates.del(ipam);
  });
}

function planInput(call: Call, config: BridgeConfig, lease: Result, kernel: Kernel): PlanInput {
  const ips = completeGateways(config, lease.ips);
  return {
    config,
    ifname: call.request.ifname,
    names: attachmentNames(attachmentOf(call)),
    containerMtu: config.mtu,
    ips,
    routes: completeRoutes(config, ips, lease.routes),
    masqueradeBackend: masqueradeBackend(kernel, config),
    owner: filterOwnerOf(call, "bridge"),
    netns: identityOf(kernel.namespace),
    timeMs: sinceBootMs(),
  };
}

/** Makes the attachment, or nothing, and returns its interfaces. */
function attach(kernel: Kernel, input: PlanInput, sandbox: string): ResultInterface[] {
  const plan = planBridge(input);
  apply(kernel, plan);
  try {
    return interfacesOf(kernel, input, sandbox);
  } catch (error) {
    undo(kernel, plan);
    throw error;
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

function masqueradeBackend(kernel: Kernel, config: BridgeConfig): BackendName {
  return config.ipMasq ? chooseBackend(kernel.filter, config.ipMasqBackend).backend : "nftables";
}

function identityOf(namespace: Namespace | null): NamespaceIdentity {
  if (namespace === null) return NO_NAMESPACE;
  return { path: namespace.path, device: namespace.device, inode: namespace.inode };
}

function check(call: Call): void {
  const config = readBridgeConfig(call);
  const previous = call.config.prevResult();
  if (previous === null) {
    throw new CniError(
      INVALID_CONFIG,
      "Required prevResult missing",
      "CHECK compares with the result of ADD, which the runtime keeps",
    );
  }
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    if (config.ipam !== "") call.delegates.check(config.ipam);
    compare(kernel, planBridge(expected(kernel, call, config, previous)));
  } finally {
    kernel.close();
  }
}

/**
 * The plan that ADD had, with what the last plugin of the chain reported in place of what was derived: plugins behind us
 * may have changed Ethernet address and MTU, and the host end may have been made by another suite.
 */
function expected(kernel: Kernel, call: Call, config: BridgeConfig, previous: Result): PlanInput {
  const { ifname, netns } = call.request;
  const index = previous.interfaces.findIndex((item) => item.name === ifname && item.sandbox !== "");
  const inside = previous.interfaces[index] ?? resultInterface(ifname, "", 0, netns);
  const names = attachmentNames(attachmentOf(call));
  const hostLinks = previous.interfaces.filter((item) => item.sandbox === "" && item.name.startsWith("veth"));
  const outside = hostLinks.find((item) => item.name === names.hostLink) ?? hostLinks[0];
  const mtu = outside !== undefined && outside.mtu > 0 ? outside.mtu : config.mtu;
  return {
    config: { ...config, mtu, mac: parseMac(inside.mac) ?? NOT_COMPARED },
    ifname,
    names: {
      ...names,
      hostLink: outside?.name ?? names.hostLink,
      hostMac: parseMac(outside?.mac ?? "") ?? NOT_COMPARED,
    },
    containerMtu: inside.mtu > 0 ? inside.mtu : config.mtu,
    ips: previous.ips.filter((ip) => ip.interface === null || ip.interface === index),
    routes: previous.routes,
    masqueradeBackend: masqueradeBackend(kernel, config),
    owner: filterOwnerOf(call, "bridge"),
    netns: NO_NAMESPACE,
    timeMs: 0,
  };
}

function del(call: Call): void {
  const ipam = ipamType(call.config);
  detach(call, owned(mayUseFilter(call.config)));
  /* Only now: an address must not be given to somebody else while its link is there. */
  if (ipam !== "") call.delegates.del(ipam);
}

function gc(call: Call): void {
  collectGarbage(call, owned(false));
  const ipam = ipamType(call.config);
  if (ipam !== "") call.delegates.gc(ipam);
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
    for (const { ranges } of readHostLocal(call.config, "").pools) {
      for (const { gateway, subnet } of ranges) {
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
