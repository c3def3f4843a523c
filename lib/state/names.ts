/**
 * Names and addresses that are derived, not drawn: whoever knows (network, container ID, interface name) knows what the
 * attachment's links are called, without remembering anything.
 */
import { createHash } from "node:crypto";
import { bootId } from "../host/boot.ts";
import { readText } from "../host/io.ts";
import { hexOf } from "../text.ts";

/** An attachment: one interface of one container in one network. */
export interface Attachment {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

/** What an attachment's links are called and which Ethernet addresses they have. */
export interface AttachmentNames {
  readonly hostLink: string;
  readonly hostMac: Uint8Array;
  readonly containerMac: Uint8Array;
  /** The alias that says whose link it is; `ip link` shows it. */
  readonly alias: string;
}

/** What the alias of every link of ours begins with. */
export const OWNER_MARK = "podwire ";

/** IFALIASZ in linux/if.h. */
const MAX_ALIAS = 255;

/** Derives an attachment's names. */
export function attachmentNames(attachment: Attachment): AttachmentNames {
  const { network, containerId, ifname } = attachment;
  const digest = digestOf(`${network}\n${containerId}\n${ifname}`);
  const full = `${aliasPrefix(network)}${containerId} ${ifname}`;
  return {
    hostLink: `veth${hexOf(digest.subarray(0, 6), "").slice(0, 11)}`,
    hostMac: hostAddress(network, digest),
    containerMac: stationAddress(digest, 16),
    alias: full.length <= MAX_ALIAS ? full : `${aliasPrefix(network)}- ${ifname}`,
  };
}

/** The links that shape what an attachment's container sends ("egress") and receives, where they are needed. */
export function ifbName(names: AttachmentNames, direction: "egress" | "ingress"): string {
  return `ifb${direction.slice(0, 1)}${names.hostLink.slice(4)}`;
}

/** An address whose first half ("ce:a0:0f") is that of the host ends of all of a network's attachments. */
export function networkMac(network: string): Uint8Array {
  return stationAddress(digestOf(`network\n${network}`), 0);
}

/** The host end's address: half the network's, half the attachment's. So a link shows whose it is from its first moment. */
function hostAddress(network: string, digest: Uint8Array): Uint8Array {
  const mac = networkMac(network);
  mac.set(digest.subarray(8, 11), 3);
  return mac;
}

/** What the aliases of all links of a network begin with. Names hold no spaces, so no network's prefix is another's. */
export function aliasPrefix(network: string): string {
  return `${OWNER_MARK}${network} `;
}

/**
 * A locally administered Ethernet address for a link of this node: the same as long as the node is up, and another one on
 * every other node, since two nodes' bridges may meet on one wire.
 */
export function nodeMac(link: string): Uint8Array {
  const machine = readText("/etc/machine-id") ?? "";
  return stationAddress(digestOf(`node\n${machine}\n${bootId()}\n${link}`), 0);
}

/** A link name of 15 characters that stands for a text too long to be one. */
export function derivedLinkName(prefix: string, text: string): string {
  return (prefix + hexOf(digestOf(text).subarray(0, 8), "")).slice(0, 15);
}

function digestOf(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

/** Six bytes of a digest as a unicast, locally administered address (IEEE 802-2014 section 8.4). */
function stationAddress(digest: Uint8Array, offset: number): Uint8Array {
  const mac = digest.slice(offset, offset + 6);
  mac[0] = ((mac[0] ?? 0) & 0xfc) | 0x02;
  return mac;
}
