/**
 * What the kernel should hold for the other nodes of an overlay: a function of the list of peers. Every entry follows from
 * {nodeIP, podCIDRs} alone, and shows whose it is by its device, protocol number and metric (ownership.ts).
 *
 * | datapath | for a peer |
 * |---|---|
 * | classic | a forwarding entry (its MAC is behind its IP address); for each network of pods a neighbour (the network's first address has that MAC) and a route to the network by way of that address |
 * | gpe | for each network of pods a route into the tunnel |
 * | either, with directRouting | for each network of pods of the node's IP version a route by way of the node, which is on the same segment; for the others as above |
 *
 * Pure.
 */
import { type Family, formatAddress, formatPrefix } from "../ip/address.ts";
import type { Entry } from "../netlink/entries/entry.ts";
import { EntryTable, FDB, NEIGHBOUR, ROUTE } from "../netlink/entries/table.ts";
import { metricOf, type Overlay, PROTOCOL } from "./ownership.ts";
import type { PeerTable } from "./peer-table.ts";

/**
 * The entries for the peers.
 * @param ownRow the row that is this node, -1 if none is
 * @param direct for each peer the index of the link on which it is reached without a tunnel; 0 for those behind the tunnel
 * @param without an IP version that this node's pods do not have, and that its kernel may not have; 0 for none
 */
export function entriesFor(
  overlay: Overlay,
  peers: PeerTable,
  ownRow: number,
  direct: Int32Array,
  without: Family | 0,
): EntryTable {
  const classic = overlay.datapath === "classic";
  const table = new EntryTable(peers.networkCount * (classic ? 2 : 1) + (classic ? peers.count : 0));
  const { hosts } = peers;
  const { addresses } = peers.networks;
  for (let peer = 0; peer < peers.count; peer += 1) {
    if (peer === ownRow) continue;
    const end = peers.networksEnd(peer);
    let tunnelled = false;
    for (let network = peers.networksBegin(peer); network < end; network += 1) {
      const isIpv4 = addresses.isIpv4(network);
      if (without === (isIpv4 ? 4 : 6)) continue;
      /* A gateway is of its route's IP version. */
      const link = hosts.isIpv4(peer) === isIpv4 ? (direct[peer] ?? 0) : 0;
      if (link === 0 && classic) {
        if (!tunnelled) addForwarding(table, peers, peer);
        addNeighbour(table, peers, peer, network);
        tunnelled = true;
      }
      addRoute(table, overlay, peers, peer, network, link);
    }
  }
  return table;
}

function addForwarding(table: EntryTable, peers: PeerTable, peer: number): void {
  const row = table.append(FDB);
  table.fdbMacs.copy(row, peers.macs, peer);
  table.hosts.copy(row, peers.hosts, peer);
  table.setPermanent(row);
}

function addNeighbour(table: EntryTable, peers: PeerTable, peer: number, network: number): void {
  const row = table.append(NEIGHBOUR);
  table.addresses.copy(row, peers.networks.addresses, network);
  table.neighbourMacs.copy(row, peers.macs, peer);
  table.setPermanent(row);
}

/** @param link where the peer is reached without a tunnel, 0 if it is not */
function addRoute(
  table: EntryTable,
  overlay: Overlay,
  peers: PeerTable,
  peer: number,
  network: number,
  link: number,
): void {
  const { networks } = peers;
  const length = networks.length(network);
  const row = table.append(ROUTE);
  table.addresses.copy(row, networks.addresses, network);
  table.setLength(row, length);
  table.setMetric(row, metricOf(networks.addresses, network, length, overlay.vni));
  table.setLink(row, link === 0 ? overlay.link : link);
  table.setProtocol(row, PROTOCOL);
  if (link !== 0) {
    table.setGateway(row, peers.hosts, peer);
  } else if (overlay.datapath === "gpe") {
    table.setTunnel(row, overlay.vni, peers.hosts, peer);
  } else {
    table.setGateway(row, networks.addresses, network);
    table.setOnlink(row);
  }
}

/** An entry as a person would write it, for messages. */
export function describeEntry(entry: Entry): string {
  if (entry.kind === "fdb") return `forwarding entry ${entry.mac} dst ${formatAddress(entry.host)}`;
  if (entry.kind === "neighbour") return `neighbour ${formatAddress(entry.address)} lladdr ${entry.mac}`;
  const { dst, gateway, tunnel, priority } = entry.route;
  const via = gateway === null ? "" : ` via ${formatAddress(gateway)}`;
  const encap = tunnel === null ? "" : ` encap ip id ${tunnel.vni} dst ${formatAddress(tunnel.host)}`;
  return `route ${formatPrefix(dst)}${encap}${via} metric ${priority}`;
}
