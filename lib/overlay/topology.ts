/** What an update needs to know before it changes anything: this node, the others, and the paths to them. Changes nothing. */
import type { Family } from "../ip/address.ts";
import { AddressList } from "../ip/columns.ts";
import { listAllAddresses } from "../netlink/address.ts";
import { EntryTable } from "../netlink/entries/table.ts";
import { getLinkByIndex, type Link } from "../netlink/link.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Vxlan } from "../netlink/vxlan.ts";
import { entriesFor } from "./entries.ts";
import { keptEntries } from "./kept.ts";
import { addDeviceEntries } from "./kernel-entries.ts";
import type { Overlay } from "./ownership.ts";
import { addressesNear, directLinks, mtuFor, type PeerPaths, pathsTo, underlayOf } from "./peer-paths.ts";
import type { PeerTable } from "./peer-table.ts";
import { type PeerList, vtepMac } from "./peers.ts";
import type { OverlaySettings } from "./settings.ts";
import type { Underlay } from "./underlay.ts";
import { type OwnNode, ownRowOf, type ValidPeers, validPeers } from "./valid-peers.ts";

/** What there is before anything is changed. */
export interface Before {
  readonly device: Vxlan | null;
  /** All routes of the main routing table, with marks. */
  readonly found: EntryTable;
}

/** This node among the others. */
export interface Topology {
  readonly underlay: Underlay;
  readonly valid: ValidPeers;
  readonly own: OwnNode;
  /** The link between the nodes; null if it is gone. */
  readonly lower: Link | null;
  readonly paths: PeerPaths;
  readonly mtu: number;
  /** What the kernel holds of nodes whose records cannot be used. */
  readonly kept: EntryTable;
}

export function topologyOf(socket: NetlinkSocket, settings: OverlaySettings, list: PeerList, before: Before): Topology {
  const { device, found } = before;
  const addresses = listAllAddresses(socket);
  const underlay = underlayOf(socket, settings, addresses, list.peers, found);
  const nodeIp = underlay.address;
  const ownRow = ownRowOf(list.peers, nodeIp, settings.podCidrs);
  /* The others derive the MAC from the address that they know. */
  const mac = ownRow < 0 ? vtepMac(nodeIp) : list.peers.peer(ownRow).mac;
  const near = addressesNear(underlay, addresses, found);
  const own = { nodeIp, podCidrs: settings.podCidrs, mac, mixed: settings.datapath === "gpe", near };
  const valid = validPeers(list, ownRow, own);
  const paths = pathsTo(socket, valid.peers, valid.ownRow, found);
  const lower = getLinkByIndex(socket, underlay.link);
  const mtu = mtuFor(socket, settings, underlay, lower, valid.peers, paths);
  let kept = new EntryTable(0);
  if (device?.link.up === true && valid.rejects.length > 0) {
    const overlay = overlayOf(settings, device);
    const routes = found.count;
    addDeviceEntries(socket, overlay, found);
    kept = keptEntries(overlay, found, valid.rejects);
    found.cut(routes);
  }
  return { underlay, valid, own, lower, paths, mtu, kept };
}

/** The entries that the kernel should hold for the peers. */
export function desiredEntries(
  overlay: Overlay,
  settings: OverlaySettings,
  valid: ValidPeers,
  paths: PeerPaths,
): EntryTable {
  const direct = directLinks(settings, overlay.link, paths);
  return entriesFor(overlay, valid.peers, valid.ownRow, direct, familyWithout(settings));
}

/** The IP version that this node has no pods of; 0 if it has of both. */
function familyWithout(settings: OverlaySettings): Family | 0 {
  const has = (family: Family): boolean => settings.podCidrs.some((cidr) => cidr.address.family === family);
  if (!has(6)) return 6;
  return has(4) ? 0 : 4;
}

/** @param device null if there is none */
export function overlayOf(settings: OverlaySettings, device: Vxlan | null): Overlay {
  return { datapath: settings.datapath, vni: settings.vni, link: device === null ? 0 : device.link.index };
}

/** The addresses of all peers but this node. */
export function hostsWithout(peers: PeerTable, ownRow: number): AddressList {
  const { count } = peers;
  const hosts = new AddressList(count);
  hosts.appendRows(peers.hosts, 0, ownRow < 0 ? count : ownRow);
  if (ownRow >= 0) hosts.appendRows(peers.hosts, ownRow + 1, count);
  return hosts;
}
