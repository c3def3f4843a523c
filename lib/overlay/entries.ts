/**
 * What the kernel holds for the other nodes of an overlay: a function of the list of peers. Every entry can be derived from
 * {nodeIP, podCIDRs} alone, and shows whose it is: by the device it is on, its protocol number, and the metric.
 *
 * | datapath | for a peer |
 * |---|---|
 * | classic | a forwarding entry (its MAC is behind its IP address); for each network of pods a neighbour (the network's first address has that MAC) and a route to the network by way of that address |
 * | gpe | for each network of pods a route into the tunnel |
 * | either, directly | for each network of pods of the node's IP version a route by way of the node, which is on the same segment; for the others as above |
 *
 * Pure.
 */
import { type Address, formatAddress, formatPrefix, type Prefix, sameAddress } from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import type { ForwardingEntry, Neighbour } from "../netlink/neighbour.ts";
import type { TunnelRoute } from "../netlink/tunnel-route.ts";
import type { Datapath } from "./mtu.ts";
import type { Peer } from "./peers.ts";

/** The mark of our routes and neighbours ("p"; no routing daemon's, see iproute2's rt_protos). */
export const PROTOCOL = 112;

export type Entry = ForwardingObject | NeighbourObject | RouteObject;

/** Behind which node an Ethernet address is. */
export interface ForwardingObject {
  readonly kind: "forwarding";
  readonly mac: string;
  readonly host: Address;
  readonly permanent: boolean;
}

/** Which Ethernet address the gateway to a network of pods has. */
export interface NeighbourObject {
  readonly kind: "neighbour";
  readonly address: Address;
  readonly mac: string;
  readonly permanent: boolean;
}

export interface RouteObject {
  readonly kind: "route";
  readonly route: TunnelRoute;
}

/** The overlay that entries belong to. */
export interface Overlay {
  readonly datapath: Datapath;
  readonly vni: number;
  /** The index of its VXLAN device. */
  readonly link: number;
}

/**
 * The entries for the peers.
 * @param direct for each peer the index of the link on which it is reached without a tunnel; 0 for those behind the tunnel
 */
export function entriesFor(overlay: Overlay, peers: readonly Peer[], direct: readonly number[]): Entry[] {
  const entries: Entry[] = [];
  for (let i = 0; i < peers.length; i += 1) {
    const peer = peers[i];
    if (peer === undefined || peer.podCidrs.length === 0) continue;
    const mac = formatMac(peer.mac);
    /* A gateway is of its route's IP version. */
    const isDirect = (cidr: Prefix): boolean => direct[i] !== 0 && cidr.address.family === peer.nodeIp.family;
    const classic = overlay.datapath === "classic";
    if (classic && !peer.podCidrs.every((cidr) => isDirect(cidr))) {
      entries.push({ kind: "forwarding", mac, host: peer.nodeIp, permanent: true });
    }
    for (const cidr of peer.podCidrs) {
      const plain = isDirect(cidr);
      if (classic && !plain) entries.push({ kind: "neighbour", address: cidr.address, mac, permanent: true });
      const route = plain ? plainRoute(overlay, peer, cidr, direct[i] ?? 0) : tunnelRoute(overlay, peer, cidr);
      entries.push({ kind: "route", route });
    }
  }
  return entries;
}

function tunnelRoute(overlay: Overlay, peer: Peer, dst: Prefix): TunnelRoute {
  const classic = overlay.datapath === "classic";
  return {
    dst,
    link: overlay.link,
    protocol: PROTOCOL,
    priority: metricOf(dst, overlay.vni),
    gateway: classic ? dst.address : null,
    onlink: classic,
    tunnel: classic ? null : { vni: overlay.vni, host: peer.nodeIp },
    mtu: 0,
  };
}

