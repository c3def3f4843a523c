/**
 * The network's few settings, the same on all nodes: a JSON file that a ConfigMap brings. Every member has a default but
 * `clusterCIDRs`. Pure.
 */
import { isValidName } from "../lib/cni/environment.ts";
import { Fields } from "../lib/cni/fields.ts";
import { JsonError, parseJson } from "../lib/cni/json.ts";
import { CniError, INVALID_CONFIG } from "../lib/errors.ts";
import { contains, formatPrefix, type Prefix, parsePrefix } from "../lib/ip/address.ts";
import { readNetwork } from "../lib/overlay/peers.ts";
import { clip } from "../lib/text.ts";

export interface NetworkSettings {
  /** The name of the CNI network. */
  readonly network: string;
  /** The networks of all pods: kubeadm's --pod-network-cidr. */
  readonly clusterCidrs: readonly Prefix[];
  /** The tunnels between nodes: "classic" as flannel has them, or "gpe". */
  readonly datapath: string;
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  /** Whether peers on the same segment are reached without the tunnel. */
  readonly directRouting: boolean;
  /** Bytes; 0 for what fits. */
  readonly mtu: number;
  readonly masquerade: boolean;
  /** Destinations outside of the cluster that see pods' own addresses. */
  readonly nonMasqueradeCidrs: readonly Prefix[];
  /** Whether firewalls of other programs that drop forwarded packets get an accepting rule. */
  readonly firewall: boolean;
  /** Whether this node publishes flannel's annotations, for nodes that run it. */
  readonly flannelAnnotations: boolean;
  /** The key of a taint that is taken from the node when its network works; "" for none. */
  readonly startupTaint: string;
  /** Link or address between the nodes; "" for the one that the routes choose. */
  readonly underlay: string;
}

const MEMBERS: readonly string[] = [
  ...["network", "clusterCIDRs", "datapath", "vni", "port", "directRouting", "mtu"],
  ...["masquerade", "nonMasqueradeCIDRs", "firewall", "flannelAnnotations", "startupTaint", "underlay"],
];

/** @param place the file's path, for messages @throws CniError 7 that names the member */
export function readSettings(bytes: Uint8Array, place: string): NetworkSettings {
  const fields = parsed(bytes, place);
  for (const key of fields.json.keys) if (!MEMBERS.includes(key)) throw unknown(fields, key);
  const network = fields.string("network", "podwire");
  if (!isValidName(network)) throw fields.invalid("network", `"${clip(network)}" is no name of a CNI network`);
  const clusterCidrs = readPrefixes(fields, "clusterCIDRs");
  if (clusterCidrs.length === 0) {
    throw fields.invalid(
      "clusterCIDRs",
      'expected the networks of all pods, kubeadm\'s --pod-network-cidr: ["10.244.0.0/16"]',
    );
  }
  return {
    network,
    clusterCidrs,
    datapath: oneOf(fields, "datapath", ["classic", "gpe"]),
    vni: fields.integer("vni", 1, 0xffffff) ?? 1,
    port: fields.integer("port", 1, 65_535) ?? 8472,
    directRouting: fields.boolean("directRouting", false),
    mtu: readMtu(fields),
    masquerade: fields.boolean("masquerade", true),
    nonMasqueradeCidrs: readPrefixes(fields, "nonMasqueradeCIDRs"),
    firewall: fields.boolean("firewall", true),
    flannelAnnotations: fields.boolean("flannelAnnotations", false),
    startupTaint: fields.string("startupTaint", ""),
    underlay: fields.string("underlay", ""),
  };
}

function parsed(bytes: Uint8Array, place: string): Fields {
  try {
    const json = parseJson(bytes);
    if (json.kind === "object") return new Fields(json, "");
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new CniError(INVALID_CONFIG, `${place} is not JSON: ${error.message}`);
  }
  throw new CniError(INVALID_CONFIG, `${place} is no JSON object`);
}

/** A misspelt setting would be one that silently does nothing. */
function unknown(fields: Fields, key: string): CniError {
  return fields.invalid(clip(key), `there is no such setting; there are ${MEMBERS.join(", ")}`);
}

function oneOf(fields: Fields, key: string, values: readonly [string, string]): string {
  const [usual, other] = values;
  const given = fields.string(key, usual);
  if (given === usual || given === other) return given;
  throw fields.invalid(key, `unrecognized "${clip(given)}": expected "${usual}" or "${other}"`);
}

function readMtu(fields: Fields): number {
  const mtu = fields.integer("mtu", 0, 65_535) ?? 0;
  /* The least that IPv6 needs; a network without it has no use for less, either. */
  if (mtu !== 0 && mtu < 1280)
    throw fields.invalid("mtu", `${mtu} is less than 1280, which IPv6 needs; 0 is for what fits`);
  return mtu;
}

function readPrefixes(fields: Fields, key: string): Prefix[] {
  const prefixes: Prefix[] = [];
  for (const text of fields.strings(key)) prefixes.push(readNetwork(fields, `${key}[${prefixes.length}]`, text));
  return prefixes;
}

/** Why a node's networks do not fit the settings; "" if they do. */
export function misfit({ clusterCidrs }: NetworkSettings, podCidrs: readonly string[]): string {
  for (const text of podCidrs) {
    const prefix = parsePrefix(text);
    if (prefix === null) return `podCIDR "${clip(text)}" is no network`;
    let within = false;
    for (const outer of clusterCidrs)
      if (outer.length <= prefix.length && contains(outer, prefix.address)) within = true;
    if (!within) {
      const all = clusterCidrs.map((cidr) => formatPrefix(cidr)).join(", ");
      return `podCIDR ${text} is in none of the settings' clusterCIDRs (${all}); expected there: what kube-controller-manager has as --cluster-cidr`;
    }
  }
  return "";
}
