/**
 * flannel's annotations of a Node: how a node that runs flanneld is reached, and what such nodes must read of this one. They have
 * the same names and values since flannel's first versions for Kubernetes; k3s and canal write them, too. Pure.
 */

import { integerOf } from "../lib/cni/fields.ts";
import { type Json, JsonError, jsonNull, jsonObject, jsonString, parseJson } from "../lib/cni/json.ts";
import { CniError } from "../lib/errors.ts";
import { parseMac } from "../lib/ip/mac.ts";
import { textIn } from "./values.ts";

const PREFIX = "flannel.alpha.coreos.com/";
/** "true" on nodes that flannel has to do with; others it passes over. */
const MANAGED = `${PREFIX}kube-subnet-manager`;
const TYPE = `${PREFIX}backend-type`;
const DATA = `${PREFIX}backend-data`;
const DATA_V6 = `${PREFIX}backend-v6-data`;
const PUBLIC_IP = `${PREFIX}public-ip`;
const PUBLIC_IPV6 = `${PREFIX}public-ipv6`;
/** Set by people, for nodes behind a translation of addresses. */
const OVERWRITE = `${PREFIX}public-ip-overwrite`;
const OVERWRITE_V6 = `${PREFIX}public-ipv6-overwrite`;

/** The annotations that are read, for the selection of a watch. */
export const FLANNEL_ANNOTATIONS: readonly string[] = [
  MANAGED,
  TYPE,
  DATA,
  DATA_V6,
  PUBLIC_IP,
  PUBLIC_IPV6,
  OVERWRITE,
  OVERWRITE_V6,
];

const MAX_VNI = 0xffffff;
/** flannel's own default for backend-data without a VNI. */
const DEFAULT_VNI = 1;

/** What the annotations say. */
export interface FlannelNode {
  /** "vxlan", "host-gw", or another one. */
  readonly backend: string;
  /** The address that other nodes send to; "" for none. */
  readonly address: string;
  readonly address6: string;
  readonly vxlan: FlannelVxlan | null;
}

export interface FlannelVxlan {
  readonly vni: number;
  /** The Ethernet address of its device for IPv4, which has another one for IPv6; "" for none. */
  readonly mac: string;
  readonly mac6: string;
}

/** What a Node's annotations say; null if flannel does not run there. @param annotations `metadata.annotations` */
export function readFlannel(annotations: Json | null): FlannelNode | null {
  if (textIn(annotations, MANAGED) !== "true") return null;
  const backend = textIn(annotations, TYPE);
  const overwrite = textIn(annotations, OVERWRITE);
  const overwrite6 = textIn(annotations, OVERWRITE_V6);
  return {
    backend,
    address: overwrite === "" ? textIn(annotations, PUBLIC_IP) : overwrite,
    address6: overwrite6 === "" ? textIn(annotations, PUBLIC_IPV6) : overwrite6,
    vxlan: backend === "vxlan" ? readVxlan(textIn(annotations, DATA), textIn(annotations, DATA_V6)) : null,
  };
}

function readVxlan(data: string, data6: string): FlannelVxlan | null {
  const vtep = parsed(data);
  const vtep6 = parsed(data6);
  const given = vtep ?? vtep6;
  if (given === null) return null;
  const vni = vniOf(given);
  return vni === null ? null : { vni, mac: macIn(vtep), mac6: macIn(vtep6) };
}

function parsed(text: string): Json | null {
  if (text === "" || text === "null") return null;
  try {
    const json = parseJson(new TextEncoder().encode(text));
    return json.kind === "object" ? json : null;
  } catch (error) {
    if (error instanceof JsonError) return null;
    throw error;
  }
}

function macIn(data: Json | null): string {
  const mac = textIn(data, "VtepMAC");
  return parseMac(mac) === null ? "" : mac;
}

function vniOf(data: Json): number | null {
  const value = data.get("VNI");
  if (value === null) return DEFAULT_VNI;
  try {
    return integerOf(value, "VNI", 1, MAX_VNI);
  } catch (error) {
    if (error instanceof CniError) return null;
    throw error;
  }
}

/** What this node publishes, so that nodes that run flannel reach its pods. */
export interface Published {
  readonly vni: number;
  /** The overlay's device has one Ethernet address for both IP versions. */
  readonly mac: string;
  /** "" for none. */
  readonly address: string;
  readonly address6: string;
}

/** `metadata.annotations` for a patch. What is not published is removed: it would be what an earlier flanneld has left. */
export function flannelAnnotations({ vni, mac, address, address6 }: Published): Json {
  const data = jsonString(`{"VNI":${vni},"VtepMAC":"${mac}"}`);
  return jsonObject()
    .with(MANAGED, jsonString("true"))
    .with(TYPE, jsonString("vxlan"))
    .with(DATA, address === "" ? jsonNull() : data)
    .with(PUBLIC_IP, address === "" ? jsonNull() : jsonString(address))
    .with(DATA_V6, address6 === "" ? jsonNull() : data)
    .with(PUBLIC_IPV6, address6 === "" ? jsonNull() : jsonString(address6));
}

/** The patch that takes flannel's annotations away: other nodes would go on sending to the device that flanneld had. */
export function noFlannelAnnotations(): Json {
  const annotations = jsonObject();
  for (const key of [MANAGED, TYPE, DATA, DATA_V6, PUBLIC_IP, PUBLIC_IPV6]) annotations.with(key, jsonNull());
  return annotations;
}