function plainRoute(overlay: Overlay, peer: Peer, dst: Prefix, link: number): TunnelRoute {
  const priority = metricOf(dst, overlay.vni);
  return { dst, link, protocol: PROTOCOL, priority, gateway: peer.nodeIp, onlink: false, tunnel: null, mtu: 0 };
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/**
 * The metric of the route to a network of pods, from 2^30 to 2^31 - 1: another one for each network (FNV-1a of network and
 * VNI). The kernel looks for an IPv4 route's next hop among all that share device and metric, so that with one metric each
 * of 5,000 routes would take 30 times as long to add. A route with our protocol and this metric is this overlay's,
 * whichever link it is on.
 */
export function metricOf(dst: Prefix, vni: number): number {
  let hash = FNV_OFFSET;
  for (const byte of dst.address.bytes) hash = Math.imul(hash ^ byte, FNV_PRIME);
  for (const value of [dst.length, vni & 0xff, (vni >> 8) & 0xff, (vni >> 16) & 0xff]) {
    hash = Math.imul(hash ^ value, FNV_PRIME);
  }
  return ((hash >>> 2) | 0x40000000) >>> 0;
}

/** Whether a route that the kernel lists is the overlay's: on its device and not the kernel's own, or with our marks. */
export function isOurs(overlay: Overlay, route: TunnelRoute): boolean {
  if (route.link === overlay.link) return route.protocol !== RTPROT_KERNEL;
  return route.protocol === PROTOCOL && route.priority === metricOf(route.dst, overlay.vni);
}

const RTPROT_KERNEL = 2;

/** What the kernel lists, as entries. Neighbours that it learned itself are left to it. */
export function entriesFound(
  overlay: Overlay,
  forwarding: readonly ForwardingEntry[],
  neighbours: readonly Neighbour[],
  routes: readonly TunnelRoute[],
): Entry[] {
  const entries: Entry[] = [];
  for (const { mac, host, permanent } of forwarding) entries.push({ kind: "forwarding", mac, host, permanent });
  for (const { address, mac, permanent, protocol } of neighbours) {
    if (permanent || protocol === PROTOCOL) entries.push({ kind: "neighbour", address, mac, permanent });
  }
  for (const route of routes) {
    if (isOurs(overlay, route)) entries.push({ kind: "route", route });
  }
  return entries;
}

/** What makes an entry this one and no other; putting it replaces what the kernel has under the same key. */
export function keyOf(entry: Entry): string {
  if (entry.kind === "forwarding") return `f${entry.mac}`;
  if (entry.kind === "neighbour") return `n${formatAddress(entry.address)}`;
  return `r${formatPrefix(entry.route.dst)} ${entry.route.priority}`;
}

/** Whether two entries with the same key are the same in everything else. */
export function isSame(a: Entry, b: Entry): boolean {
  if (a.kind === "forwarding" && b.kind === "forwarding") {
    return a.permanent === b.permanent && sameAddress(a.host, b.host);
  }
  if (a.kind === "neighbour" && b.kind === "neighbour") return a.permanent === b.permanent && a.mac === b.mac;
  return a.kind === "route" && b.kind === "route" && isSameWay(a.route, b.route);
}

function isSameWay(a: TunnelRoute, b: TunnelRoute): boolean {
  if (a.link !== b.link || a.protocol !== b.protocol || !bothOrNone(a.gateway, b.gateway)) return false;
  if (a.tunnel === null || b.tunnel === null) return a.tunnel === b.tunnel;
  return a.tunnel.vni === b.tunnel.vni && sameAddress(a.tunnel.host, b.tunnel.host);
}

function bothOrNone(a: Address | null, b: Address | null): boolean {
  return a === null || b === null ? a === b : sameAddress(a, b);
}

/** The node that an entry leads to, if it tells; "" for a neighbour and for a route by way of one. */
export function hostOf(entry: Entry): string {
  if (entry.kind === "forwarding") return formatAddress(entry.host);
  if (entry.kind === "neighbour") return "";
  const { gateway, onlink, tunnel } = entry.route;
  if (tunnel !== null) return formatAddress(tunnel.host);
  return gateway === null || onlink ? "" : formatAddress(gateway);
}

/** An entry as a person would write it, for messages. */
export function describeEntry(entry: Entry): string {
  if (entry.kind === "forwarding") return `forwarding entry ${entry.mac} dst ${formatAddress(entry.host)}`;
  if (entry.kind === "neighbour") return `neighbour ${formatAddress(entry.address)} lladdr ${entry.mac}`;
  const { dst, gateway, tunnel, priority } = entry.route;
  const via = gateway === null ? "" : ` via ${formatAddress(gateway)}`;
  const encap = tunnel === null ? "" : ` encap ip id ${tunnel.vni} dst ${formatAddress(tunnel.host)}`;
  return `route ${formatPrefix(dst)}${encap}${via} metric ${priority}`;
}
