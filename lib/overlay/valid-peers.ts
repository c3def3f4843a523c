/** The part of a list that can be used: a record that contradicts others or this node is rejected, with its reason. Pure. */
import { CniError, INVALID_CONFIG } from "../errors.ts";
import { type Address, formatAddress, formatPrefixes, type Prefix, sameAddress } from "../ip/address.ts";
import { AddressColumn, MacColumn } from "../ip/columns.ts";
import { formatMac } from "../ip/mac.ts";
import { itemAt, textAt } from "../lists.ts";
import { Conflicts } from "./conflicts.ts";
import type { PeerTable } from "./peer-table.ts";
import type { PeerList, Reject } from "./peers.ts";
import { PodNetworks, THIS_NODE } from "./pod-networks.ts";

/** This node, as its configuration and its links have it. */
export interface OwnNode {
  readonly nodeIp: Address;
  readonly podCidrs: readonly Prefix[];
  readonly mac: Uint8Array;
  /** Whether peers may have addresses of the other IP version: a classic device has one version. */
  readonly mixed: boolean;
  /** The addresses of the link between the nodes and of the routers on it: no peer's pods may have them. */
  readonly near: readonly Address[];
}

/** The part of a list that can be used. */
export interface ValidPeers {
  readonly peers: PeerTable;
  /** The row of this node's own record, -1 if there is none. */
  readonly ownRow: number;
  /** The networks of the peers' pods, and this node's. */
  readonly networks: PodNetworks;
  /** All records that cannot be used. */
  readonly rejects: readonly Reject[];
}

/**
 * The row of this node's record: the one with its address. Else, if its address is translated on the way to the others, the only
 * one with just its networks. -1 if there is none.
 */
export function ownRowOf(peers: PeerTable, nodeIp: Address, podCidrs: readonly Prefix[]): number {
  const own = AddressColumn.of(nodeIp);
  const named = peers.find(own, 0);
  const configured = textOf(podCidrs);
  const firstCidr = itemAt(podCidrs, 0);
  const first = AddressColumn.of(firstCidr === null ? nodeIp : firstCidr.address);
  let alike = -1;
  for (let row = 0; row < peers.count; row += 1) {
    if (named >= 0 ? !peers.hosts.isSame(row, own, 0) : !hasNetwork(peers, row, first)) continue;
    if (textOf(peers.peer(row).podCidrs) !== configured) continue;
    if (named >= 0) return row;
    if (alike >= 0) return -1;
    alike = row;
  }
  return named >= 0 ? named : alike;
}

/** Whether one of a row's networks begins with an address, the first of `first`. */
function hasNetwork(peers: PeerTable, row: number, first: AddressColumn): boolean {
  const { addresses } = peers.networks;
  const end = peers.networksEnd(row);
  for (let network = peers.networksBegin(row); network < end; network += 1) {
    if (addresses.isSame(network, first, 0)) return true;
  }
  return false;
}

function textOf(cidrs: readonly Prefix[]): string {
  return formatPrefixes(cidrs).sort().join(", ");
}

/**
 * Rejects the records that cannot be used.
 * @param ownRow as `ownRowOf` has it
 * @throws CniError 7 if this node's own record is not as its configuration, or the configuration contradicts itself
 */
export function validPeers(list: PeerList, ownRow: number, own: OwnNode): ValidPeers {
  const rejects: Reject[] = [...list.rejects];
  let { peers } = list;
  let row = ownRow;
  if (row >= 0) checkOwnRecord(peers, row, own);
  for (;;) {
    const networks = new PodNetworks(peers, row, own.podCidrs);
    const conflicts = conflictsIn(peers, row, own, networks);
    if (conflicts.count === 0) return { peers, ownRow: row, networks, rejects };
    const lost = conflicts.rejected(peers.count);
    const problems = conflicts.problems(peers.count);
    let before = 0;
    for (let i = 0; i < peers.count; i += 1) {
      if (lost[i] !== 1) continue;
      const { nodeIp, podCidrs } = peers.peer(i);
      const text = `${named(peers, i)} is not used: ${textAt(problems, i)}`;
      rejects.push({ text, host: nodeIp, podCidrs });
      if (i < row) before += 1;
    }
    peers = peers.without(lost);
    row -= before;
  }
}

function named(peers: PeerTable, row: number): string {
  return row === THIS_NODE ? "this node" : `${peers.place(row)} (${formatAddress(peers.host(row))})`;
}

function checkOwnRecord(peers: PeerTable, row: number, own: OwnNode): void {
  const record = peers.peer(row);
  const listed = textOf(record.podCidrs);
  const configured = textOf(own.podCidrs);
  if (listed === configured) return;
  throw new CniError(
    INVALID_CONFIG,
    `${record.place} gives this node (${formatAddress(own.nodeIp)}) other pods than its configuration`,
    `the peers say [${listed}], "podCIDRs" says [${configured}]; pods with addresses of the old network cannot be reached: correct one of the two`,
  );
}

