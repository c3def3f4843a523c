/** How this node reaches the others: asked of the kernel once for all that share a route. */
import { type Address, parseAddress } from "../ip/address.ts";
import { ADDRESS_WORDS, isIpv4At, putAddress } from "../ip/words.ts";
import { listAllAddresses } from "../netlink/address.ts";
import { type EntryTable, FOREIGN, HEAD, KEY, LINK, ROW_WORDS } from "../netlink/entry-table.ts";
import { getLinkByIndex, getLinkByName, type Link } from "../netlink/link.ts";
import { findPaths, type Path } from "../netlink/path.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { overlayMtu, type PathMtu } from "./mtu.ts";
import type { PeerTable } from "./peer-table.ts";
import type { OverlaySettings } from "./settings.ts";
import { chooseUnderlay, sameRoutes, type Underlay } from "./underlay.ts";

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

/** Chooses the underlay. @param peers null if they cannot be told */
export function underlayOf(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  peers: PeerTable | null,
  routes: EntryTable,
): Underlay {
  const { underlay } = settings;
  const isNamed = underlay !== "" && parseAddress(underlay) === null;
  const addresses = listAllAddresses(socket);
  const first = peers === null || peers.count === 0 ? null : peers.host(0);
  return chooseUnderlay(underlay, {
    addresses,
    named: isNamed ? getLinkByName(socket, underlay) : null,
    listed:
      peers === null
        ? []
        : listedOf(
            addresses.map((placed) => placed.prefix.address),
            peers,
          ),
    path: first === null ? null : (findPaths(socket, [first])[0] ?? null),
    defaultLink: defaultLinkOf(routes),
  });
}

/** Those of some addresses that peers have, in the order of the peers. */
function listedOf(addresses: readonly Address[], peers: PeerTable): Address[] {
  const words = new Int32Array(ADDRESS_WORDS);
  const rows: number[] = [];
  for (const address of addresses) {
    putAddress(words, 0, address);
    const row = peers.find(words, 0);
    if (row >= 0) rows.push(row);
  }
  return rows.sort((a, b) => a - b).map((row) => peers.host(row));
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
  const links = [underlay.link];
  const mtus = [lower?.mtu ?? 0];
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
  return overlayMtu(settings.datapath, underlay.address.family, lower?.mtu ?? 0, narrow, settings.mtu);
}

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
