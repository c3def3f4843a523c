/** What of a list can be used together: a record that contradicts others or this node is left out, and named. Pure. */
import { CniError, INVALID_CONFIG } from "../errors.ts";
import { type Address, formatAddress, formatPrefixes, type Prefix, sameAddress } from "../ip/address.ts";
import { formatMac, MAC_WORDS, macAt, putMac } from "../ip/mac.ts";
import { ADDRESS_WORDS, isIpv4At, putAddress, sameAt, WordIndex } from "../ip/words.ts";
import { textAt } from "../lists.ts";
import { Claims, THIS_NODE } from "./claims.ts";
import { Conflicts } from "./conflicts.ts";
import { CIDR_WORDS, type PeerTable } from "./peer-table.ts";
import type { PeerList, Reject } from "./peers.ts";

/** This node, as its configuration and its links have it. */
export interface OwnNode {
  readonly nodeIp: Address;
  readonly podCidrs: readonly Prefix[];
  readonly mac: Uint8Array;
  /** Whether peers may have addresses of the other IP version only: a classic device has one version. */
  readonly mixed: boolean;
  /** The addresses of the link between the nodes, and of the routers on it: what no peer's pods may have. */
  readonly near: readonly Address[];
}

/** The part of a list that can be used. */
export interface Sound {
  readonly peers: PeerTable;
  /** The row of this node's own record, -1 if there is none. */
  readonly ownRow: number;
  /** The networks of its pods, and this node's. */
  readonly claims: Claims;
  /** All records that cannot be used. */
  readonly rejects: readonly Reject[];
}

/**
 * The row of this node's record: the one with its address, else the only one with just its networks, which is how others
 * see a node whose address is translated on the way; -1 if there is none.
 */
export function ownRowOf(peers: PeerTable, nodeIp: Address, podCidrs: readonly Prefix[]): number {
  const words = new Int32Array(ADDRESS_WORDS);
  putAddress(words, 0, nodeIp);
  const named = peers.find(words, 0);
  const configured = textOf(podCidrs);
  const first = new Int32Array(ADDRESS_WORDS);
  for (const { address } of podCidrs.slice(0, 1)) putAddress(first, 0, address);
  let alike = -1;
  for (let row = 0; row < peers.count; row += 1) {
    const isNamed = sameAt(peers.hosts, row * ADDRESS_WORDS, words, 0, ADDRESS_WORDS);
    if (named >= 0 ? !isNamed : !hasNetwork(peers, row, first)) continue;
    if (textOf(peers.peer(row).podCidrs) !== configured) continue;
    if (named >= 0) return row;
    if (alike >= 0) return -1;
    alike = row;
  }
  return named >= 0 ? named : alike;
}

/** Whether one of a row's networks begins with an address. */
function hasNetwork(peers: PeerTable, row: number, words: Int32Array): boolean {
  const end = peers.firsts[row + 1] ?? 0;
  for (let cidr = peers.firsts[row] ?? 0; cidr < end; cidr += 1) {
    if (sameAt(peers.cidrs, cidr * CIDR_WORDS, words, 0, ADDRESS_WORDS)) return true;
  }
  return false;
}

function textOf(cidrs: readonly Prefix[]): string {
  return formatPrefixes(cidrs).sort().join(", ");
}

/**
 * Leaves out what cannot be used.
 * @param ownRow as `ownRowOf` has it
 * @throws CniError 7 if this node's own record is not as its configuration, or the configuration contradicts itself
 */
