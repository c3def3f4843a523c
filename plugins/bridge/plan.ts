/**
 * What the bridge plugin wants the kernel to hold for one attachment: a pure function of the configuration, the request and
 * the addresses that IPAM gave. ADD makes it so, CHECK compares it.
 */
import { hasIpv6, pushContainer, pushNoAutoconfiguration, pushSetting } from "../../lib/attachment/container.ts";
import type { InterfaceInput } from "../../lib/attachment/interface.ts";
import { masqueradeOf } from "../../lib/attachment/masquerade.ts";
import { checkIpv6Mtu } from "../../lib/attachment/mtu.ts";
import { distinctRoutes, gatewayOf, pushRoutes } from "../../lib/attachment/routes.ts";
import {
  type Result,
  type ResultInterface,
  type ResultIp,
  type ResultRoute,
  resultRoute,
} from "../../lib/cni/result.ts";
import { emptyRecord, type FilterRecord } from "../../lib/filter/record.ts";
import { isolationElements, sourceCheckElements } from "../../lib/filter/source-check.ts";
import { type Family, networkOf, type Prefix, parsePrefix, step } from "../../lib/ip/address.ts";
import type { VlanRange } from "../../lib/netlink/vlan.ts";
import { derivedLinkName } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { BridgeConfig } from "./config.ts";

/** What a plan is made from. */
export interface PlanInput extends InterfaceInput {
  readonly config: BridgeConfig;
}

/** Where the gateway's address belongs: on the bridge, or on the link of its VLAN. */
export function gatewayLink(config: BridgeConfig): string {
  if (config.vlan === 0) return config.bridge;
  const name = `${config.bridge}.${config.vlan}`;
  return name.length <= 15 ? name : derivedLinkName("brv", name);
}

/** Fills in what IPAM left open: with `isGateway` every address has a gateway, by default the network's first address. */
export function completeGateways(config: BridgeConfig, ips: readonly ResultIp[]): ResultIp[] {
  const complete: ResultIp[] = [];
  for (const ip of ips) {
    if (!config.isGateway || ip.gateway !== null) complete.push(ip);
    else complete.push({ interface: ip.interface, address: ip.address, gateway: step(networkOf(ip.address), 1) });
  }
  return complete;
}

/** IPAM's routes, and with `isDefaultGateway` a default route for each family that has none. @throws CniError 7 */
export function completeRoutes(
  config: BridgeConfig,
  ips: readonly ResultIp[],
  routes: readonly ResultRoute[],
): ResultRoute[] {
  const all = distinctRoutes(ips, routes);
  if (!config.isDefaultGateway) return all;
  for (const family of [4, 6] as Family[]) {
    const gateway = gatewayOf(ips, family);
    let known = gateway === null;
    for (const route of all) if (isDefault(route, family)) known = true;
    if (gateway !== null && !known) all.push(resultRoute(defaultDestination(family), gateway));
  }
  return all;
}

/** The objects of an attachment, in the order in which they come into being. */
export function planBridge(input: PlanInput): KernelObject[] {
  const { config, names } = input;
  checkIpv6Mtu(config.mtu, input.ips);
  const plan: KernelObject[] = [];
  plan.push({
    kind: "bridge",
    name: config.bridge,
    mtu: config.mtu,
    vlanFiltering: config.filtersVlans,
    groupForwardMask: config.groupForwardMask,
  });
  pushNoAutoconfiguration(plan, "host", config.bridge);
  pushNoDetection(plan, input, config.bridge);
  plan.push({ kind: "up", where: "host", name: config.bridge, promiscuous: config.promiscMode, alias: "" });
  plan.push({
    kind: "veth",
    name: names.hostLink,
    mac: names.hostMac,
    alias: names.alias,
    bridge: config.bridge,
    trunk: config.vlanTrunk.length > 0,
    mtu: config.mtu,
    containerName: input.ifname,
    containerMac: config.mac ?? names.containerMac,
    containerMtu: input.containerMtu,
  });
  if (config.mac !== null)
    plan.push({ kind: "free-mac", mac: config.mac, bridge: config.bridge, port: names.hostLink });
  pushNoAutoconfiguration(plan, "host", names.hostLink);
  plan.push({
    kind: "port",
    name: names.hostLink,
    alias: names.alias,
    hairpin: config.hairpinMode,
    isolated: config.portIsolation,
    vlans: config.filtersVlans ? portVlans(config) : null,
    dropDefaultVlan: !config.preserveDefaultVlan,
  });
  plan.push({ kind: "guard" });
  const record = filterRecord(input);
  if (record !== null) plan.push({ kind: "filter", record, lastWins: false });
  const { duplicateAddressDetection, disableContainerInterface } = config;
  pushContainer(
    plan,
    { ifname: input.ifname, ips: input.ips, duplicateAddressDetection, shared: true },
    !disableContainerInterface,
  );
  if (!disableContainerInterface) pushRoutes(plan, input.ifname, input.ips, input.routes);
  if (config.isGateway && input.ips.length > 0) pushGateway(plan, input);
  if (!config.disableContainerInterface) {
    plan.push({
      kind: "announcement",
      port: names.hostLink,
      containerLink: input.ifname,
      containerMac: config.mac ?? names.containerMac,
    });
  }
  return plan;
}

