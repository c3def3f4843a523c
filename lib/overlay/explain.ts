/** What a call would change of an overlay's part of a node, as the lines of a shell script. Changes nothing. */
import { CniError } from "../errors.ts";
import { tableCommand } from "../filter/table-text.ts";
import { readSysctl } from "../host/sysctl.ts";
import { type Family, formatAddress, holdsPrefix, type Prefix } from "../ip/address.ts";
import { AddressColumn } from "../ip/columns.ts";
import { listAddresses } from "../netlink/address.ts";
import type { EntryTable } from "../netlink/entries/table.ts";
import { getLinkByIndex } from "../netlink/link.ts";
import type { Addresses } from "../netlink/nftables/address-sets.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Vxlan } from "../netlink/vxlan.ts";
import { shellWord } from "../text.ts";
import { heldBackBecause } from "./change.ts";
import { addressCommand, deviceCommands, deviceUpCommands, putCommand, removeCommand } from "./commands.ts";
import { type DevicePlan, deviceAddresses, differenceInDevice, ownDevice, sysctlsFor } from "./device.ts";
import { differenceOf, hostsOf } from "./difference.ts";
import { OverlayFilter } from "./filter.ts";
import { filterTable, needsFilter } from "./filter-rules.ts";
import { addKept, areUnknown, joined } from "./kept.ts";
import { addDeviceEntries, listMarkedRoutes } from "./kernel-entries.ts";
import { countMarked, FOREIGN, OURS } from "./ownership.ts";
import type { PeerList } from "./peers.ts";
import { ENTRIES_PER_PEER, FEW_ENTRIES, judgedOf, readList, unlessOlder } from "./reconcile.ts";
import { deviceName, type OverlaySettings } from "./settings.ts";
import { staleDevices } from "./stale-devices.ts";
import { generationOf, recordedLines } from "./state-file.ts";
import { desiredEntries, hostsWithout, overlayOf, type Topology, topologyOf } from "./topology.ts";
import { aliasVia } from "./underlay-state.ts";

export interface OverlayExplanation {
  readonly lines: readonly string[];
  /** What the device's MTU would be; 0 if it is not known. */
  readonly mtu: number;
}

/** @throws CniError as a reconciliation does */
export function explainOverlay(socket: NetlinkSocket, settings: OverlaySettings): OverlayExplanation {
  const given = readList(settings);
  const device = ownDevice(socket, settings);
  const expected = (given.read?.list.peers.count ?? 0) * ENTRIES_PER_PEER + FEW_ENTRIES;
  const found = listMarkedRoutes(socket, overlayOf(settings, device), expected);
  const isInUse = device?.link.up === true && countMarked(found, OURS) > 0;
  const { read, problem } = unlessOlder(settings, given, isInUse ? generationOf(recordedLines(), settings) : 0);
  if (read === null) return { lines: [`# the peers that are known stay: ${problem}`], mtu: device?.link.mtu ?? 0 };
  const { list } = read;
  const topology = topologyOf(socket, settings, list, { device, found });
  const { underlay, lower, own, mtu, valid } = topology;
  const plan = { local: underlay.address, mac: own.mac, mtu, alias: aliasVia(settings, lower, underlay.address) };
  const difference = device === null ? null : differenceInDevice(device, settings, plan);
  const stays = difference === null ? device : null;
  const entries = explainEntries(socket, settings, { device, stays, found, list }, topology);
  const lines = [
    ...valid.rejects.map(({ text }) => `# ${text}`),
    ...explainFilter(settings, device, topology, entries.isHeldBack),
    ...(difference === null
      ? []
      : [`# ${deviceName(settings)} ${difference}`, `ip link delete ${deviceName(settings)}`]),
    ...explainDevice(socket, settings, stays, plan),
    ...entries.lines,
  ];
  if (settings.firewall) lines.push("# firewalls of other programs that drop pods' packets get an accepting rule");
  return { lines, mtu };
}

/**
 * The packet filter is first, so that nobody else uses the device when it comes up.
 * @param isHeldBack whether peers that the list lacks stay
 */
function explainFilter(
  settings: OverlaySettings,
  device: Vxlan | null,
  { valid, kept }: Topology,
  isHeldBack: boolean,
): string[] {
  if (!needsFilter(settings))
    return [`# no table inet ${filterTable(settings)}: nothing in the configuration needs it`];
  const hosts = joined(hostsWithout(valid.peers, valid.ownRow), hostsOf(kept)).words();
  const filter = new OverlayFilter(settings, true);
  try {
    if (device !== null) filter.judge(judgedOf(device));
    const { definition, state, coming, going } = filter.compare(hosts);
    const table = `inet ${definition.name}`;
    const heading = `# the table ${table}, which keeps out who is no peer`;
    if (state !== "present") {
      const lines = tableCommand(definition, (set) => textsOf(coming, familyOf(set)));
      return [heading, ...(state === "missing" ? [] : [`nft delete table ${table}`]), ...lines];
    }
    return [
      `${heading}: it is there already`,
      ...elementLines("add", table, coming),
      ...(isHeldBack ? [] : elementLines("delete", table, going)),
    ];
  } catch (error) {
    if (error instanceof CniError) return [`# the packet filter cannot be read: ${error.message}`];
    throw error;
  } finally {
    filter.close();
  }
}

