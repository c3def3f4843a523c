/**
 * What the bridge plugin wants the kernel to hold for one attachment: a pure function of the configuration, the request and
 * the addresses that IPAM gave. ADD makes it so, CHECK compares it.
 */
import {
  type Result,
  type ResultInterface,
  type ResultIp,
  type ResultRoute,
  resultRoute,
} from "../../lib/cni/result.ts";
import { checkRouteFamilies } from "../../lib/cni/result-decode.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";
import type { BackendName } from "../../lib/filter/choose-backend.ts";
import type { IptablesPlan } from "../../lib/filter/iptables-plan.ts";
import { masqueradePlan } from "../../lib/filter/iptables-rules.ts";
import { masqueradeChain, masqueradeElements } from "../../lib/filter/masquerade.ts";
import {
  emptyRecord,
  type FilterChain,
  type FilterElement,
  type FilterOwner,
  type FilterRecord,
} from "../../lib/filter/record.ts";
import { isolationElements, sourceCheckElements } from "../../lib/filter/source-check.ts";
import type { NamespaceIdentity } from "../../lib/host/namespace.ts";
import {
  type Address,
  contains,
  type Family,
  networkOf,
  type Prefix,
  parsePrefix,
  sameAddress,
  step,
} from "../../lib/ip/address.ts";
import type { Route } from "../../lib/netlink/route.ts";
import type { VlanRange } from "../../lib/netlink/vlan.ts";
import type { Where } from "../../lib/state/kernel.ts";
import { type AttachmentNames, derivedLinkName } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { BridgeConfig } from "./config.ts";

/** What a plan is made from. */
export interface PlanInput {
  readonly config: BridgeConfig;
  readonly ifname: string;
  readonly names: AttachmentNames;
  /** The container end's MTU, as `VethObject` has it. */
  readonly containerMtu: number;
  /** The container's addresses, each with the gateway filled in that it is to have (`completeGateways`). */
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly masqueradeBackend: BackendName;
  readonly owner: FilterOwner;
  /** The container's namespace and the milliseconds since boot, for the record of what the packet filter holds. */
  readonly netns: NamespaceIdentity;
  readonly timeMs: number;
}

const SCOPE_UNIVERSE = 0;
const SCOPE_LINK = 253;
/** The least an IPv6 link must carry (RFC 8200 section 5). */
const IPV6_MIN_MTU = 1280;

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
  checkRouteFamilies(routes);
  const all: ResultRoute[] = [];
  for (const route of routes) {
    let known = false;
    for (const other of all) if (sameRoute(other, route, ips)) known = true;
    if (!known) all.push(route);
  }
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
  checkMtu(config, input.ips);
  const plan: KernelObject[] = [];
  plan.push({
    kind: "bridge",
    name: config.bridge,
    mtu: config.mtu,
    vlanFiltering: config.filtersVlans,
  });
  pushNoAutoconfiguration(plan, "host", config.bridge);
  pushNoDetection(plan, input, config.bridge);
  plan.push({ kind: "up", where: "host", name: config.bridge, promiscuous: config.promiscMode });
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
  pushContainer(plan, input);
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
  const chains: FilterChain[] = [];
  const elements: FilterElement[] = [];
  const iptables: IptablesPlan[] = [];
  if (config.ipMasq && input.masqueradeBackend === "iptables") {
    for (const family of [4, 6] as Family[]) {
      const own = addresses.filter((prefix) => prefix.address.family === family);
      if (own.length > 0) iptables.push(masqueradePlan(owner, own, config.nonMasqueradeCidrs, family));
    }
  } else if (config.ipMasq && addresses.length > 0) {
    const chain = masqueradeChain(owner.network, addresses, config.nonMasqueradeCidrs);
    chains.push(chain);
    elements.push(...masqueradeElements(chain, addresses));
  }
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

function hasIpv6(input: PlanInput): boolean {
  return input.ips.some((ip) => ip.address.address.family === 6);
}

/** No router advertisement is believed (CVE-2020-10749). Before the link comes up: the first one may be waiting. */
function pushNoAutoconfiguration(plan: KernelObject[], where: Where, link: string): void {
  pushSetting(plan, where, 6, link, "accept_ra", "0");
  pushSetting(plan, where, 6, link, "autoconf", "0");
}

