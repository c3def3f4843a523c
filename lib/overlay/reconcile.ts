/** Brings a node's part of an overlay to what the configuration and the list of peers say. */
import type { EntryTable } from "../netlink/entries/table.ts";
import type { Link } from "../netlink/link.ts";
import { matchingRoute } from "../netlink/path.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Vxlan } from "../netlink/vxlan.ts";
import * as sys from "../sys/sys.ts";
import { type ChangeResult, changeEntries } from "./change.ts";
import { ensureAddresses, ensureDevice, ensureSysctls, hasSysctls, ownDevice } from "./device.ts";
import { hostsOf } from "./difference.ts";
import { OverlayFilter } from "./filter.ts";
import type { Judged } from "./filter-rules.ts";
import { addKept, joined } from "./kept.ts";
import { addDeviceEntries, listMarkedRoutes } from "./kernel-entries.ts";
import { countMarked, OURS } from "./ownership.ts";
import { PeersUnavailable } from "./peers.ts";
import { type OverlaySettings, optionsText } from "./settings.ts";
import { EMPTY_LIST, type ReadPeers } from "./sources/source.ts";
import { isSameStamp, stampRoute } from "./stamp.ts";
import { generationOf, linesIn, lockState, writeLine } from "./state-file.ts";
import { type Before, desiredEntries, hostsWithout, overlayOf, type Topology, topologyOf } from "./topology.ts";
import { aliasVia, currentUnderlayState, underlayState } from "./underlay-state.ts";
import { overridingRoutes, shortened, warningsOf } from "./warnings.ts";

/** The state of the overlay after a reconciliation. */
export interface OverlayStatus extends ChangeResult {
  /** The device's name, index and MTU. */
  readonly name: string;
  readonly link: number;
  readonly mtu: number;
  /** What a person should know although pods work: rejected records, warnings. */
  readonly notes: readonly string[];
}

/**
 * How closely to look. "quick": if the stamp is right, nothing else is looked at. "close": also at what costs little. "full": all
 * that the kernel holds is compared, even if the stamp is right.
 */
export type Depth = "quick" | "close" | "full";

/** How many entries a table is made for; it grows. */
export const ENTRIES_PER_PEER = 3;
export const FEW_ENTRIES = 100;

/** @throws CniError if the device cannot be made, or the list gives this node other networks than the configuration */
export function reconcileOverlay(socket: NetlinkSocket, settings: OverlaySettings, depth: Depth): OverlayStatus {
  const filter = new OverlayFilter(settings, depth === "full");
  try {
    const status = depth === "full" ? null : statusIfUnchanged(socket, settings, filter, depth);
    return status ?? reconcileLocked(socket, settings, filter, depth);
  } finally {
    filter.close();
  }
}

function reconcileLocked(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  depth: Depth,
): OverlayStatus {
  const lock = lockState();
  try {
    /* Another call may have done all while this one waited for the lock. */
    const status = depth === "full" ? null : statusIfUnchanged(socket, settings, filter, depth);
    return status ?? update(socket, settings, filter, lock);
  } finally {
    sys.close(lock);
  }
}

/** The status if device, stamp and packet filter say that nothing has changed; else null. */
function statusIfUnchanged(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  depth: Depth,
): OverlayStatus | null {
  const identity = settings.source.identity();
  const device = identity === "" ? null : ownDevice(socket, settings);
  if (device === null || !device.link.up) return null;
  filter.judge(judgedOf(device));
  const state = currentUnderlayState(socket, settings, device);
  const stamp = stampRoute(device.link.index, configurationText(settings, state), identity);
  if (state === "" || !isSameStamp(stamp, matchingRoute(socket, stamp.dst.address)) || !filter.isThere()) return null;
  if (depth === "close" && !hasSysctls(settings)) return null;
  return unchanged(device, device.link.mtu, "", true);
}

/** What the stamp has of the configuration and of the underlay. */
function configurationText(settings: OverlaySettings, state: string): string {
  return `${optionsText(settings)}\n${state}`;
}

/** The status of an overlay none of whose entries was changed. */
function unchanged(device: Vxlan, mtu: number, problem: string, hasPeers: boolean): OverlayStatus {
  const { name, index } = device.link;
  return { name, link: index, mtu, notes: [], problem, heldBack: false, hasPeers, changed: false, repaired: [] };
}

/** The list; null if it cannot be used, with the reason. */
export interface UsableList {
  readonly read: ReadPeers | null;
  readonly problem: string;
}

export function readList(settings: OverlaySettings): UsableList {
  try {
    return { read: settings.source.read(), problem: "" };
  } catch (error) {
    if (error instanceof PeersUnavailable) return { read: null, problem: error.message };
    throw error;
  }
}

/** An older list than the one in use would remove nodes that have come since. @param newest the generation in use */
export function unlessOlder(settings: OverlaySettings, { read, problem }: UsableList, newest: number): UsableList {
  if (read === null || read.list.generation === 0 || read.list.generation >= newest || read.list.force)
    return { read, problem };
  return {
    read: null,
    problem: `${settings.source.name()} is of generation ${read.list.generation}, but one of generation ${newest} has been used: an older list is not, unless its first line says "force":true`,
  };
}