function elementLines(verb: string, table: string, addresses: Addresses): string[] {
  const lines: string[] = [];
  for (const family of [4, 6] as Family[]) {
    const texts = textsOf(addresses, family);
    if (texts.length > 0) lines.push(`nft ${verb} element ${table} peers${family} '{ ${texts.join(", ")} }'`);
  }
  return lines;
}

/** The IP version of a set of peers. */
function familyOf(set: string): Family {
  return set === "peers6" ? 6 : 4;
}

function textsOf({ words, count }: Addresses, family: Family): string[] {
  const column = AddressColumn.list(words);
  const texts: string[] = [];
  for (let row = 0; row < count; row += 1) {
    if (column.isIpv4(row) === (family === 4)) texts.push(formatAddress(column.address(row)));
  }
  return texts;
}

/** @param device the one that stays; null if one is to be made */
function explainDevice(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  device: Vxlan | null,
  plan: DevicePlan,
): string[] {
  const name = deviceName(settings);
  const lines: string[] = [];
  if (device === null) {
    lines.push(...staleCommands(socket, settings));
    lines.push(...deviceCommands(settings, plan));
  } else if (device.link.mtu !== plan.mtu) lines.push(`ip link set ${name} mtu ${plan.mtu}`);
  for (const [path, value] of sysctlsFor(settings)) {
    if (device === null || readSysctl(path) !== value) lines.push(`sysctl -w ${path.join("/")}=${value}`);
  }
  const isUp = device?.link.up === true && device.link.alias === plan.alias;
  if (!isUp) lines.push(...deviceUpCommands(settings, plan));
  const present: Prefix[] = [];
  if (device !== null) for (const { prefix } of listAddresses(socket, device.link.index)) present.push(prefix);
  for (const address of deviceAddresses(settings.podCidrs)) {
    if (!holdsPrefix(present, address)) lines.push(addressCommand(address, name));
  }
  const heading = `# the device ${name}`;
  return lines.length === 0 ? [`${heading}: it is there already`] : [heading, ...lines];
}

/** The device that the network had under another VNI goes, with its table. */
function staleCommands(socket: NetlinkSocket, settings: OverlaySettings): string[] {
  const lines: string[] = [];
  for (const { link, table } of staleDevices(socket, settings)) {
    lines.push(`ip link delete ${shellWord(link.name)}`, `nft delete table inet ${table} || true # it may not exist`);
  }
  return lines;
}

interface Found {
  readonly device: Vxlan | null;
  /** The device, if it stays. */
  readonly stays: Vxlan | null;
  /** All routes of the main routing table, with marks. */
  readonly found: EntryTable;
  readonly list: PeerList;
}

function explainEntries(
  socket: NetlinkSocket,
  settings: OverlaySettings,
  { device, stays, found, list }: Found,
  topology: Topology,
): { readonly lines: readonly string[]; readonly isHeldBack: boolean } {
  const overlay = overlayOf(settings, device);
  const desired = desiredEntries(overlay, settings, topology.valid, topology.paths);
  if (device !== null) addKept(overlay, desired, topology.kept, device.link.index);
  if (stays?.link.up === true) {
    addDeviceEntries(socket, overlay, found);
  } else if (device !== null) {
    /* They go with the device. */
    for (let row = 0; row < found.count; row += 1)
      if (found.link(row) === device.link.index) found.setMark(row, FOREIGN);
  }
  const name = deviceName(settings);
  /* Only routes have a link of their own, and without the device theirs has the index 0. */
  const linkName = (index: number): string => {
    if (index === 0 || index === overlay.link) return name;
    return getLinkByIndex(socket, index)?.name ?? `${index}`;
  };
  const difference = differenceOf(desired, found);
  const { put } = difference;
  const reason = heldBackBecause(list, desired, found, difference);
  const isHeldBack = reason !== "" || areUnknown(topology.valid.rejects);
  const remove = isHeldBack ? new Int32Array(0) : difference.remove;
  const lines: string[] = reason === "" ? [] : [`# ${reason}`];
  for (const row of remove) lines.push(removeCommand(found.entry(row), linkName(found.link(row)), name));
  for (const row of put) lines.push(putCommand(desired.entry(row), linkName(desired.link(row)), name));
  const heading = `# the entries of ${topology.valid.peers.count} nodes`;
  if (lines.length === 0) return { lines: [`${heading}: they are there already`], isHeldBack };
  return { lines: [heading, ...lines, "# the next call compares all this, and adds the stamp"], isHeldBack };
}
