/** The peers of a node: which other nodes there are, and whose pods are where. Pure. */
import { createHash } from "node:crypto";
import type { Fields } from "../cni/fields.ts";
import { type Address, contains, networkOf, overlap, type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import { isUnicastMac, parseMac } from "../ip/mac.ts";
import { clip } from "../text.ts";
import type { PeerTable } from "./peer-table.ts";

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
  readonly peers: PeerTable;
}

/** Peers that cannot be told now: nothing is to be concluded from that, least of all that there are none. */
export class PeersUnknown extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PeersUnknown";
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

/** A network of pods, host bits made zero. @throws CniError 7 */
export function readPodCidr(fields: Fields, key: string, text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix === null || prefix.length < MIN_PREFIX || overlap(prefix, MAPPED)) {
    throw fields.invalid(key, `"${clip(text)}" is no network of pods: expected one like "10.244.1.0/24"`);
  }
  return { address: networkOf(prefix), length: prefix.length };
}

/** A network of pods that is larger is a mistake: it would take the node's own traffic with it. */
export const MIN_PREFIX = 4;

/** ::ffff:0:0/96, where IPv6 writes IPv4's addresses: no pod has one. */
const MAPPED: Prefix = {
  address: { family: 6, bytes: new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]) },
  length: 96,
};

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
