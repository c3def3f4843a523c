import { openOrMakeDirectory } from "../host/directory.ts";
import { lockExclusive } from "../host/lock.ts";
import { identify } from "../host/namespace.ts";
import { type Address, formatPrefix, parseAddress, sameAddress } from "../ip/address.ts";
import { listAllAddresses } from "../netlink/address.ts";
import { getLinkByIndex, getLinkByName } from "../netlink/link.ts";
import { findPaths, matchingRoute, type Path } from "../netlink/path.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { type TunnelRoute, writeDeleteTunnelRoute, writeTunnelRoute } from "../netlink/tunnel-route.ts";
import type { Vxlan } from "../netlink/vxlan.ts";
import * as sys from "../sys/sys.ts";
import { ensureAddresses, ensureDevice, ownDevice } from "./device.ts";
import { differenceOf, FEW_NODES, tooManyLost } from "./difference.ts";
import { describeEntry, type Entry, entriesFor, hostOf, isOurs, type Overlay } from "./entries.ts";
import { OverlayFilter } from "./filter.ts";
import { foundOf, heldBy, ignore, listAllRoutes, send } from "./kernel-entries.ts";
import { overlayMtu, type PathMtu } from "./mtu.ts";
import { type OwnNode, type Peer, type PeerList, PeersUnknown, validatePeers, vtepMac } from "./peers.ts";
import type { OverlaySettings } from "./settings.ts";
import { identityOf, type ReadPeers, readPeers } from "./source.ts";
import { isSameStamp, isStamp, stampRoute } from "./stamp.ts";
import { chooseUnderlay, sameRoutes, type Underlay } from "./underlay.ts";

/** How the overlay stands after a reconciliation. */
export interface Outcome {
  /** The device's name, index and MTU. */
  readonly name: string;
  readonly link: number;
  readonly mtu: number;
  /** Why the kernel does not hold what the peers say, or cannot be said to; "" if it does. */
  readonly problem: string;
  /** Whether peers were kept although the list does not have them. */
  readonly heldBack: boolean;
  /** Whether any other node can be reached. */
  readonly hasPeers: boolean;
  /** What was found different and has been put right, at most a few of it, in words. */
  readonly repaired: readonly string[];
}

const ROOT = "/run/podwire";
/** Longer than any reconciliation takes, shorter than runtimes wait for a plugin. */
const LOCK_DEADLINE_MS = 20_000;
const MAX_REPORTED = 3;

/**
 * @param full compare with what the kernel holds even if the stamp says that nothing has changed
 * @throws CniError if the device cannot be had, or the peers contradict each other
 */
export function reconcile(socket: NetlinkSocket, settings: OverlaySettings, full: boolean): Outcome {
  const filter = new OverlayFilter(settings);
  try {
    const before = full ? null : upToDate(socket, settings, filter);
    return before ?? reconcileLocked(socket, settings, filter, full);
  } finally {
    filter.close();
  }
}

function reconcileLocked(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  full: boolean,
): Outcome {
  const lock = openLock();
  try {
    /* Another call may have done it while this one waited. */
    const outcome = full ? null : upToDate(socket, settings, filter);
    return outcome ?? bringAbout(socket, settings, filter);
  } finally {
    sys.close(lock);
  }
}

/** The outcome if device, stamp and packet filter say that nothing is to do; else null. */
function upToDate(socket: NetlinkSocket, settings: OverlaySettings, filter: OverlayFilter): Outcome | null {
  const identity = identityOf(settings.source);
  const device = identity === "" ? null : ownDevice(socket, settings);
  if (device === null || !device.link.up) return null;
  const stamp = stampRoute(device.link.index, settings.text, identity);
  if (!isSameStamp(stamp, matchingRoute(socket, stamp.dst.address)) || !filter.isThere()) return null;
  return outcomeOf(device, device.link.mtu, "", true, []);
}

function outcomeOf(
  device: Vxlan,
  mtu: number,
  problem: string,
  hasPeers: boolean,
  repaired: readonly string[],
): Outcome {
  return { name: device.link.name, link: device.link.index, mtu, problem, heldBack: false, hasPeers, repaired };
}

/** Reconciliations of one network namespace take turns. */
function openLock(): number {
  const root = openOrMakeDirectory(sys.AT_FDCWD, ROOT);
  const name = `overlay-${identify("/proc/self/ns/net").inode}`;
  const fd = sys.openat(root, name, sys.O_RDWR | sys.O_CREAT | sys.O_NOFOLLOW, 0o600);
  sys.close(root);
  sys.must(fd, `open ${ROOT}/${name}`);
  try {
    lockExclusive(fd, `${ROOT}/${name}`, LOCK_DEADLINE_MS);
  } catch (error) {
    sys.close(fd);
    throw error;
  }
  return fd;
}