function conflictsIn(peers: PeerTable, ownRow: number, own: OwnNode, networks: PodNetworks): Conflicts {
  const conflicts = new Conflicts();
  const isIpv4 = own.nodeIp.family === 4;
  /* MACs that are made from IPv4 addresses differ as these do. */
  let compareMacs = false;
  for (let row = 0; row < peers.count; row += 1) {
    const isIpv4Host = peers.hosts.isIpv4(row);
    if (!own.mixed && isIpv4Host !== isIpv4 && row !== ownRow) conflicts.add(row, THIS_NODE, wrongFamily(own));
    if (!isIpv4Host || peers.hasOwnMac(row)) compareMacs = true;
  }
  if (peers.duplicate() >= 0) compareHosts(peers, ownRow, conflicts);
  if (compareMacs) compareEthernet(peers, ownRow, own, conflicts);
  compareNetworks(peers, networks, conflicts);
  /* An address has one owner only where no two networks overlap. */
  if (conflicts.count === 0) findInside(peers, ownRow, own, networks, conflicts);
  return conflicts;
}

function wrongFamily(own: OwnNode): string {
  return `it cannot be reached from ${formatAddress(own.nodeIp)}, since a VXLAN device with forwarding entries has one IP version outside: list addresses of one version, or use "datapath": "gpe"`;
}

function compareHosts(peers: PeerTable, ownRow: number, conflicts: Conflicts): void {
  for (let row = 0; row < peers.count; row += 1) {
    const first = peers.find(peers.hosts, row);
    if (first === row) continue;
    const isOwn = ownRow >= 0 && sameAddress(peers.host(ownRow), peers.host(row));
    const isSame = textOf(peers.peer(first).podCidrs) === textOf(peers.peer(row).podCidrs);
    const problem = `${named(peers, first)} and ${peers.place(row)} have one address`;
    /* Of two equal records one is used. Of two that have this node's address its own one is. */
    if (isOwn) conflicts.add(row === ownRow ? first : row, THIS_NODE, problem);
    else conflicts.add(row, isSame ? THIS_NODE : first, problem);
  }
}

function compareEthernet(peers: PeerTable, ownRow: number, own: OwnNode, conflicts: Conflicts): void {
  const { macs } = peers;
  const ownMac = MacColumn.list(1);
  ownMac.set(0, own.mac);
  const index = macs.index(peers.count);
  for (let row = 0; row < peers.count; row += 1) {
    if (row === ownRow) continue;
    const first = index.add(row);
    const isOwn = macs.isSame(row, ownMac, 0);
    /* Two records with one address are reported by `compareHosts`. */
    const isDuplicate = peers.hosts.isSame(row, peers.hosts, first);
    if (isOwn ? row === ownRow : isDuplicate) continue;
    const mac = formatMac(macs.mac(row));
    const problem = `${isOwn ? "this node" : named(peers, first)} has the Ethernet address ${mac} as well`;
    conflicts.add(isOwn ? row : first, isOwn ? THIS_NODE : row, isOwn ? problem : `${problem} as ${named(peers, row)}`);
  }
}

/** @throws CniError 7 if two of this node's own networks overlap */
function compareNetworks(peers: PeerTable, networks: PodNetworks, conflicts: Conflicts): void {
  networks.overlaps((outer, inner) => {
    const [first, second] = [networks.ownerOf(outer), networks.ownerOf(inner)];
    if (first === THIS_NODE && second === THIS_NODE) {
      const pair = `${networks.text(outer)} and ${networks.text(inner)}`;
      throw new CniError(INVALID_CONFIG, `"podCIDRs": ${pair} overlap`);
    }
    const one = `${networks.text(outer)} of ${named(peers, first)}`;
    const problem = `the pods' networks ${one} and ${networks.text(inner)} of ${named(peers, second)} overlap`;
    const other = first === second ? THIS_NODE : second === THIS_NODE ? second : first;
    conflicts.add(second === THIS_NODE ? first : second, other, problem);
  });
}

/** Finds nodes, and addresses on the link between them, inside of networks of pods. */
function findInside(peers: PeerTable, ownRow: number, own: OwnNode, networks: PodNetworks, conflicts: Conflicts): void {
  for (let row = 0; row < peers.count; row += 1) {
    const network = row === ownRow ? -1 : networks.networkOf(peers.hosts, row);
    if (network < 0) continue;
    const owner = networks.ownerOf(network);
    const shown = `${networks.text(network)} of ${named(peers, owner)}`;
    const problem = `node ${named(peers, row)} lies in the pods' network ${shown}: packets to it would go round in circles`;
    conflicts.add(row, owner === row ? THIS_NODE : owner, problem);
  }
  for (const address of own.near) {
    const network = networks.networkOf(AddressColumn.of(address), 0);
    const owner = network < 0 ? THIS_NODE : networks.ownerOf(network);
    if (owner === THIS_NODE) continue;
    const shown = `${formatAddress(address)}, which this node or its router has`;
    conflicts.add(
      owner,
      THIS_NODE,
      `its pods' network ${networks.text(network)} holds ${shown} on the link between the nodes`,
    );
  }
}
