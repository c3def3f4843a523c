/**
 * The peers of a node: which other nodes there are, and whose pods are where. They come from the configuration or from a
 * file of JSON objects, one a line. The first line says which generation the file is, that it is complete, and how many
 * peers follow, so that a file cut off anywhere is recognised:
 *
 *   {"generation":7,"complete":true,"peers":2}
 *   {"nodeIP":"192.0.2.1","podCIDRs":["10.244.1.0/24","fd44:0:0:1::/64"]}
 *   {"nodeIP":"192.0.2.2","podCIDRs":["10.244.2.0/24","fd44:0:0:2::/64"]}
 *
 * This node may stand among them: all nodes can be given the same file. Pure.
 */
import { createHash } from "node:crypto";
import { Fields } from "../cni/fields.ts";
import { JsonError, parseJson } from "../cni/json.ts";
import { CniError, INVALID_CONFIG } from "../errors.ts";
import {
  type Address,
  compareAddresses,
  contains,
  formatAddress,
  formatPrefix,
  networkOf,
  overlap,
  type Prefix,
  parseAddress,
  parsePrefix,
  sameAddress,
} from "../ip/address.ts";
import { formatMac, isUnicastMac, parseMac } from "../ip/mac.ts";
import { clip } from "../text.ts";

/** Another node. */
export interface Peer {
  /** Where it was read, for messages: "peers.ndjson line 7". */
  readonly place: string;
  readonly nodeIp: Address;
  /** The networks of its pods, host bits zero. */
  readonly podCidrs: readonly Prefix[];
  /** The Ethernet address of its VXLAN device. */
  readonly mac: Uint8Array;
  /** Whether that address was given, not derived. */
  readonly ownMac: boolean;
}

/** All peers at one moment. */
export interface PeerList {
  readonly generation: number;
  /** Whoever wrote the list knows that it lets many peers go. */
  readonly force: boolean;
  readonly peers: readonly Peer[];
}

/** Peers that cannot be told now: nothing is to be concluded from that, least of all that there are none. */
export class PeersUnknown extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PeersUnknown";
  }
}

/** More than a Linux bridge or route table is ever asked to hold of nodes. */
const MAX_PEERS = 100_000;
/** A line of a peers file: a node with a dozen networks has some hundred bytes. */
const MAX_LINE = 16_384;
const NEWLINE = 0x0a;

/**
 * Reads a peers file.
 * @param name the file's name, for messages
 * @throws PeersUnknown if it is not whole; CniError 7 that names the record if one is wrong
 */
export function parsePeersFile(bytes: Uint8Array, name: string): PeerList {
  let generation = -1;
  let announced = 0;
  let force = false;
  const peers: Peer[] = [];
  let line = 0;
  for (let start = 0; start < bytes.length; ) {
    let end = start;
    while (end < bytes.length && bytes[end] !== NEWLINE) end += 1;
    line += 1;
    const place = `${name} line ${line}`;
    if (end > start) {
      const fields = parseLine(bytes.subarray(start, end), place);
      if (generation < 0) {
        generation = fields.integer("generation", 0, Number.MAX_SAFE_INTEGER) ?? -1;
        announced = fields.integer("peers", 0, MAX_PEERS) ?? -1;
        force = fields.boolean("force", false);
        requireHeader(fields, generation, announced);
      } else {
        if (peers.length === announced)
          throw new PeersUnknown(`${name} holds more than the ${announced} peers it says`);
        peers.push(readPeer(fields, place));
      }
    }
    start = end + 1;
  }
  if (generation < 0) throw new PeersUnknown(`${name} is empty`);
  if (peers.length < announced) {
    throw new PeersUnknown(`${name} says it holds ${announced} peers, but ends after ${peers.length}`);
  }
  return { generation, force, peers };
}

function requireHeader(fields: Fields, generation: number, announced: number): void {
  if (generation >= 0 && announced >= 0 && fields.boolean("complete", false)) return;
  throw new PeersUnknown(
    `${fields.path} should be {"generation":<number>,"complete":true,"peers":<how many lines follow>}`,
  );
}