/** The list as far as it can be told. */
interface Known {
  readonly read: ReadPeers | null;
  readonly problem: string;
}

function known(settings: OverlaySettings): Known {
  try {
    return { read: readPeers(settings.source), problem: "" };
  } catch (error) {
    if (error instanceof PeersUnknown) return { read: null, problem: error.message };
    throw error;
  }
}

function bringAbout(socket: NetlinkSocket, settings: OverlaySettings, filter: OverlayFilter): Outcome {
  const { read, problem } = known(settings);
  const list = read?.list ?? null;
  const present = ownDevice(socket, settings);
  if (list === null && present !== null && present.link.up) {
    const held = hostsIn(heldBy(socket, overlayOf(settings, present)));
    filter.put(held, false);
    return outcomeOf(present, present.link.mtu, problem, held.length > 0, []);
  }
  const routes = listAllRoutes(socket);
  const underlay = underlayOf(socket, settings, list, routes);
  const own = ownNode(settings, list, underlay.address);
  const peers = list === null ? [] : validatePeers(list, own);
  const paths = pathsTo(socket, settings, peers, routes, present);
  const mtu = mtuFor(socket, settings, underlay, peers, paths);
  /* Strangers are kept out before there is anything to get into. */
  const hosts = peers.map((peer) => peer.nodeIp);
  const strangers = filter.put(hosts, false);
  const device = ensureDevice(socket, settings, { local: underlay.address, mac: own.mac, mtu });
  ensureAddresses(socket, device, settings.podCidrs);
  if (read === null || list === null) return outcomeOf(device, mtu, problem, false, []);
  const overlay = overlayOf(settings, device);
  const desired = entriesFor(overlay, peers, directLinks(settings, device, paths));
  /* With the device all that was on it has gone. */
  const current = present?.link.up === true && present.link.index === device.link.index;
  const found = current ? routes : listAllRoutes(socket);
  const outcome = change(socket, settings, { device, mtu, overlay, desired, list, identity: read.identity }, found);
  if (strangers && !outcome.heldBack) filter.put(hosts, true);
  return outcome;
}

function overlayOf(settings: OverlaySettings, device: Vxlan): Overlay {
  return { datapath: settings.datapath, vni: settings.vni, link: device.link.index };
}

/** The way to each peer. Peers behind one route have one way. */
function pathsTo(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  peers: readonly Peer[],
  routes: readonly TunnelRoute[],
  device: Vxlan | null,
): (Path | null)[] {
  const overlay = { datapath: settings.datapath, vni: settings.vni, link: device === null ? 0 : device.link.index };
  const shared = sameRoutes(
    peers,
    routes.filter((route) => !isOurs(overlay, route)),
  );
  const asked = peers.filter((_peer, i) => shared[i] === i);
  const answers = findPaths(
    socket,
    asked.map((peer) => peer.nodeIp),
  );
  const paths: (Path | null)[] = [];
  let next = 0;
  for (let i = 0; i < peers.length; i += 1) {
    const first = shared[i] ?? i;
    if (first === i) {
      paths.push(answers[next] ?? null);
      next += 1;
    } else {
      paths.push(paths[first] ?? null);
    }
  }
  return paths;
}

function underlayOf(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  list: PeerList | null,
  routes: readonly TunnelRoute[],
): Underlay {
  const { underlay } = settings;
  const peers = list?.peers ?? [];
  const first = peers[0];
  const named = underlay === "" || parseAddress(underlay) !== null ? null : getLinkByName(socket, underlay);
  const toDefault = routes.find((route) => route.dst.length === 0 && route.link !== 0);
  return chooseUnderlay(underlay, {
    addresses: listAllAddresses(socket),
    named,
    peers,
    path: first === undefined ? null : (findPaths(socket, [first.nodeIp])[0] ?? null),
    defaultLink: toDefault === undefined ? 0 : toDefault.link,
  });
}

function ownNode(settings: OverlaySettings, list: PeerList | null, nodeIp: Address): OwnNode {
  const record = list?.peers.find((peer) => sameAddress(peer.nodeIp, nodeIp)) ?? null;
  return {
    nodeIp,
    podCidrs: settings.podCidrs,
    mac: record === null ? vtepMac(nodeIp) : record.mac,
    mixed: settings.datapath === "gpe",
  };
}

