/** How this node reaches the others: asked of the kernel once for all that share a route. */
import { type Address, parseAddress } from "../ip/address.ts";
import { ADDRESS_WORDS, addressAt, isIpv4At, putAddress } from "../ip/words.ts";
import type { PlacedAddress } from "../netlink/address.ts";
import {
  type EntryTable,
  FLAGS,
  FOREIGN,
  GATEWAY,
  HAS_GATEWAY,
  HEAD,
  KEY,
  LINK,
  ROW_WORDS,
} from "../netlink/entry-table.ts";
import { getLinkByIndex, getLinkByName, type Link } from "../netlink/link.ts";
import { findPaths, type Path } from "../netlink/path.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { overlayMtu, type PathMtu } from "./mtu.ts";
import type { PeerTable } from "./peer-table.ts";
import type { OverlaySettings } from "./settings.ts";
import { chooseUnderlay, LOOPBACK_IFINDEX, sameRoutes, type Underlay } from "./underlay.ts";

/** The ways to all peers, each once. */
export interface Ways {
  /** For each peer which of `paths` is its own. */
  readonly of: Int32Array;
  /** Null for one to which there is none. */
  readonly paths: readonly (Path | null)[];
  /** For each path a peer that is reached by it. */
  readonly peers: readonly number[];
}

/** @param routes what the main table holds, told apart */
export function waysTo(socket: NetlinkSocket, peers: PeerTable, ownRow: number, routes: EntryTable): Ways {
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

/** The addresses that no peer's pods may have: this node's on the link between the nodes, and those of routers there. */
export function addressesNear(
  underlay: Underlay,
  addresses: readonly PlacedAddress[],
  routes: EntryTable,
): readonly Address[] {
  const near = [underlay.address];
  for (const { link, prefix } of addresses) if (link === underlay.link) near.push(prefix.address);
  const { words } = routes;
  for (let row = 0; row < routes.count && near.length < MAX_NEAR; row += 1) {
    const at = row * ROW_WORDS;
    if (routes.kind(row) !== FOREIGN || words[at + LINK] !== underlay.link) continue;
    if (((words[at + FLAGS] ?? 0) & HAS_GATEWAY) !== 0) near.push(addressAt(words, at + GATEWAY));
  }
  return near;
}

/** A node has a few routers; one that speaks BGP lists them with each of thousands of routes. */
const MAX_NEAR = 256;

/** The peers that have some of a node's addresses, in their order. */
function listedOf(addresses: readonly PlacedAddress[], peers: PeerTable): number[] {
  const words = new Int32Array(ADDRESS_WORDS);
  const rows: number[] = [];
  for (const { prefix } of addresses) {
    putAddress(words, 0, prefix.address);
    const row = peers.find(words, 0);
    if (row >= 0) rows.push(row);
  }
  return rows.sort((a, b) => a - b);
}

function defaultLinkOf(routes: EntryTable): number {
  const { words } = routes;
  for (let row = 0; row < routes.count; row += 1) {
    const at = row * ROW_WORDS;
    const wide = (words[at + HEAD] ?? 0) >>> 8;
    const link = words[at + LINK] ?? 0;
    if (routes.kind(row) !== FOREIGN || link === 0) continue;
    if (wide === 0 || (wide === IPV4_DEFAULT && isIpv4At(words, at + KEY))) return link;
  }
  return 0;
}

const IPV4_DEFAULT = 96;

/** The MTU that the overlay's device should have. @param lower the underlay's link, null if it is gone */
export function mtuFor(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  underlay: Underlay,
  lower: Link | null,
  peers: PeerTable,
  ways: Ways,
): number {
  /* What lo carries says nothing of the ways out. */
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
  for (let i = 0; i < ways.paths.length; i += 1) {
    const path = ways.paths[i] ?? null;
    if (path === null || path.local) continue;
    const linkMtu = mtuOf(path.link);
    const family = isIpv4At(peers.hosts, (ways.peers[i] ?? 0) * ADDRESS_WORDS) ? 4 : 6;
    narrow.push({ mtu: path.mtu > 0 ? Math.min(path.mtu, linkMtu) : linkMtu, underlay: family });
  }
  return overlayMtu(settings.datapath, underlay.address.family, widest, narrow, settings.mtu);
}

/** Ethernet's. */
const USUAL_MTU = 1500;

/** For each peer the link on which it can be reached without a tunnel, 0 if it cannot or is not to be. */
export function directLinks(settings: OverlaySettings, device: number, ways: Ways): Int32Array {
  const direct = new Int32Array(ways.of.length);
  if (!settings.directRouting) return direct;
  const links = ways.paths.map((path) => {
    if (path === null || path.gateway !== null || path.local || path.link === device) return 0;
    return path.link;
  });
  for (let row = 0; row < direct.length; row += 1) direct[row] = links[ways.of[row] ?? 0] ?? 0;
  return direct;
}
