/** The container's side of an attachment with a veth pair: settings, then addresses, then up. Routes need all of that. Pure. */
import type { ResultIp } from "../cni/result.ts";
import type { Family } from "../ip/address.ts";
import type { Where } from "../state/kernel.ts";
import type { KernelObject } from "../state/objects.ts";

export interface ContainerSide {
  readonly ifname: string;
  readonly ips: readonly ResultIp[];
  readonly duplicateAddressDetection: boolean;
  /** Whether other hosts are on the link's wire: they are told of the addresses, and the kernel has a route to each network. */
  readonly shared: boolean;
}

export function hasIpv6(ips: readonly ResultIp[]): boolean {
  return ips.some((ip) => ip.address.address.family === 6);
}

/** No router advertisement is believed (CVE-2020-10749). Before the link comes up: the first one may be waiting. */
export function pushNoAutoconfiguration(plan: KernelObject[], where: Where, link: string): void {
  pushSetting(plan, where, 6, link, "accept_ra", "0");
  pushSetting(plan, where, 6, link, "autoconf", "0");
}

export function pushSetting(
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

/** @param up whether the link is brought up */
export function pushContainer(plan: KernelObject[], side: ContainerSide, up: boolean): void {
  const { ifname, ips, duplicateAddressDetection, shared } = side;
  const nodad = !duplicateAddressDetection;
  pushNoAutoconfiguration(plan, "container", ifname);
  if (hasIpv6(ips)) {
    pushSetting(plan, "container", 6, "lo", "disable_ipv6", "0");
    pushSetting(plan, "container", 6, ifname, "disable_ipv6", "0");
    pushSetting(plan, "container", 6, ifname, "keep_addr_on_down", "1");
    if (shared) pushSetting(plan, "container", 6, ifname, "ndisc_notify", "1");
  }
  if (hasIpv6(ips) || duplicateAddressDetection) {
    pushSetting(plan, "container", 6, ifname, "accept_dad", duplicateAddressDetection ? "1" : "0");
  }
  if (duplicateAddressDetection) pushSetting(plan, "container", 6, ifname, "enhanced_dad", "1");
  if (shared) plan.push({ kind: "arp-notify", link: ifname });
  for (const { address } of ips) {
    plan.push({ kind: "address", where: "container", link: ifname, address, nodad, prefixRoute: shared });
  }
  if (up) plan.push({ kind: "up", where: "container", name: ifname, promiscuous: false, alias: "" });
}
