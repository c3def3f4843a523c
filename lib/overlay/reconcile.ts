/** Brings a node's part of an overlay to what the configuration and the peers say. */
import type { Family } from "../ip/address.ts";
import { ADDRESS_WORDS } from "../ip/words.ts";
import { listAllAddresses } from "../netlink/address.ts";
import { EntryTable, ROUTE } from "../netlink/entry-table.ts";
import { getLinkByIndex, type Link } from "../netlink/link.ts";
import { matchingRoute } from "../netlink/path.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Vxlan } from "../netlink/vxlan.ts";
import * as sys from "../sys/sys.ts";
import { type Change, change } from "./change.ts";
import { ensureAddresses, ensureDevice, ensureSettings, hasSettings, ownDevice } from "./device.ts";
import { hostsOf } from "./difference.ts";
import { doubtsOf, overriding, shortened } from "./doubts.ts";
import { entriesFor, type Overlay } from "./entries.ts";
import { OverlayFilter } from "./filter.ts";
import type { Judged } from "./filter-rules.ts";
import { aliasVia, footing, presentFooting } from "./footing.ts";
import { addKept, joined, keptEntries } from "./kept.ts";
import { listOthers, listRoutes } from "./kernel-entries.ts";
import type { PeerTable } from "./peer-table.ts";
import { type PeerList, PeersUnknown, vtepMac } from "./peers.ts";
import type { OverlaySettings } from "./settings.ts";
import { type OwnNode, ownRowOf, type Sound, soundPeers } from "./sound.ts";
import { identityOf, NOBODY, type ReadPeers, readPeers } from "./source.ts";
import { isSameStamp, stampRoute } from "./stamp.ts";
import { generationOf, linesIn, lockState, remember } from "./state-file.ts";
import type { Underlay } from "./underlay.ts";
import { addressesNear, directLinks, mtuFor, underlayOf, type Ways, waysTo } from "./ways.ts";

/** How the overlay stands after a reconciliation. */
export interface Outcome extends Change {
  /** The device's name, index and MTU. */
  readonly name: string;
  readonly link: number;
  readonly mtu: number;
  /** What a person should know although pods are served: records that are not used, doubts about the rest. */
  readonly notes: readonly string[];
}

/**
 * How closely to look: "quick" believes the stamp; "close" also asks what a look costs little; "full" compares all that the
 * kernel holds, even if the stamp says that nothing has changed.
 */
export type Depth = "quick" | "close" | "full";

/** What the tables are made for; they grow. */
const ENTRIES_PER_PEER = 3;
const FEW_ENTRIES = 100;

/** @throws CniError if the device cannot be had, or the list says something else of this node than the configuration */
export function reconcile(socket: NetlinkSocket, settings: OverlaySettings, depth: Depth): Outcome {
  const filter = new OverlayFilter(settings, depth === "full");
  try {
    const before = depth === "full" ? null : upToDate(socket, settings, filter, depth);
    return before ?? reconcileLocked(socket, settings, filter, depth);
  } finally {
    filter.close();
  }
}

function reconcileLocked(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  depth: Depth,
): Outcome {
  const lock = lockState();
  try {
    /* Another call may have done it while this one waited. */
    const outcome = depth === "full" ? null : upToDate(socket, settings, filter, depth);
    return outcome ?? bringAbout(socket, settings, filter, lock);
  } finally {
    sys.close(lock);
  }
}

/** The outcome if device, stamp and packet filter say that nothing is to do; else null. */
function upToDate(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  depth: Depth,
): Outcome | null {
  const identity = identityOf(settings.source);
  const device = identity === "" ? null : ownDevice(socket, settings);
  if (device === null || !device.link.up) return null;
  filter.judge(judgedOf(device));
  const standing = presentFooting(socket, settings, device);
  const stamp = stampRoute(device.link.index, `${settings.text}\n${standing}`, identity);
  if (standing === "" || !isSameStamp(stamp, matchingRoute(socket, stamp.dst.address)) || !filter.isThere())
    return null;
  if (depth === "close" && !hasSettings(settings)) return null;
  return outcomeOf(device, device.link.mtu, "", true);
}