function parseLine(bytes: Uint8Array, place: string): Fields {
  if (bytes.length > MAX_LINE) throw new PeersUnknown(`${place} is longer than ${MAX_LINE} bytes`);
  try {
    const json = parseJson(bytes);
    if (json.kind === "object") return new Fields(json, place);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new PeersUnknown(`${place} is not JSON: ${error.message}`);
  }
  throw new PeersUnknown(`${place} is no JSON object`);
}

/** Reads one peer. @throws CniError 7 that names the field */
export function readPeer(fields: Fields, place: string): Peer {
  const given = fields.string("nodeIP", "");
  const nodeIp = parseAddress(given);
  if (nodeIp === null || !isHost(nodeIp)) throw fields.invalid("nodeIP", `"${clip(given)}" is no host's IP address`);
  const podCidrs: Prefix[] = [];
  const texts = fields.strings("podCIDRs");
  for (let i = 0; i < texts.length; i += 1) podCidrs.push(readPodCidr(fields, `podCIDRs[${i}]`, texts[i] ?? ""));
  const macText = fields.string("mac", "");
  const mac = macText === "" ? vtepMac(nodeIp) : parseMac(macText);
  if (mac === null || !isUnicastMac(mac))
    throw fields.invalid("mac", `"${clip(macText)}" is no device's Ethernet address`);
  return { place, nodeIp, podCidrs, mac, ownMac: macText !== "" };
}

/** A network of pods, host bits made zero. @throws CniError 7 */
export function readPodCidr(fields: Fields, key: string, text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix === null || prefix.length < MIN_PREFIX) {
    throw fields.invalid(key, `"${clip(text)}" is no network of pods: expected one like "10.244.1.0/24"`);
  }
  return { address: networkOf(prefix), length: prefix.length };
}

/** A network of pods that is larger is a mistake: it would take the node's own traffic with it. */
const MIN_PREFIX = 4;

/** Not "any", loopback, multicast or the reserved rest of IPv4. */
function isHost(address: Address): boolean {
  const first = address.bytes[0] ?? 0;
  if (address.family === 4) return first > 0 && first !== 127 && first < 224;
  return first !== 0xff && !contains(NOT_HOSTS, address);
}

/** "::", "::1" and the addresses that stand for IPv4's. */
const NOT_HOSTS: Prefix = { address: { family: 6, bytes: new Uint8Array(16) }, length: 80 };

/**
 * The Ethernet address of a node's VXLAN device: a function of the node's IP address, so that nobody has to publish it.
 * IPv4 fits in as it is; of IPv6 there are 40 bits of a hash, and `validatePeers` refuses two nodes with the same.
 */
export function vtepMac(nodeIp: Address): Uint8Array {
  const mac = new Uint8Array([0x0e, 0xf4, 0, 0, 0, 0]);
  if (nodeIp.family === 4) mac.set(nodeIp.bytes, 2);
  else mac.set(createHash("sha256").update(nodeIp.bytes).digest().subarray(0, 5), 1);
  return mac;
}

/** This node, as its configuration and its links have it. */
export interface OwnNode {
  readonly nodeIp: Address;
  readonly podCidrs: readonly Prefix[];
  readonly mac: Uint8Array;
  /** Whether peers may have addresses of the other IP version only: a classic device has one version. */
  readonly mixed: boolean;
}

/** A network of pods and whose it is; `peer` null is this node. */
interface Claim {
  readonly cidr: Prefix;
  readonly peer: Peer | null;
}

/**
 * Checks a list as a whole and returns the other nodes of it.
 * @throws CniError 7 that names the records: two nodes with one address, overlapping networks of pods, this node's network
 *   under another address, another network under this node's address, a node inside a network of pods
 */
export function validatePeers(list: PeerList, own: OwnNode): Peer[] {
  const others: Peer[] = [];
  /* Address, IP or Ethernet, and which of the list has it; -1 is this node. */
  const holders = new Map<string, number>([[formatMac(own.mac), -1]]);
  const claims: Claim[] = [];
  /* Ethernet addresses that hold IPv4 addresses differ as these do. */
  const compareMacs = list.peers.some((peer) => peer.ownMac || peer.nodeIp.family === 6);
  for (const cidr of own.podCidrs) claims.push({ cidr, peer: null });
  for (let i = 0; i < list.peers.length; i += 1) {
    const peer = list.peers[i];
    if (peer === undefined) continue;
    claimAddress(holders, formatAddress(peer.nodeIp), list.peers, i);
    if (sameAddress(peer.nodeIp, own.nodeIp)) {
      checkOwnRecord(peer, own);
      continue;
    }
    if (!own.mixed && peer.nodeIp.family !== own.nodeIp.family) throw wrongFamily(peer, own);
    if (compareMacs) claimAddress(holders, formatMac(peer.mac), list.peers, i);
    for (const cidr of peer.podCidrs) claims.push({ cidr, peer });
    others.push(peer);
  }
  checkClaims(claims, others);
  return others;
}

