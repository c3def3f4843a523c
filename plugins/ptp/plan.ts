/**
 * What the ptp plugin wants the kernel to hold for one attachment: a pure function of the configuration, the request and the
 * addresses that IPAM gave. ADD makes it so, CHECK compares it.
 */
import { hasIpv6, pushContainer, pushNoAutoconfiguration, pushSetting } from "../../lib/attachment/container.ts";
import type { InterfaceInput } from "../../lib/attachment/interface.ts";
import { masqueradeOf } from "../../lib/attachment/masquerade.ts";
import { checkIpv6Mtu } from "../../lib/attachment/mtu.ts";
import { gatewayOf, pushRoutes } from "../../lib/attachment/routes.ts";
import type { Result, ResultInterface, ResultIp, ResultRoute } from "../../lib/cni/result.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";
import { emptyRecord, type FilterRecord } from "../../lib/filter/record.ts";
import { routedSourceElements } from "../../lib/filter/source-check.ts";
import {
  type Address,
  bits,
  type Family,
  formatAddress,
  formatPrefix,
  holdsAddress,
  networkOf,
  type Prefix,
  parseAddress,
  sameAddress,
} from "../../lib/ip/address.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { PtpConfig } from "./config.ts";

/** What a plan is made from. */
export interface PlanInput extends InterfaceInput {
  readonly config: PtpConfig;
}

const SCOPE_LINK = 253;

/** What stands for the host on a link whose addresses have no gateway: nobody else can have these (RFC 3927, RFC 4291). */
function standIn(family: Family): Address | null {
  return parseAddress(family === 4 ? "169.254.1.1" : "fe80::1");
}

/** Gives every address a gateway: the host's end of the link. @throws CniError 7 if it is the container's own address */
export function completeGateways(ips: readonly ResultIp[]): ResultIp[] {
  const complete: ResultIp[] = [];
  for (const { address, gateway } of ips) {
    complete.push({ interface: null, address, gateway: gateway ?? standIn(address.address.family) });
  }
  for (const { gateway } of complete) {
    if (gateway === null || !complete.some((ip) => sameAddress(ip.address.address, gateway))) continue;
    throw new CniError(
      INVALID_CONFIG,
      `the gateway ${formatAddress(gateway)} is an address of the container itself`,
      "it is the host's address on the link: IPAM must give another one",
    );
  }
  return complete;
}

/** The objects of an attachment, in the order in which they come into being. */
export function planPtp(input: PlanInput): KernelObject[] {
  const { config, names, ifname, ips } = input;
  checkIpv6Mtu(config.mtu, ips);
  checkRoutes(ips, input.routes);
  const plan: KernelObject[] = [];
  plan.push({
    kind: "veth",
    name: names.hostLink,
    mac: names.hostMac,
    alias: names.alias,
    bridge: "",
    trunk: false,
    mtu: config.mtu,
    containerName: ifname,
    containerMac: names.containerMac,
    containerMtu: input.containerMtu,
  });
  pushNoAutoconfiguration(plan, "host", names.hostLink);
  if (hasIpv6(ips)) {
    pushSetting(plan, "host", 6, names.hostLink, "disable_ipv6", "0");
    pushSetting(plan, "host", 6, names.hostLink, "accept_dad", "0");
  }
  plan.push({ kind: "up", where: "host", name: names.hostLink, promiscuous: false, alias: names.alias });
  const record = filterRecord(input);
  if (record !== null) plan.push({ kind: "filter", record, lastWins: false });
  pushContainer(plan, { ifname, ips, duplicateAddressDetection: false, shared: false }, true);
  pushLinkRoutes(plan, ifname, ips);
  pushRoutes(plan, ifname, ips, input.routes);
  pushHost(plan, names.hostLink, ips);
  plan.push({ kind: "carrier", where: "host", link: names.hostLink });
  plan.push({ kind: "carrier", where: "container", link: ifname });
  return plan;
}

