/** The vxlan-overlay plugin's part of a network configuration: every option, checked, defaults filled in. */

import type { NetworkConfig } from "../../lib/cni/config.ts";
import { validateInterfaceName } from "../../lib/cni/environment.ts";
import type { Fields } from "../../lib/cni/fields.ts";
import { formatJson, jsonObject } from "../../lib/cni/json.ts";
import { CniError } from "../../lib/errors.ts";
import { contains, formatPrefix, type Prefix, parseAddress } from "../../lib/ip/address.ts";
import { itemAt, textAt } from "../../lib/lists.ts";
import type { Datapath } from "../../lib/overlay/mtu.ts";
import { readNetwork, readPodCidr } from "../../lib/overlay/peers.ts";
import type { OverlaySettings } from "../../lib/overlay/settings.ts";
import { readSource } from "../../lib/overlay/sources/sources.ts";
import { clip } from "../../lib/text.ts";

const DEFAULT_VNI = 1;
/** 24 bits (RFC 7348 section 5); 0 means "none" to iproute2. */
const MAX_VNI = 0xffffff;
/** The default of Linux and Flannel; 4789 is the registered port, 4790 that of VXLAN-GPE. */
const DEFAULT_PORT = 8472;
const MAX_PORT = 65535;
const MIN_MTU = 68;
const MAX_MTU = 65535;

/**
 * Reads the configuration.
 * @throws CniError 7 with the field's path
 */
export function readOverlayConfig(config: NetworkConfig): OverlaySettings {
  const { fields, name } = config;
  const vni = fields.integer("vni", 1, MAX_VNI) ?? DEFAULT_VNI;
  const port = fields.integer("port", 1, MAX_PORT) ?? DEFAULT_PORT;
  const datapath = readDatapath(fields);
  const underlay = readUnderlay(fields);
  const podCidrs = readOwnCidrs(fields);
  const source = readSource(fields);
  const directRouting = fields.boolean("directRouting", false);
  const given = fields.integer("mtu", 0, MAX_MTU) ?? 0;
  if (given !== 0 && given < MIN_MTU) throw fields.invalid("mtu", `${given} is not between ${MIN_MTU} and ${MAX_MTU}`);
  const checksumOffload = readChecksumOffload(fields);
  const pathMtuDiscovery = fields.boolean("pmtud", false);
  const clusterCidrs = readCidrs(fields, "clusterCIDRs");
  requireWithin(fields, clusterCidrs, podCidrs);
  const exempt = [...clusterCidrs, ...readCidrs(fields, "nonMasqueradeCIDRs")];
  const peersOnly = fields.boolean("peersOnly", true);
  const notrack = fields.boolean("notrack", true);
  const firewall = fields.boolean("firewall", false);
  const masquerade = fields.boolean("masquerade", clusterCidrs.length > 0);
  if (masquerade && clusterCidrs.length === 0) {
    throw fields.invalid("clusterCIDRs", '"masquerade" needs the networks of all pods, which must not be translated');
  }
  return {
    network: name,
    vni,
    port,
    datapath,
    underlay,
    podCidrs,
    source,
    directRouting,
    mtu: given,
    checksumOffload,
    pathMtuDiscovery,
    peersOnly,
    notrack,
    firewall,
    masquerade,
    exempt,
    record: recordOf(fields),
  };
}

/** Members of the configuration that are about one call, or for other plugins. */
const NOT_RECORDED = ["prevResult", "runtimeConfig", "args", "delegate", "ipam", "dns", "capabilities"];

function recordOf(fields: Fields): string {
  const json = jsonObject();
  const { keys, items } = fields.json;
  for (let i = 0; i < keys.length; i += 1) {
    const key = textAt(keys, i);
    const item = itemAt(items, i);
    if (item !== null && !NOT_RECORDED.includes(key) && !key.startsWith("cni.dev/")) json.with(key, item);
  }
  /* On one line. A line break in a string is an escape, so no string is changed. */
  const parts: string[] = [];
  for (const line of formatJson(json).split("\n")) parts.push(line.trimStart());
  return parts.join("");
}

function readDatapath(fields: Fields): Datapath {
  const given = fields.string("datapath", "");
  if (given === "" || given === "classic") return "classic";
  if (given === "gpe") return "gpe";
  throw fields.invalid("datapath", `unrecognized "${clip(given)}": expected "classic" or "gpe"`);
}

function readChecksumOffload(fields: Fields): boolean | null {
  const given = fields.string("txChecksumOffload", "");
  if (given === "") return null;
  if (given === "on" || given === "off") return given === "on";
  throw fields.invalid("txChecksumOffload", `unrecognized "${clip(given)}": expected "on" or "off"`);
}

/** An address, or the name of a link. */
function readUnderlay(fields: Fields): string {
  const given = fields.string("underlay", "");
  if (given === "" || parseAddress(given) !== null) return given;
  try {
    validateInterfaceName(given);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    throw fields.invalid("underlay", `"${clip(given)}" is neither an IP address nor a link's name: ${error.message}`);
  }
  return given;
}

function readCidrs(fields: Fields, key: string): Prefix[] {
  const cidrs: Prefix[] = [];
  const texts = fields.strings(key);
  for (const text of texts) cidrs.push(readNetwork(fields, `${key}[${cidrs.length}]`, text));
  return cidrs;
}

/** The cluster's networks must contain this node's own: else other nodes' packets to its pods would be masqueraded. */
function requireWithin(fields: Fields, cluster: readonly Prefix[], own: readonly Prefix[]): void {
  if (cluster.length === 0) return;
  for (const cidr of own) {
    let within = false;
    for (const outer of cluster) if (outer.length <= cidr.length && contains(outer, cidr.address)) within = true;
    if (within) continue;
    throw fields.invalid("clusterCIDRs", `none of the networks holds this node's ${formatPrefix(cidr)}`);
  }
}

function readOwnCidrs(fields: Fields): Prefix[] {
  const texts = fields.strings("podCIDRs");
  if (texts.length === 0) {
    throw fields.invalid("podCIDRs", 'this node needs its networks of pods, such as ["10.244.1.0/24"]');
  }
  const cidrs: Prefix[] = [];
  for (const text of texts) cidrs.push(readPodCidr(fields, `podCIDRs[${cidrs.length}]`, text));
  return cidrs;
}