/** What the attachment needs in the packet filter; null if nothing. */
function filterRecord(input: PlanInput): FilterRecord | null {
  const { config, names, owner, netns, timeMs } = input;
  const addresses = input.ips.map((ip) => ip.address);
  const { chains, elements, iptables } = masqueradeOf(config, input.masqueradeBackend, owner, addresses);
  const mac = config.mac ?? names.containerMac;
  /* CHECK may not know it, if the previous result does not tell. */
  if ((config.macSpoofCheck || config.ipSpoofCheck) && mac.length > 0) {
    const allowed = config.ipSpoofCheck ? addresses.map((prefix) => prefix.address) : null;
    elements.push(...sourceCheckElements(names.hostLink, mac, config.macSpoofCheck, allowed));
  }
  if (config.portIsolation) {
    elements.push(
      ...isolationElements(
        gatewayLink(config),
        addresses.map((prefix) => prefix.address),
      ),
    );
  }
  if (elements.length === 0 && iptables.length === 0) return null;
  return { ...emptyRecord(owner, netns, timeMs), chains, elements, iptables };
}

/** The result's interfaces: bridge, host end, container end, and the VLAN's gateway link where there is one. */
export function planResult(input: PlanInput, interfaces: readonly ResultInterface[], result: Result): Result {
  return {
    interfaces,
    ips: input.ips.map((ip) => ({ interface: 2, address: ip.address, gateway: ip.gateway })),
    routes: input.routes,
    dns: input.config.dns ?? result.dns,
  };
}

/** While its link-local address is on probation, for the first second or two, a link finds no neighbours to forward to. */
function pushNoDetection(plan: KernelObject[], input: PlanInput, link: string): void {
  if (hasIpv6(input.ips) && !input.config.duplicateAddressDetection)
    pushSetting(plan, "host", 6, link, "accept_dad", "0");
}

/** The host's side of being a gateway. It comes last: once others may rely on it, it is not taken back. */
function pushGateway(plan: KernelObject[], input: PlanInput): void {
  const { config } = input;
  const link = gatewayLink(config);
  if (link !== config.bridge) {
    const portName = derivedLinkName("vbp", link);
    plan.push({
      kind: "vlan-gateway",
      name: link,
      portName,
      /* Not as an attachment's: a network may be called "gateway", and its GC must not find this. */
      alias: `podwire: gateway of ${link}`,
      bridge: config.bridge,
      mtu: config.mtu,
      vlan: config.vlan,
    });
    pushNoAutoconfiguration(plan, "host", link);
    pushNoDetection(plan, input, link);
    plan.push({ kind: "up", where: "host", name: link, promiscuous: false, alias: "" });
  }
  const addresses: Prefix[] = [];
  for (const ip of input.ips) {
    if (ip.gateway !== null) addresses.push({ address: ip.gateway, length: ip.address.length });
  }
  /* Hosts that have IPv6 switched off for new links mean those that nobody gives an address. */
  if (addresses.some((prefix) => prefix.address.family === 6)) pushSetting(plan, "host", 6, link, "disable_ipv6", "0");
  const { bridge, forceAddress: force } = config;
  plan.push({ kind: "gateways", link, addresses, bridge, port: input.names.hostLink, force });
  for (const family of [4, 6] as Family[]) {
    if (gatewayOf(input.ips, family) !== null) plan.push({ kind: "forwarding", family, link });
  }
  for (const ip of input.ips) plan.push({ kind: "forgotten-neighbour", link, address: ip.address.address });
}

/** The port's VLANs. A trunk without an access VLAN keeps VLAN 1 as the untagged one, as in the reference suite. */
function portVlans(config: BridgeConfig): VlanRange[] {
  const access = config.vlan === 0 ? 1 : config.vlan;
  return [{ first: access, last: access, pvid: true, untagged: true }, ...config.vlanTrunk];
}

function isDefault(route: ResultRoute, family: Family): boolean {
  /* Table 0 stands for the main one, which is 254. */
  const main = route.table === null || route.table === 0 || route.table === 254;
  return route.dst.length === 0 && route.dst.address.family === family && main;
}

function defaultDestination(family: Family): Prefix {
  const prefix = parsePrefix(family === 4 ? "0.0.0.0/0" : "::/0");
  if (prefix === null) throw new Error("a constant prefix does not parse");
  return prefix;
}