/** While its link-local address is on probation, for the first second or two, a link finds no neighbours to forward to. */
function pushNoDetection(plan: KernelObject[], input: PlanInput, link: string): void {
  if (hasIpv6(input) && !input.config.duplicateAddressDetection) pushSetting(plan, "host", 6, link, "accept_dad", "0");
}

function pushSetting(
  plan: KernelObject[],
  where: Where,
  family: Family,
  link: string,
  key: string,
  value: string,
): void {
  const path = ["net", family === 4 ? "ipv4" : "ipv6", "conf", link, key];
  plan.push({ kind: "sysctl", where, path, value });
}

/** The container's side: settings, then addresses, then up, then the routes that need all of that. */
function pushContainer(plan: KernelObject[], input: PlanInput): void {
  const { config, ifname } = input;
  pushNoAutoconfiguration(plan, "container", ifname);
  if (hasIpv6(input)) {
    pushSetting(plan, "container", 6, "lo", "disable_ipv6", "0");
    pushSetting(plan, "container", 6, ifname, "disable_ipv6", "0");
    pushSetting(plan, "container", 6, ifname, "keep_addr_on_down", "1");
    pushSetting(plan, "container", 6, ifname, "ndisc_notify", "1");
  }
  if (hasIpv6(input) || config.duplicateAddressDetection) {
    pushSetting(plan, "container", 6, ifname, "accept_dad", config.duplicateAddressDetection ? "1" : "0");
  }
  if (config.duplicateAddressDetection) pushSetting(plan, "container", 6, ifname, "enhanced_dad", "1");
  plan.push({ kind: "arp-notify", link: ifname });
  for (const ip of input.ips) {
    plan.push({ kind: "address", link: ifname, address: ip.address, nodad: !config.duplicateAddressDetection });
  }
  if (config.disableContainerInterface) return;
  plan.push({ kind: "up", where: "container", name: ifname, promiscuous: false });
  for (const route of input.routes) plan.push({ kind: "route", link: ifname, route: kernelRoute(route, input.ips) });
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
    plan.push({ kind: "up", where: "host", name: link, promiscuous: false });
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

/** A result's route as the kernel takes it: without a gateway of its own it goes through the first one of its family. */
function kernelRoute(route: ResultRoute, ips: readonly ResultIp[]): Route {
  const gateway = route.gw ?? gatewayOf(ips, route.dst.address.family);
  return {
    dst: route.dst,
    gateway,
    mtu: route.mtu,
    advmss: route.advmss,
    priority: route.priority,
    table: route.table,
    scope: route.scope ?? (gateway === null ? SCOPE_LINK : SCOPE_UNIVERSE),
    onlink: gateway !== null && !isInside(ips, gateway),
  };
}

/** Whether an address is of one of the container's networks. */
function isInside(ips: readonly ResultIp[], address: Address): boolean {
  for (const ip of ips) if (contains(ip.address, address)) return true;
  return false;
}

function gatewayOf(ips: readonly ResultIp[], family: Family): Address | null {
  return ips.find((ip) => ip.gateway !== null && ip.gateway.family === family)?.gateway ?? null;
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

/** Whether the kernel would take two routes for one: it refuses the second. A route without a gateway goes through the first one. */
function sameRoute(a: ResultRoute, b: ResultRoute, ips: readonly ResultIp[]): boolean {
  if (a.dst.length !== b.dst.length || !sameAddress(networkOf(a.dst), networkOf(b.dst))) return false;
  if (a.priority !== b.priority || a.table !== b.table) return false;
  const first = a.gw ?? gatewayOf(ips, a.dst.address.family);
  const second = b.gw ?? gatewayOf(ips, b.dst.address.family);
  return first === null || second === null ? first === second : sameAddress(first, second);
}

function checkMtu(config: BridgeConfig, ips: readonly ResultIp[]): void {
  const hasIpv6 = ips.some((ip) => ip.address.address.family === 6);
  if (config.mtu === 0 || config.mtu >= IPV6_MIN_MTU || !hasIpv6) return;
  throw new CniError(
    INVALID_CONFIG,
    `invalid value for "mtu": ${config.mtu} is too small for IPv6`,
    `IPv6 needs at least ${IPV6_MIN_MTU} bytes (RFC 8200), and IPAM gave an IPv6 address`,
  );
}