function outcomeOf(device: Vxlan, mtu: number, problem: string, hasPeers: boolean): Outcome {
  const { name, index } = device.link;
  return { name, link: index, mtu, notes: [], problem, heldBack: false, hasPeers, changed: false, repaired: [] };
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

/** A list that was made before the one in use would take away who came since. @param newest the generation in use */
function unlessOlder(settings: OverlaySettings, { read, problem }: Known, newest: number): Known {
  if (read === null || read.list.generation === 0 || read.list.generation >= newest || read.list.force)
    return { read, problem };
  return {
    read: null,
    problem: `${settings.source.file} is of generation ${read.list.generation}, but one of generation ${newest} has been used: an older list is not, unless its first line says "force":true`,
  };
}

function bringAbout(socket: NetlinkSocket, settings: OverlaySettings, filter: OverlayFilter, lock: number): Outcome {
  const given = known(settings);
  const present = ownDevice(socket, settings);
  if (present !== null) filter.judge(judgedOf(present));
  const isUp = present?.link.up === true;
  const expected = (given.read?.list.peers.count ?? 0) * ENTRIES_PER_PEER + FEW_ENTRIES;
  const found = listRoutes(socket, overlayOf(settings, present), expected);
  const noted = linesIn(lock);
  const newest = generationOf(noted, settings);
  const hasEntries = isUp && found.rowsOf(ROUTE).length > 0;
  const { read, problem } = unlessOlder(settings, given, hasEntries ? newest : 0);
  /* A list that cannot be used counts for none: the one before may come back. */
  const note = (generation: number): void => remember(lock, noted, settings, generation);
  if (read === null) note(newest);
  if (read === null && present !== null && isUp) return keepAll(socket, settings, filter, { present, found, problem });
  let scene: Scene;
  try {
    scene = sceneOf(socket, settings, read === null ? NOBODY : read.list, { present, found });
  } catch (error) {
    note(newest);
    throw error;
  }
  if (read !== null) note(read.list.generation);
  const { underlay, sound, own, lower, mtu, kept } = scene;
  const wasSet = present === null || hasSettings(settings);
  /* Strangers are kept out before there is anything to get into. */
  const hosts = joined(hostsWithout(sound.peers, sound.ownRow), hostsOf(kept));
  filter.put(hosts);
  const alias = aliasVia(settings, lower, underlay);
  const device = ensureDevice(socket, settings, { local: underlay.address, mac: own.mac, mtu, alias });
  /* What a device takes is known when it is there. */
  if (filter.judge(judgedOf(device))) filter.put(hosts);
  ensureAddresses(socket, device, settings.podCidrs);
  const notes = [...shortened(sound.rejects.map((reject) => reject.text)), ...doubtsOf(settings, sound, underlay)];
  if (read === null) return { ...outcomeOf(device, mtu, problem, false), notes };
  const changed = changeEntries(socket, settings, filter, { device, read, scene, present, found });
  if (isUp && present?.link.index === device.link.index && present.link.mtu > mtu && mtu !== settings.mtu)
    notes.push(tooWide(device.link.name, present.link.mtu, mtu));
  const { name, index } = device.link;
  notes.push(...changed.notes);
  const isChanged = changed.changed || filter.changed || !wasSet;
  return {
    ...changed,
    changed: isChanged,
    name,
    link: index,
    mtu,
    notes,
    problem: linkProblem(lower) ?? changed.problem,
  };
}

/** What there is before anything is changed. */
interface Before {
  readonly present: Vxlan | null;
  /** All routes of the main table, told apart. */
  readonly found: EntryTable;
}

/** The list cannot be used: whatever it says, the peers that are known stay. */
function keepAll(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  { present, found, problem }: { present: Vxlan; found: EntryTable; problem: string },
): Outcome {
  listOthers(socket, overlayOf(settings, present), found);
  const held = hostsOf(found);
  filter.put(held);
  ensureSettings(settings);
  ensureAddresses(socket, present, settings.podCidrs);
  return outcomeOf(present, present.link.mtu, problem, held.length > 0);
}

/** Where this node stands among the others. */
interface Scene {
  readonly underlay: Underlay;
  readonly sound: Sound;
  readonly own: OwnNode;
  /** The link between the nodes; null if it is gone. */
  readonly lower: Link | null;
  readonly ways: Ways;
  readonly mtu: number;
  /** What the kernel holds of nodes whose records cannot be used. */
  readonly kept: EntryTable;
}

function sceneOf(socket: NetlinkSocket, settings: OverlaySettings, list: PeerList, before: Before): Scene {
  const { present, found } = before;
  const addresses = listAllAddresses(socket);
  const underlay = underlayOf(socket, settings, addresses, list.peers, found);
  const nodeIp = underlay.address;
  const ownRow = ownRowOf(list.peers, nodeIp, settings.podCidrs);
  /* The others derive it from the address that they know. */
  const mac = ownRow < 0 ? vtepMac(nodeIp) : list.peers.peer(ownRow).mac;
  const near = addressesNear(underlay, addresses, found);
  const own = { nodeIp, podCidrs: settings.podCidrs, mac, mixed: settings.datapath === "gpe", near };
  const sound = soundPeers(list, ownRow, own);
  const ways = waysTo(socket, sound.peers, sound.ownRow, found);
  const lower = getLinkByIndex(socket, underlay.link);
  const mtu = mtuFor(socket, settings, underlay, lower, sound.peers, ways);
  let kept = new EntryTable(0);
  if (present?.link.up === true && sound.rejects.length > 0) {
    const overlay = overlayOf(settings, present);
    const routes = found.count;
    listOthers(socket, overlay, found);
    kept = keptEntries(overlay, found, sound.rejects);
    found.cut(routes);
  }
  return { underlay, sound, own, lower, ways, mtu, kept };
}

/** What is there, and what it is to become. */
interface Turn extends Before {
  readonly device: Vxlan;
  readonly read: ReadPeers;
  readonly scene: Scene;
}

function changeEntries(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  turn: Turn,
): Change & { readonly notes: readonly string[] } {
  const { device, read, present } = turn;
  const { sound, ways, lower, underlay, mtu, kept } = turn.scene;
  const overlay = overlayOf(settings, device);
  const direct = directLinks(settings, device.link.index, ways);
  const desired = entriesFor(overlay, sound.peers, sound.ownRow, direct, familyWithout(settings));
  if (present !== null) addKept(overlay, desired, kept, present.link.index);
  /* With the device all that was on it has gone. */
  const isCurrent = present?.link.up === true && present.link.index === device.link.index;
  const found = isCurrent ? turn.found : listRoutes(socket, overlay, FEW_ENTRIES);
  listOthers(socket, overlay, found);
  const configuration = `${settings.text}\n${footing(device, lower, aliasVia(settings, lower, underlay), mtu)}`;
  const wanted = { overlay, desired, list: read.list, sound, configuration, identity: read.identity };
  const changed = change(socket, wanted, found, () => filter.dropOthers());
  const { whole, parts } = overriding(overlay, sound, found);
  return { ...changed, problem: changed.problem === "" ? whole : changed.problem, notes: parts };
}

/** What is wrong with the link between the nodes; null if nothing is. */
function linkProblem(lower: Link | null): string | null {
  if (lower?.up === true) return null;
  return lower === null ? "the link between the nodes is gone" : `link ${lower.name} between the nodes is down`;
}

/** Pods that are there already go on sending what no longer fits. */
function tooWide(name: string, before: number, mtu: number): string {
  return `${name} had MTU ${before}, which should be ${mtu}, and now is: the way between the nodes has become narrower; pods made before have to learn of ${mtu} by ICMP, or be created again`;
}

/** The IP version that this node has no pods of; 0 if it has of both. */
function familyWithout(settings: OverlaySettings): Family | 0 {
  const has = (family: Family): boolean => settings.podCidrs.some((cidr) => cidr.address.family === family);
  if (!has(6)) return 6;
  return has(4) ? 0 : 4;
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
