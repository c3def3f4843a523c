/** The paths from this node to the others: the kernel is asked once for all peers that share a route. */
import { type Address, parseAddress } from "../ip/address.ts";
import { AddressColumn } from "../ip/columns.ts";
import { IPV4_LENGTH } from "../ip/words.ts";
import { numberAt } from "../lists.ts";
import type { PlacedAddress } from "../netlink/address.ts";
import type { EntryTable } from "../netlink/entries/table.ts";
import { getLinkByIndex, getLinkByName, type Link } from "../netlink/link.ts";
import { findPaths, type Path } from "../netlink/path.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { overlayMtu, type PathMtu } from "./mtu.ts";
import { FOREIGN } from "./ownership.ts";
import type { PeerTable } from "./peer-table.ts";
import type { OverlaySettings } from "./settings.ts";
import { chooseUnderlay, LOOPBACK_IFINDEX, sameRoutes, type Underlay } from "./underlay.ts";

/** The paths to all peers, each once. */
export interface PeerPaths {
  /** For each peer the index of its path in `paths`. */
  readonly of: Int32Array;
  /** Null where the kernel has no route. */
  readonly paths: readonly (Path | null)[];
  /** For each path a peer that it leads to. */
  readonly peers: readonly number[];
}

/** Asks the kernel for the paths. @param routes of the main routing table, with marks */
export function pathsTo(socket: NetlinkSocket, peers: PeerTable, ownRow: number, routes: EntryTable): PeerPaths {
  const shared = sameRoutes(peers, routes, ownRow);
  const of = new Int32Array(peers.count);
  const asked: number[] = [];
  for (let row = 0; row < peers.count; row += 1) {
    if (row === ownRow) continue;
    const first = shared[row] ?? row;
    if (first === row) {
      of[row] = asked.length;
      asked.push(row);
    } else {
      of[row] = of[first] ?? 0;
    }
  }
  const addresses = asked.map((row) => peers.host(row));
  return { of, paths: findPaths(socket, addresses), peers: asked };
}

/** Chooses the underlay. @param addresses all of this node */
export function underlayOf(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  addresses: readonly PlacedAddress[],
  peers: PeerTable,
  routes: EntryTable,
): Underlay {
  const { underlay } = settings;
  const isNamed = underlay !== "" && parseAddress(underlay) === null;
  const listed = listedOf(addresses, peers);
  let other = 0;
  while (listed.includes(other)) other += 1;
  const first = other < peers.count ? peers.host(other) : null;
  return chooseUnderlay(underlay, {
    addresses,
    named: isNamed ? getLinkByName(socket, underlay) : null,
    listed: listed.map((row) => peers.host(row)),
    path: first === null ? null : (findPaths(socket, [first])[0] ?? null),
    defaultLink: defaultLinkOf(routes),
  });
}

/** The addresses that no peer's pods may have: this node's own on the link between the nodes, and those of routers there. */
export function addressesNear(
  underlay: Underlay,
  addresses: readonly PlacedAddress[],
  routes: EntryTable,
): readonly Address[] {
  const near = [underlay.address];
  for (const { link, prefix } of addresses) if (link === underlay.link) near.push(prefix.address);
  for (let row = 0; row < routes.count && near.length < MAX_NEAR; row += 1) {
    if (routes.mark(row) !== FOREIGN || routes.link(row) !== underlay.link) continue;
    if (routes.hasGateway(row)) near.push(routes.gateways.address(row));
  }
  return near;
}

/** A node has a few routers; one that speaks BGP lists them with each of thousands of routes. */
const MAX_NEAR = 256;

/** The peers that have some of a node's addresses, in their order. */
function listedOf(addresses: readonly PlacedAddress[], peers: PeerTable): number[] {
  const rows: number[] = [];
  for (const { prefix } of addresses) {
    const row = peers.find(AddressColumn.of(prefix.address), 0);
    if (row >= 0) rows.push(row);
  }
  return rows.sort((a, b) => a - b);
}

/** The index of the link of the first default route, 0 if there is none. */
function defaultLinkOf(routes: EntryTable): number {
  for (let row = 0; row < routes.count; row += 1) {
    const link = routes.link(row);
    if (routes.mark(row) !== FOREIGN || link === 0) continue;
    const length = routes.length(row);
    if (length === 0 || (length === IPV4_LENGTH && routes.addresses.isIpv4(row))) return link;
  }
  return 0;
}

/** The MTU that the overlay's device should have. @param lower the underlay's link, null if it is gone */
export function mtuFor(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  underlay: Underlay,
  lower: Link | null,
  peers: PeerTable,
  paths: PeerPaths,
): number {
  /* The MTU of lo says nothing about the links to other nodes. */
  const widest = underlay.link === LOOPBACK_IFINDEX ? USUAL_MTU : (lower?.mtu ?? 0);
  const links = [underlay.link];
  const mtus = [widest];
  const mtuOf = (link: number): number => {
    const seen = mtus[links.indexOf(link)];
    if (seen !== undefined) return seen;
    const mtu = getLinkByIndex(socket, link)?.mtu ?? 0;
    links.push(link);
    mtus.push(mtu);
    return mtu;
  };
  const narrow: PathMtu[] = [];
  for (let i = 0; i < paths.paths.length; i += 1) {
    const path = paths.paths[i] ?? null;
    if (path === null || path.local) continue;
    const linkMtu = mtuOf(path.link);
    const family = peers.hosts.isIpv4(numberAt(paths.peers, i)) ? 4 : 6;
    narrow.push({ mtu: path.mtu > 0 ? Math.min(path.mtu, linkMtu) : linkMtu, underlay: family });
  }
  return overlayMtu(settings.datapath, underlay.address.family, widest, narrow, settings.mtu);
}

/** Ethernet's. */
const USUAL_MTU = 1500;

/** For each peer the index of the link on which it is reached without a tunnel; 0 for those behind the tunnel. */
export function directLinks(settings: OverlaySettings, device: number, paths: PeerPaths): Int32Array {
  const direct = new Int32Array(paths.of.length);
  if (!settings.directRouting) return direct;
  const links = paths.paths.map((path) => {
    if (path === null || path.gateway !== null || path.local || path.link === device) return 0;
    return path.link;
  });
  for (let row = 0; row < direct.length; row += 1) direct[row] = links[paths.of[row] ?? 0] ?? 0;
  return direct;
}
