/** The commands that make an overlay's device and entries, as a person would type them: for `explain`. Pure. */
import { formatAddress, formatPrefix, type Prefix } from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import type { Entry, TunnelRoute } from "../netlink/entries/entry.ts";
import { shellWord } from "../text.ts";
import type { DevicePlan } from "./device.ts";
import { PROTOCOL } from "./ownership.ts";
import { deviceName, type OverlaySettings } from "./settings.ts";

/** Makes the device; `deviceUpCommands` sets it up. */
export function deviceCommands(settings: OverlaySettings, plan: DevicePlan): string[] {
  const { vni, port } = settings;
  const name = deviceName(settings);
  const df = settings.pathMtuDiscovery ? " df inherit" : "";
  if (settings.datapath === "gpe") {
    return [
      `ip link add ${name} mtu ${plan.mtu} type vxlan external gpe vnifilter dstport ${port} nolearning${df}`,
      `bridge vni add dev ${name} vni ${vni}`,
    ];
  }
  const from = formatAddress(plan.local);
  return [
    `ip link add ${name} address ${formatMac(plan.mac)} mtu ${plan.mtu} type vxlan id ${vni} local ${from} dstport ${port} nolearning${df}`,
  ];
}

/** Sets the device up. */
export function deviceUpCommands(settings: OverlaySettings, plan: DevicePlan): string[] {
  const name = deviceName(settings);
  const lines: string[] = [];
  const { checksumOffload } = settings;
  if (checksumOffload !== null) {
    lines.push(`ethtool -K ${name} tx-checksum-ip-generic ${checksumOffload ? "on" : "off"}`);
  }
  if (settings.pathMtuDiscovery) lines.push("sysctl -w net/ipv4/ip_forward_use_pmtu=1");
  lines.push(`ip link set ${name} up alias ${shellWord(plan.alias)}`);
  return lines;
}

export function addressCommand(address: Prefix, device: string): string {
  return `ip address add ${formatPrefix(address)} dev ${device}${address.address.family === 6 ? " nodad" : ""}`;
}

/** Puts an entry, in place of one with the same key. @param link the name of a route's link @param device the overlay's */
export function putCommand(entry: Entry, link: string, device: string): string {
  if (entry.kind === "fdb") {
    return `bridge fdb replace ${entry.mac} dev ${device} dst ${formatAddress(entry.host)} self permanent`;
  }
  if (entry.kind === "neighbour") {
    const address = formatAddress(entry.address);
    return `ip neighbour replace ${address} lladdr ${entry.mac} dev ${device} nud permanent protocol ${PROTOCOL}`;
  }
  return `ip route replace ${routeWords(entry.route, link)}`;
}

/** Removes an entry. */
export function removeCommand(entry: Entry, link: string, device: string): string {
  if (entry.kind === "fdb") return `bridge fdb del ${entry.mac} dev ${device} dst ${formatAddress(entry.host)} self`;
  if (entry.kind === "neighbour") return `ip neighbour del ${formatAddress(entry.address)} dev ${device}`;
  return `ip route del ${routeWords(entry.route, link)}`;
}

function routeWords({ dst, gateway, tunnel, onlink, priority, protocol }: TunnelRoute, link: string): string {
  const words = [formatPrefix(dst)];
  if (tunnel !== null) {
    const version = tunnel.host.family === 4 ? "ip" : "ip6";
    words.push(`encap ${version} id ${tunnel.vni} dst ${formatAddress(tunnel.host)}`);
  }
  if (gateway !== null) words.push(`via ${formatAddress(gateway)}`);
  words.push(`dev ${shellWord(link)}`);
  if (onlink) words.push("onlink");
  words.push(`proto ${protocol} metric ${priority}`);
  return words.join(" ");
}