/** Compares everything and changes what is different. @param lock the locked state file */
function update(socket: NetlinkSocket, settings: OverlaySettings, filter: OverlayFilter, lock: number): OverlayStatus {
  const given = readList(settings);
  const device = ownDevice(socket, settings);
  if (device !== null) filter.judge(judgedOf(device));
  const isUp = device?.link.up === true;
  const expected = (given.read?.list.peers.count ?? 0) * ENTRIES_PER_PEER + FEW_ENTRIES;
  const found = listMarkedRoutes(socket, overlayOf(settings, device), expected);
  const lines = linesIn(lock);
  const newest = generationOf(lines, settings);
  const { read, problem } = unlessOlder(settings, given, isUp && countMarked(found, OURS) > 0 ? newest : 0);
  /* The generation of a list that cannot be used is not recorded: the list before it may come back. */
  const recordGeneration = (generation: number): void => writeLine(lock, lines, settings, generation);
  if (read === null) recordGeneration(newest);
  if (read === null && device !== null && isUp) return keepPeers(socket, settings, filter, { device, found, problem });
  let topology: Topology;
  try {
    topology = topologyOf(socket, settings, read === null ? EMPTY_LIST : read.list, { device, found });
  } catch (error) {
    recordGeneration(newest);
    throw error;
  }
  if (read !== null) recordGeneration(read.list.generation);
  return updateTo(socket, settings, filter, { before: { device, found }, topology, read, problem });
}

/** The list cannot be used: the peers that are known stay. */
function keepPeers(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  { device, found, problem }: { device: Vxlan; found: EntryTable; problem: string },
): OverlayStatus {
  addDeviceEntries(socket, overlayOf(settings, device), found);
  const hosts = hostsOf(found);
  filter.put(hosts.words());
  ensureSysctls(settings);
  ensureAddresses(socket, device, settings.podCidrs);
  return unchanged(device, device.link.mtu, problem, hosts.count > 0);
}

/** What an update goes from, and what it leads to. */
interface Update {
  readonly before: Before;
  readonly topology: Topology;
  readonly read: ReadPeers | null;
  readonly problem: string;
}

function updateTo(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  { before, topology, read, problem }: Update,
): OverlayStatus {
  const { underlay, valid, own, lower, mtu, kept } = topology;
  const hadSysctls = before.device === null || hasSysctls(settings);
  /* The packet filter first: nobody else may use the device when it comes up. */
  const hosts = joined(hostsWithout(valid.peers, valid.ownRow), hostsOf(kept)).words();
  filter.put(hosts);
  const alias = aliasVia(settings, lower, underlay.address);
  const device = ensureDevice(socket, settings, { local: underlay.address, mac: own.mac, mtu, alias });
  /* Which packets a new device receives depends on the kernel. */
  if (filter.judge(judgedOf(device))) filter.put(hosts);
  ensureAddresses(socket, device, settings.podCidrs);
  const notes = [...shortened(valid.rejects.map((reject) => reject.text)), ...warningsOf(settings, valid, underlay)];
  if (read === null) return { ...unchanged(device, mtu, problem, false), notes };
  const change = updateEntries(socket, settings, filter, { device, read, topology, before });
  const isSameDevice = before.device?.link.up === true && before.device.link.index === device.link.index;
  const mtuBefore = before.device?.link.mtu ?? 0;
  if (isSameDevice && mtuBefore > mtu && mtu !== settings.mtu) notes.push(mtuLowered(device, mtuBefore, mtu));
  notes.push(...change.notes);
  const { name, index } = device.link;
  return {
    ...change,
    changed: change.changed || filter.changed || !hadSysctls,
    name,
    link: index,
    mtu,
    notes,
    problem: linkProblem(lower) ?? change.problem,
  };
}

interface EntriesUpdate {
  readonly before: Before;
  readonly device: Vxlan;
  readonly read: ReadPeers;
  readonly topology: Topology;
}

function updateEntries(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  filter: OverlayFilter,
  { device, read, topology, before }: EntriesUpdate,
): ChangeResult & { readonly notes: readonly string[] } {
  const { valid, paths, lower, underlay, mtu, kept } = topology;
  const overlay = overlayOf(settings, device);
  const desired = desiredEntries(overlay, settings, valid, paths);
  if (before.device !== null) addKept(overlay, desired, kept, before.device.link.index);
  /* If the device was created again, the entries that were listed are gone. */
  const isCurrent = before.device?.link.up === true && before.device.link.index === device.link.index;
  const found = isCurrent ? before.found : listMarkedRoutes(socket, overlay, FEW_ENTRIES);
  addDeviceEntries(socket, overlay, found);
  const state = underlayState(device, lower, aliasVia(settings, lower, underlay.address), mtu);
  const configuration = configurationText(settings, state);
  const wanted = { overlay, desired, list: read.list, valid, configuration, identity: read.identity };
  const change = changeEntries(socket, wanted, found, () => filter.dropOthers());
  const { whole, parts } = overridingRoutes(overlay, valid, found);
  return { ...change, problem: change.problem === "" ? whole : change.problem, notes: parts };
}

/** What is wrong with the link between the nodes; null if nothing is. */
function linkProblem(lower: Link | null): string | null {
  if (lower?.up === true) return null;
  return lower === null ? "the link between the nodes is gone" : `link ${lower.name} between the nodes is down`;
}

/** Pods that exist already go on sending packets that no longer fit. */
function mtuLowered(device: Vxlan, before: number, mtu: number): string {
  return `${device.link.name} had MTU ${before}, which should be ${mtu}, and now is: the path between the nodes has become narrower; pods made before have to learn of ${mtu} by ICMP, or be created again`;
}

/** A device without a VNI filter receives every packet to its port. */
export function judgedOf(device: Vxlan): Judged {
  return device.external && !device.vniFilter ? "port" : "vni";
}