/**
 * The container's routes to the gateways, and through them to its own networks: the kernel makes none to those, since they
 * are behind the host.
 */
function pushLinkRoutes(plan: KernelObject[], link: string, ips: readonly ResultIp[]): void {
  const gateways: Address[] = [];
  const networks: Prefix[] = [];
  for (const { address, gateway } of ips) {
    if (gateway === null || holdsAddress(gateways, gateway)) continue;
    gateways.push(gateway);
    const dst: Prefix = { address: gateway, length: bits(gateway.family) };
    plan.push({ kind: "route", link, route: linkRoute(dst, null, address.address) });
  }
  for (const { address, gateway } of ips) {
    const dst: Prefix = { address: networkOf(address), length: address.length };
    const known = networks.some((one) => one.length === dst.length && sameAddress(one.address, dst.address));
    if (known || dst.length === bits(address.address.family)) continue;
    networks.push(dst);
    plan.push({ kind: "route", link, route: linkRoute(dst, gateway, address.address) });
  }
}

function linkRoute(dst: Prefix, gateway: Address | null, source: Address) {
  const scope = gateway === null ? SCOPE_LINK : 0;
  return { dst, gateway, mtu: 0, advmss: 0, priority: 0, table: null, scope, onlink: false, source };
}

/** The host's side: it answers as the gateway, knows the way to the container, and forwards. */
function pushHost(plan: KernelObject[], link: string, ips: readonly ResultIp[]): void {
  const gateways: Address[] = [];
  for (const { gateway } of ips) {
    if (gateway === null || holdsAddress(gateways, gateway)) continue;
    gateways.push(gateway);
    const address: Prefix = { address: gateway, length: bits(gateway.family) };
    plan.push({ kind: "address", where: "host", link, address, nodad: true, prefixRoute: false });
  }
  for (const ip of ips) plan.push({ kind: "pod-route", link, address: ip.address.address });
  for (const family of [4, 6] as Family[]) {
    if (gatewayOf(ips, family) !== null) plan.push({ kind: "forwarding", family, link });
  }
}

/** The host is the only neighbour: a route through any other gateway would lead nowhere. @throws CniError 7 */
function checkRoutes(ips: readonly ResultIp[], routes: readonly ResultRoute[]): void {
  for (const { dst, gw } of routes) {
    if (gw === null || ips.some((ip) => ip.gateway !== null && sameAddress(ip.gateway, gw))) continue;
    const gateway = gatewayOf(ips, gw.family);
    throw new CniError(
      INVALID_CONFIG,
      `the route to ${formatPrefix(dst)} has gateway ${formatAddress(gw)}, which is not on the link`,
      gateway === null
        ? "the container has no address of that IP version"
        : `only the host is, as ${formatAddress(gateway)}: leave "gw" out`,
    );
  }
}

/** What the attachment needs in the packet filter; null if nothing. */
function filterRecord(input: PlanInput): FilterRecord | null {
  const { config, names, owner, netns, timeMs, ips } = input;
  const addresses = ips.map((ip) => ip.address);
  const { chains, elements, iptables } = masqueradeOf(config, input.masqueradeBackend, owner, addresses);
  /* CHECK may not know it, if the previous result does not tell. */
  if (config.ipSpoofCheck && names.containerMac.length > 0) {
    const allowed = addresses.map((prefix) => prefix.address);
    elements.push(...routedSourceElements(names.hostLink, names.containerMac, allowed));
  }
  if (elements.length === 0 && iptables.length === 0) return null;
  return { ...emptyRecord(owner, netns, timeMs), chains, elements, iptables };
}

/** The result: host's end, container's end, which has the addresses. */
export function planResult(input: PlanInput, interfaces: readonly ResultInterface[], lease: Result): Result {
  return {
    interfaces,
    ips: input.ips.map((ip) => ({ interface: 1, address: ip.address, gateway: ip.gateway })),
    routes: input.routes,
    dns: input.config.dns ?? lease.dns,
  };
}
