/** Brings a node's part of an overlay to what the configuration and the peers say. */
import type { Address } from "../ip/address.ts";
import { ADDRESS_WORDS, putAddress } from "../ip/words.ts";
import { getLinkByIndex } from "../netlink/link.ts";
import { matchingRoute } from "../netlink/path.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Vxlan } from "../netlink/vxlan.ts";
import * as sys from "../sys/sys.ts";
import { type Change, change } from "./change.ts";
import { type OwnNode, validatePeers } from "./claims.ts";
import { ensureAddresses, ensureDevice, ownDevice } from "./device.ts";
import { hostsOf } from "./difference.ts";
import { entriesFor, type Overlay } from "./entries.ts";
import { OverlayFilter } from "./filter.ts";
import type { Judged } from "./filter-rules.ts";
import { aliasVia, footing, presentFooting } from "./footing.ts";
import { listOthers, listRoutes } from "./kernel-entries.ts";
import { PeerTable } from "./peer-table.ts";
import { PeersUnknown, vtepMac } from "./peers.ts";
import type { OverlaySettings } from "./settings.ts";
import { identityOf, type ReadPeers, readPeers } from "./source.ts";
import { isSameStamp, stampRoute } from "./stamp.ts";
import { lockState, remember } from "./state-file.ts";
import { directLinks, mtuFor, underlayOf, waysTo } from "./ways.ts";

/** How the overlay stands after a reconciliation. */
export interface Outcome extends Change {
  /** The device's name, index and MTU. */
  readonly name: string;
  readonly link: number;
  readonly mtu: number;
  /** What that MTU was if the way between the nodes had room for more; else 0. */
  readonly mtuBefore: number;
}

/** What the tables are made for; they grow. */
const ENTRIES_PER_PEER = 3;
const FEW_ENTRIES = 100;

/**
 * @param full compare with what the kernel holds even if the stamp says that nothing has changed
 * @throws CniError if the device cannot be had, or the peers contradict each other
 */
export function reconcile(socket: NetlinkSocket, settings: OverlaySettings, full: boolean): Outcome {
  const filter = new OverlayFilter(settings, full);
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
  const lock = lockState();
  try {
    /* Another call may have done it while this one waited. */
    const outcome = full ? null : upToDate(socket, settings, filter);
    if (outcome !== null) return outcome;
    remember(lock, settings);
    return bringAbout(socket, settings, filter);
  } finally {
    sys.close(lock);
  }
}

/** The outcome if device, stamp and packet filter say that nothing is to do; else null. */
function upToDate(socket: NetlinkSocket, settings: OverlaySettings, filter: OverlayFilter): Outcome | null {
  const identity = identityOf(settings.source);
  const device = identity === "" ? null : ownDevice(socket, settings);
  if (device === null || !device.link.up) return null;
  filter.judge(judgedOf(device));
  const standing = presentFooting(socket, settings, device);
  const stamp = stampRoute(device.link.index, `${settings.text}\n${standing}`, identity);
  if (standing === "" || !isSameStamp(stamp, matchingRoute(socket, stamp.dst.address)) || !filter.isThere())
    return null;
  return outcomeOf(device, device.link.mtu, "", true);
}

function outcomeOf(device: Vxlan, mtu: number, problem: string, hasPeers: boolean): Outcome {
  const { name, index } = device.link;
  return { name, link: index, mtu, mtuBefore: 0, problem, heldBack: false, hasPeers, changed: false, repaired: [] };
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
  const present = ownDevice(socket, settings);
  if (present !== null) filter.judge(judgedOf(present));
  const expected = (read?.list.peers.count ?? 0) * ENTRIES_PER_PEER + FEW_ENTRIES;
  let found = listRoutes(socket, overlayOf(settings, present), expected);
  if (read === null && present !== null && present.link.up) {
    listOthers(socket, overlayOf(settings, present), found);
    const held = hostsOf(found);
    filter.put(held);
    return outcomeOf(present, present.link.mtu, problem, held.length > 0);
  }
  const peers = read?.list.peers ?? new PeerTable("", 0);
  const underlay = underlayOf(socket, settings, peers, found);
  const own = ownNode(settings, peers, underlay.address);
  const ownRow = validatePeers(peers, own);
  const ways = waysTo(socket, peers, ownRow, found);
  const lower = getLinkByIndex(socket, underlay.link);
  const mtu = mtuFor(socket, settings, underlay, lower, peers, ways);
  /* Strangers are kept out before there is anything to get into. */
  filter.put(hostsWithout(peers, ownRow));
  const alias = aliasVia(settings, lower, underlay);
  const device = ensureDevice(socket, settings, { local: underlay.address, mac: own.mac, mtu, alias });
  /* What a device takes is known when it is there. */
  if (filter.judge(judgedOf(device))) filter.put(hostsWithout(peers, ownRow));
  ensureAddresses(socket, device, settings.podCidrs);
  if (read === null) return outcomeOf(device, mtu, problem, false);
  const overlay = overlayOf(settings, device);
  const desired = entriesFor(overlay, peers, ownRow, directLinks(settings, device.link.index, ways));
  /* With the device all that was on it has gone. */
  const isCurrent = present?.link.up === true && present.link.index === device.link.index;
  if (!isCurrent) found = listRoutes(socket, overlay, FEW_ENTRIES);
  listOthers(socket, overlay, found);
  const configuration = `${settings.text}\n${footing(device, lower, alias, mtu)}`;
  const wanted = { overlay, desired, list: read.list, configuration, identity: read.identity };
  const changed = change(socket, wanted, found, () => filter.dropOthers());
  const narrowed = isCurrent && present.link.mtu > mtu && mtu !== settings.mtu;
  const mtuBefore = narrowed ? present.link.mtu : 0;
  const anew = changed.changed || filter.changed;
  const outcome = { ...changed, changed: anew, name: device.link.name, link: device.link.index, mtu, mtuBefore };
  if (lower?.up === true) return outcome;
  const parent = lower === null ? "the link between the nodes is gone" : `link ${lower.name} between the nodes is down`;
  return { ...outcome, problem: parent, hasPeers: false };
}

/** A device without a filter for VNIs takes every packet to its port. */
function judgedOf(device: Vxlan): Judged {
  return device.external && !device.vniFilter ? "port" : "vni";
}

function overlayOf(settings: OverlaySettings, device: Vxlan | null): Overlay {
  return { datapath: settings.datapath, vni: settings.vni, link: device === null ? 0 : device.link.index };
}

/** The addresses of all peers but this node. */
function hostsWithout(peers: PeerTable, ownRow: number): Int32Array {
  const { count } = peers;
  const hosts = new Int32Array((ownRow < 0 ? count : count - 1) * ADDRESS_WORDS);
  const behind = ownRow < 0 ? count : ownRow + 1;
  hosts.set(peers.hosts.subarray(0, (ownRow < 0 ? count : ownRow) * ADDRESS_WORDS));
  if (ownRow >= 0)
    hosts.set(peers.hosts.subarray(behind * ADDRESS_WORDS, count * ADDRESS_WORDS), ownRow * ADDRESS_WORDS);
  return hosts;
}

function ownNode(settings: OverlaySettings, peers: PeerTable, nodeIp: Address): OwnNode {
  const words = new Int32Array(ADDRESS_WORDS);
  putAddress(words, 0, nodeIp);
  const row = peers.find(words, 0);
  const mac = row < 0 ? vtepMac(nodeIp) : peers.peer(row).mac;
  return { nodeIp, podCidrs: settings.podCidrs, mac, mixed: settings.datapath === "gpe" };
}