function mtuFor(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  underlay: Underlay,
  peers: readonly Peer[],
  paths: readonly (Path | null)[],
): number {
  const linkMtus = new Map<number, number>();
  const mtuOf = (link: number): number => {
    const seen = linkMtus.get(link);
    if (seen !== undefined) return seen;
    const mtu = getLinkByIndex(socket, link)?.mtu ?? 0;
    linkMtus.set(link, mtu);
    return mtu;
  };
  const narrow: PathMtu[] = [];
  for (let i = 0; i < peers.length; i += 1) {
    const path = paths[i] ?? null;
    const peer = peers[i];
    if (path === null || peer === undefined || path.local) continue;
    const linkMtu = mtuOf(path.link);
    narrow.push({ mtu: path.mtu > 0 ? Math.min(path.mtu, linkMtu) : linkMtu, underlay: peer.nodeIp.family });
  }
  return overlayMtu(settings.datapath, underlay.address.family, mtuOf(underlay.link), narrow, settings.mtu);
}

/** For each peer the link on which it can be reached without a tunnel, 0 if it cannot or is not to be. */
function directLinks(settings: OverlaySettings, device: Vxlan, paths: readonly (Path | null)[]): number[] {
  return paths.map((path) => {
    if (!settings.directRouting || path === null || path.gateway !== null || path.local) return 0;
    return path.link === device.link.index ? 0 : path.link;
  });
}

interface Wanted {
  readonly device: Vxlan;
  readonly mtu: number;
  readonly overlay: Overlay;
  readonly desired: readonly Entry[];
  readonly list: PeerList;
  readonly identity: string;
}

function change(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  wanted: Wanted,
  routes: readonly TunnelRoute[],
): Outcome {
  const { device, mtu, overlay, desired, list } = wanted;
  const stamp = stampRoute(device.link.index, settings.text, wanted.identity);
  const stamps = routes.filter((route) => route.link === device.link.index && isStamp(route));
  const stamped = stamps.some((route) => isSameStamp(stamp, route));
  const found = foundOf(socket, overlay, routes);
  const difference = differenceOf(desired, found);
  /* An entry that goes or is replaced may be the last of its node's. */
  const mayLose = difference.remove.length + difference.put.length > FEW_NODES / 2 && !list.force;
  const lost = mayLose ? tooManyLost(desired, found) : 0;
  const emptied = list.peers.length === 0 && found.length > 0 && !list.force;
  const remove = lost > 0 || emptied ? [] : difference.remove;
  const changes = remove.length + difference.put.length;
  const refused: string[] = [];
  if (changes > 0 || stamps.length !== 1 || !stamped) {
    for (const route of stamps) writeDeleteTunnelRoute(socket, route);
    socket.executeAll(ignore);
    send(socket, overlay, remove, true, refused);
    send(socket, overlay, difference.put, false, refused);
  }
  const problem = refused[0] ?? heldBack(lost, emptied, found) ?? overriddenBy(overlay, desired, routes);
  if (refused.length === 0 && lost === 0 && !emptied && (changes > 0 || stamps.length !== 1 || !stamped)) {
    writeTunnelRoute(socket, stamp);
    socket.run();
  }
  const repaired = stamped
    ? [...remove, ...difference.put].slice(0, MAX_REPORTED).map((entry) => describeEntry(entry))
    : [];
  const outcome = outcomeOf(device, mtu, problem, desired.length > 0 || found.length > remove.length, repaired);
  return { ...outcome, heldBack: lost > 0 || emptied };
}

/** Why entries were kept that the list does not have; null if none were. */
function heldBack(lost: number, emptied: boolean, found: readonly Entry[]): string | null {
  if (lost === 0 && !emptied) return null;
  const hosts = new Set(found.map((entry) => hostOf(entry)).filter((host) => host !== ""));
  return `the peers lack ${emptied ? "all" : lost} of ${hosts.size} nodes that they had: nothing is removed unless their first line says "force":true`;
}

/** The nodes that entries lead to. */
function hostsIn(entries: readonly Entry[]): Address[] {
  const hosts = new Set<string>(entries.map((entry) => hostOf(entry)));
  const addresses: Address[] = [];
  for (const host of hosts) {
    const address = parseAddress(host);
    if (address !== null) addresses.push(address);
  }
  return addresses;
}

/** Says of a route to a peer's pods that is not ours and comes before ours; "" if there is none. */
function overriddenBy(overlay: Overlay, desired: readonly Entry[], routes: readonly TunnelRoute[]): string {
  const metrics = new Map<string, number>();
  for (const entry of desired) {
    if (entry.kind === "route") metrics.set(formatPrefix(entry.route.dst), entry.route.priority);
  }
  for (const route of routes) {
    if (isOurs(overlay, route)) continue;
    const metric = metrics.get(formatPrefix(route.dst)) ?? -1;
    if (route.priority < metric) {
      return `somebody's ${describeEntry({ kind: "route", route })} comes before the overlay's route to these pods`;
    }
  }
  return "";
}
