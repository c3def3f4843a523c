/** The list of peers: which other nodes there are, and which networks their pods have. Pure. */
import { createHash } from "node:crypto";
import type { Fields } from "../cni/fields.ts";
import type { Json } from "../cni/json.ts";
import {
  type Address,
  contains,
  formatPrefix,
  networkOf,
  overlap,
  type Prefix,
  parseAddress,
  parsePrefix,
  sameAddress,
} from "../ip/address.ts";
import type { AddressColumn, MacColumn } from "../ip/columns.ts";
import { isUnicastMac, parseMac } from "../ip/mac.ts";
import { clip } from "../text.ts";
import type { Peer } from "./peer.ts";
import type { PeerTable } from "./peer-table.ts";

/** A record that cannot be used, with what it tells about its node: the record may be a mistake, and the node exist. */
export interface Reject {
  /** Where it was read and why it is not used, for a person. */
  readonly text: string;
  /** The node's address; null if the record does not tell it. */
  readonly host: Address | null;
  /** The networks of its pods, as far as the record tells them. */
  readonly podCidrs: readonly Prefix[];
}

/** All peers at one moment. */
export interface PeerList {
  /** Grows with each list of a source; 0 for a source without generations. */
  readonly generation: number;
  /** The list is meant to remove many peers, or to replace a newer one. */
  readonly force: boolean;
  readonly peers: PeerTable;
  /** The records that cannot be used. */
  readonly rejects: readonly Reject[];
}

/** The list of peers cannot be used now. That does not mean that there are no peers. */
export class PeersUnavailable extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PeersUnavailable";
  }
}

/** Reads one peer. @throws CniError 7 that names the field */
export function readPeer(fields: Fields, place: string): Peer {
  const given = fields.string("nodeIP", "");
  const nodeIp = parseAddress(given);
  if (nodeIp === null || !isHost(nodeIp)) throw fields.invalid("nodeIP", `"${clip(given)}" is no host's IP address`);
  const podCidrs: Prefix[] = [];
  for (const text of fields.strings("podCIDRs")) {
    podCidrs.push(readPodCidr(fields, `podCIDRs[${podCidrs.length}]`, text));
  }
  const macText = fields.string("mac", "");
  const mac = macText === "" ? vtepMac(nodeIp) : parseMac(macText);
  if (mac === null || !isUnicastMac(mac))
    throw fields.invalid("mac", `"${clip(macText)}" is no device's Ethernet address`);
  return { place, nodeIp, podCidrs, mac, ownMac: macText !== "" };
}

/** A record that cannot be used, with the address and networks that can be read from it. */
export function rejectOf(fields: Fields, text: string): Reject {
  const host = parseAddress(textOf(fields.find("nodeIP")));
  const podCidrs: Prefix[] = [];
  const listed = fields.find("podCIDRs");
  for (const item of listed === null ? [] : listed.items) {
    const prefix = parsePrefix(textOf(item));
    if (prefix !== null) podCidrs.push({ address: networkOf(prefix), length: prefix.length });
  }
  return { text: `${text}; the record is not used`, host, podCidrs };
}

function textOf(value: Json | null): string {
  return value === null || value.kind !== "string" ? "" : value.text;
}

/** A network of pods, host bits made zero. @throws CniError 7 */
export function readPodCidr(fields: Fields, key: string, text: string): Prefix {
  const prefix = readNetwork(fields, key, text);
  for (const special of NO_PODS) {
    if (!overlap(prefix, special)) continue;
    throw fields.invalid(key, `"${clip(text)}" is no network of pods: ${formatPrefix(special)} is for other uses`);
  }
  return prefix;
}

/** A network, host bits made zero. @throws CniError 7 */
export function readNetwork(fields: Fields, key: string, text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix === null || prefix.length < MIN_PREFIX || overlap(prefix, MAPPED)) {
    throw fields.invalid(key, `"${clip(text)}" is no network of pods: expected one like "10.244.1.0/24"`);
  }
  return { address: networkOf(prefix), length: prefix.length };
}

/** The shortest prefix of a network of pods. A larger network is a mistake: the node's own traffic would be routed by it. */
export const MIN_PREFIX = 4;

/** ::ffff:0:0/96, IPv4 addresses written as IPv6: no pod has one. */
const MAPPED: Prefix = {
  address: { family: 6, bytes: new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]) },
  length: 96,
};

/** "This host", loopback, link-local and multicast (RFC 6890, RFC 4291): they are not routed to other nodes. */
const NO_PODS: readonly Prefix[] = [
  ipv4Network(0, 0, 8),
  ipv4Network(127, 0, 8),
  ipv4Network(169, 254, 16),
  ipv4Network(224, 0, 4),
  ipv6Network(0, 0, 127),
  ipv6Network(0xfe, 0x80, 10),
  ipv6Network(0xff, 0, 8),
];

function ipv4Network(first: number, second: number, length: number): Prefix {
  return { address: { family: 4, bytes: new Uint8Array([first, second, 0, 0]) }, length };
}

function ipv6Network(first: number, second: number, length: number): Prefix {
  const bytes = new Uint8Array(16);
  bytes[0] = first;
  bytes[1] = second;
  return { address: { family: 6, bytes }, length };
}

const BROADCAST: Address = { family: 4, bytes: new Uint8Array([255, 255, 255, 255]) };

/** Whether a node may have an address: not "any", loopback, multicast or broadcast. 240.0.0.0/4 is reserved, but some networks use it. */
function isHost(address: Address): boolean {
  const first = address.bytes[0] ?? 0;
  if (address.family === 6) return first !== 0xff && !contains(NOT_HOSTS, address);
  return first > 0 && first !== 127 && (first < 224 || first >= 240) && !sameAddress(address, BROADCAST);
}

/** "::", "::1" and IPv4 addresses written as IPv6. */
const NOT_HOSTS: Prefix = { address: { family: 6, bytes: new Uint8Array(16) }, length: 80 };

/** The first two bytes of the MACs that are made from IPv4 addresses: locally administered. */
const VTEP_MAC = 0x0ef4;

/**
 * The MAC of a node's VXLAN device: a function of the node's IP address, so that nobody has to publish it. It contains an IPv4
 * address as it is, of an IPv6 address 40 bits of a hash; `validPeers` uses no two nodes with the same MAC.
 */
export function vtepMac(nodeIp: Address): Uint8Array {
  const mac = new Uint8Array([VTEP_MAC >> 8, VTEP_MAC & 255, 0, 0, 0, 0]);
  if (nodeIp.family === 4) mac.set(nodeIp.bytes, 2);
  else mac.set(createHash("sha256").update(nodeIp.bytes).digest().subarray(0, 5), 1);
  return mac;
}

/** Gives a row the MAC that `vtepMac` gives to its IPv4 address. */
export function setVtepMac(macs: MacColumn, hosts: AddressColumn, row: number): void {
  macs.setFromIpv4(row, VTEP_MAC, hosts, row);
}