/** Notes which of the list has an address. @throws CniError 7 if another one has it already */
function claimAddress(holders: Map<string, number>, address: string, peers: readonly Peer[], index: number): void {
  const free = -2;
  const holder = holders.get(address) ?? free;
  const peer = peers[index];
  if (holder === free) holders.set(address, index);
  else if (peer !== undefined) throw contradiction(peer, peers[holder] ?? null, `both have the address ${address}`);
}

function checkOwnRecord(record: Peer, own: OwnNode): void {
  const listed = record.podCidrs.map((cidr) => formatPrefix(cidr)).sort();
  const configured = own.podCidrs.map((cidr) => formatPrefix(cidr)).sort();
  if (listed.length === configured.length && listed.every((text, i) => text === configured[i])) return;
  throw new CniError(
    INVALID_CONFIG,
    `${record.place} gives this node (${formatAddress(own.nodeIp)}) other pods than its configuration`,
    `the peers say [${listed.join(", ")}], "podCIDRs" says [${configured.join(", ")}]; pods with addresses of the old network cannot be reached: correct one of the two`,
  );
}

/** Neighbours in the order of addresses: if any two networks overlap, two that stand next to each other do. */
function checkClaims(claims: readonly Claim[], others: readonly Peer[]): void {
  const sorted = [...claims].sort(
    (a, b) => compareAddresses(a.cidr.address, b.cidr.address) || a.cidr.length - b.cidr.length,
  );
  for (let i = 1; i < sorted.length; i += 1) {
    const before = sorted[i - 1];
    const claim = sorted[i];
    if (before === undefined || claim === undefined || !overlap(before.cidr, claim.cidr)) continue;
    const named = claim.peer ?? before.peer;
    const other = claim.peer === null ? null : before.peer;
    if (named === null) {
      throw new CniError(
        INVALID_CONFIG,
        `"podCIDRs": ${formatPrefix(before.cidr)} and ${formatPrefix(claim.cidr)} overlap`,
      );
    }
    throw contradiction(
      named,
      other,
      `the pods' networks ${formatPrefix(before.cidr)} and ${formatPrefix(claim.cidr)} overlap`,
    );
  }
  for (const peer of others) {
    const around = lastNotAfter(sorted, peer.nodeIp);
    if (around === null || !contains(around.cidr, peer.nodeIp)) continue;
    throw contradiction(
      peer,
      around.peer,
      `node ${formatAddress(peer.nodeIp)} lies in the pods' network ${formatPrefix(around.cidr)}: packets to it would go round in circles`,
    );
  }
}

/** The last of sorted networks that begins at or before an address; null if none does. */
function lastNotAfter(sorted: readonly Claim[], address: Address): Claim | null {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const claim = sorted[middle];
    if (claim !== undefined && compareAddresses(claim.cidr.address, address) <= 0) low = middle + 1;
    else high = middle;
  }
  return sorted[low - 1] ?? null;
}

function contradiction(peer: Peer, other: Peer | null, problem: string): CniError {
  const second = other === null ? "this node" : `${other.place} (${formatAddress(other.nodeIp)})`;
  return new CniError(
    INVALID_CONFIG,
    `${peer.place} (${formatAddress(peer.nodeIp)}) and ${second} contradict each other`,
    `${problem}; nothing of the list is used until that is corrected`,
  );
}

function wrongFamily(peer: Peer, own: OwnNode): CniError {
  return new CniError(
    INVALID_CONFIG,
    `${peer.place}: node ${formatAddress(peer.nodeIp)} cannot be reached from ${formatAddress(own.nodeIp)}`,
    'a VXLAN device with forwarding entries has one IP version outside: list addresses of one version, or use "datapath": "gpe"',
  );
}
