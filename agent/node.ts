/** What the agent keeps of a Node of the Kubernetes API. Pure. */
import type { Json } from "../lib/cni/json.ts";
import { parseAddress } from "../lib/ip/address.ts";
import { textAt } from "../lib/lists.ts";
import { type FlannelNode, readFlannel } from "./flannel.ts";
import { pack, unpack } from "./packed.ts";
import { itemsOf, textIn, textsOf, valueAt } from "./values.ts";

export interface ClusterNode {
  readonly name: string;
  /** A node that was deleted and has joined again has another one. */
  readonly uid: string;
  /** "10.244.1.0/24"; none until kube-controller-manager, or another controller, has given them. */
  readonly podCidrs: readonly string[];
  /** The node's own IP addresses, internal ones before external ones. */
  readonly addresses: readonly string[];
  /** Null if flannel does not run there. */
  readonly flannel: FlannelNode | null;
}

/** A node has one or two of each; who sends more gets no further with them. */
const MAX_LISTED = 16;
/** A name of DNS (RFC 1123): all that the API allows. */
const MAX_NAME = 253;

/** Reads a Node; null if it has no name that the API would allow. */
export function readNode(object: Json): ClusterNode | null {
  const metadata = object.get("metadata");
  const name = textIn(metadata, "name");
  if (!isNodeName(name)) return null;
  const annotations = metadata === null ? null : metadata.get("annotations");
  return {
    name,
    uid: textIn(metadata, "uid"),
    podCidrs: podCidrsOf(object),
    addresses: addressesOf(object),
    flannel: readFlannel(annotations),
  };
}

/** `spec.podCIDRs`, or `spec.podCIDR` of API servers before 1.16. */
function podCidrsOf(object: Json): string[] {
  const listed = textsOf(valueAt(object, "spec", "podCIDRs")).slice(0, MAX_LISTED);
  const one = textIn(object.get("spec"), "podCIDR");
  return listed.length === 0 && one !== "" ? [one] : listed;
}

function addressesOf(object: Json): string[] {
  const given = itemsOf(valueAt(object, "status", "addresses"));
  const addresses: string[] = [];
  for (const type of ["InternalIP", "ExternalIP"]) {
    for (const item of given) {
      const address = textIn(item, "address");
      if (textIn(item, "type") !== type || addresses.length === MAX_LISTED) continue;
      if (parseAddress(address) !== null) addresses.push(address);
    }
  }
  return addresses;
}

/** Whether a text may be a node's name: lower-case letters, digits, "-" and ".", at most 253. */
export function isNodeName(name: string): boolean {
  if (name === "" || name.length > MAX_NAME || name.startsWith(".") || name.startsWith("-")) return false;
  for (let i = 0; i < name.length; i += 1) {
    const unit = name.charCodeAt(i);
    const isLetterOrDigit = (unit >= 0x61 && unit <= 0x7a) || (unit >= 0x30 && unit <= 0x39);
    if (!isLetterOrDigit && unit !== 0x2d && unit !== 0x2e) return false;
  }
  return true;
}

/** All of a node but its name, as one text: two nodes are the same if their texts are. */
export function packNode({ uid, podCidrs, addresses, flannel }: ClusterNode): string {
  return pack([uid, pack(podCidrs), pack(addresses), flannel === null ? "" : packFlannel(flannel)]);
}

function packFlannel({ backend, address, address6, vxlan }: FlannelNode): string {
  const tunnel = vxlan === null ? "" : pack([`${vxlan.vni}`, vxlan.mac, vxlan.mac6]);
  return pack([backend, address, address6, tunnel]);
}

/** @param packed what `packNode` has returned for a node of this name */
export function unpackNode(name: string, packed: string): ClusterNode {
  const texts = unpack(packed);
  const flannel = textAt(texts, 3);
  return {
    name,
    uid: textAt(texts, 0),
    podCidrs: unpack(textAt(texts, 1)),
    addresses: unpack(textAt(texts, 2)),
    flannel: flannel === "" ? null : unpackFlannel(flannel),
  };
}

function unpackFlannel(packed: string): FlannelNode {
  const texts = unpack(packed);
  const tunnel = unpack(textAt(texts, 3));
  return {
    backend: textAt(texts, 0),
    address: textAt(texts, 1),
    address6: textAt(texts, 2),
    vxlan:
      tunnel.length === 0
        ? null
        : { vni: parseInt(textAt(tunnel, 0), 10), mac: textAt(tunnel, 1), mac6: textAt(tunnel, 2) },
  };
}

/** A node's address of an IP version: where other nodes send to; "" if it has none. */
export function addressOf({ addresses, flannel }: ClusterNode, family: number): string {
  const published = flannel === null ? "" : family === 4 ? flannel.address : flannel.address6;
  if (published !== "" && familyOf(published) === family) return published;
  for (const address of addresses) if (familyOf(address) === family) return address;
  return "";
}

/** 4, 6, or 0 for a text that is no address. */
export function familyOf(text: string): number {
  const address = parseAddress(text);
  return address === null ? 0 : address.family;
}