export function soundPeers(list: PeerList, ownRow: number, own: OwnNode): Sound {
  const rejects: Reject[] = [...list.rejects];
  let { peers } = list;
  let row = ownRow;
  if (row >= 0) checkOwnRecord(peers, row, own);
  for (;;) {
    const claims = new Claims(peers, row, own.podCidrs);
    const conflicts = conflictsIn(peers, row, own, claims);
    if (conflicts.count === 0) return { peers, ownRow: row, claims, rejects };
    const lost = conflicts.losers(peers.count);
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

function conflictsIn(peers: PeerTable, ownRow: number, own: OwnNode, claims: Claims): Conflicts {
  const conflicts = new Conflicts();
  const isIpv4 = own.nodeIp.family === 4;
  /* Ethernet addresses that hold IPv4 addresses differ as these do. */
  let compareMacs = false;
  for (let row = 0; row < peers.count; row += 1) {
    const isIpv4Host = isIpv4At(peers.hosts, row * ADDRESS_WORDS);
    if (!own.mixed && isIpv4Host !== isIpv4 && row !== ownRow) conflicts.add(row, THIS_NODE, wrongFamily(own));
    if (!isIpv4Host || peers.hasOwnMac(row)) compareMacs = true;
  }
  if (peers.twin() >= 0) compareHosts(peers, ownRow, conflicts);
  if (compareMacs) compareEthernet(peers, ownRow, own, conflicts);
  compareNetworks(peers, claims, conflicts);
  /* Who has an address can be told where no two networks overlap. */
  if (conflicts.count === 0) findInside(peers, ownRow, own, claims, conflicts);
  return conflicts;
}

function wrongFamily(own: OwnNode): string {
  return `it cannot be reached from ${formatAddress(own.nodeIp)}, since a VXLAN device with forwarding entries has one IP version outside: list addresses of one version, or use "datapath": "gpe"`;
}

function compareHosts(peers: PeerTable, ownRow: number, conflicts: Conflicts): void {
  for (let row = 0; row < peers.count; row += 1) {
    const first = peers.find(peers.hosts, row * ADDRESS_WORDS);
    if (first === row) continue;
    const isOwn = ownRow >= 0 && sameAddress(peers.host(ownRow), peers.host(row));
    const isSame = textOf(peers.peer(first).podCidrs) === textOf(peers.peer(row).podCidrs);
    const problem = `${named(peers, first)} and ${peers.place(row)} have one address`;
    /* The same twice does no harm, and the other record is this node's only once. */
    if (isOwn) conflicts.add(row === ownRow ? first : row, THIS_NODE, problem);
    else conflicts.add(row, isSame ? THIS_NODE : first, problem);
  }
}

function compareEthernet(peers: PeerTable, ownRow: number, own: OwnNode, conflicts: Conflicts): void {
  const { macs } = peers;
  const ownMac = new Int32Array(MAC_WORDS);
  putMac(ownMac, 0, own.mac);
  const index = new WordIndex(macs, MAC_WORDS, 0, MAC_WORDS, peers.count);
  for (let row = 0; row < peers.count; row += 1) {
    if (row === ownRow) continue;
    const first = index.add(row);
    const isOwn = sameAt(macs, row * MAC_WORDS, ownMac, 0, MAC_WORDS);
    /* One node twice is told of by its address. */
    const isTwin = sameAt(peers.hosts, row * ADDRESS_WORDS, peers.hosts, first * ADDRESS_WORDS, ADDRESS_WORDS);
    if (isOwn ? row === ownRow : isTwin) continue;
    const mac = formatMac(macAt(macs, row * MAC_WORDS));
    const problem = `${isOwn ? "this node" : named(peers, first)} has the Ethernet address ${mac} as well`;
    conflicts.add(isOwn ? row : first, isOwn ? THIS_NODE : row, isOwn ? problem : `${problem} as ${named(peers, row)}`);
  }
}

/** @throws CniError 7 if two of this node's own networks overlap */
function compareNetworks(peers: PeerTable, claims: Claims, conflicts: Conflicts): void {
  claims.overlaps((outer, inner) => {
    const [first, second] = [claims.ownerOf(outer), claims.ownerOf(inner)];
    if (first === THIS_NODE && second === THIS_NODE) {
      const pair = `${claims.text(outer)} and ${claims.text(inner)}`;
      throw new CniError(INVALID_CONFIG, `"podCIDRs": ${pair} overlap`);
    }
    const one = `${claims.text(outer)} of ${named(peers, first)}`;
    const problem = `the pods' networks ${one} and ${claims.text(inner)} of ${named(peers, second)} overlap`;
    const other = first === second ? THIS_NODE : second === THIS_NODE ? second : first;
    conflicts.add(second === THIS_NODE ? first : second, other, problem);
  });
}

/** Nodes, and this node's neighbourhood, inside of networks of pods. */
function findInside(peers: PeerTable, ownRow: number, own: OwnNode, claims: Claims, conflicts: Conflicts): void {
  for (let row = 0; row < peers.count; row += 1) {
    const claim = row === ownRow ? -1 : claims.holderOf(peers.hosts, row * ADDRESS_WORDS);
    if (claim < 0) continue;
    const owner = claims.ownerOf(claim);
    const network = `${claims.text(claim)} of ${named(peers, owner)}`;
    const problem = `node ${named(peers, row)} lies in the pods' network ${network}: packets to it would go round in circles`;
    conflicts.add(row, owner === row ? THIS_NODE : owner, problem);
  }
  const words = new Int32Array(ADDRESS_WORDS);
  for (const address of own.near) {
    putAddress(words, 0, address);
    const claim = claims.holderOf(words, 0);
    const owner = claim < 0 ? THIS_NODE : claims.ownerOf(claim);
    if (owner === THIS_NODE) continue;
    const shown = `${formatAddress(address)}, which this node or its router has`;
    conflicts.add(
      owner,
      THIS_NODE,
      `its pods' network ${claims.text(claim)} holds ${shown} on the link between the nodes`,
    );
  }
}
