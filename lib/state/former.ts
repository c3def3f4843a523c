/**
 * What a link and its network namespace were like before an attachment tuned them, as text. The file is the reference suite's:
 * `mac`, `promisc`, `mtu`, `allmulti` and `txQLen` are its fields, and it passes over `podwire`, which has the rest. So
 * either suite can undo what the other did. A text may come from anybody: all of it is checked when it is read.
 */
import { Fields } from "../cni/fields.ts";
import {
  formatJson,
  type Json,
  JsonError,
  jsonArray,
  jsonBoolean,
  jsonNumber,
  jsonObject,
  jsonString,
  parseJson,
} from "../cni/json.ts";
import { CniError } from "../errors.ts";
import { bootId } from "../host/boot.ts";
import type { Namespace } from "../host/namespace.ts";
import { netSysctlParts } from "../host/sysctl.ts";
import { formatMac, isUnicastMac, parseMac } from "../ip/mac.ts";
import type { Attachment } from "./names.ts";

/** Attributes of a link that are set, or were before. What is null (or "", or an MTU of 0) is left alone. */
export interface LinkSettings {
  /** "02:00:00:00:00:01". */
  readonly mac: string;
  readonly promiscuous: boolean | null;
  /** Bytes. */
  readonly mtu: number;
  readonly allMulticast: boolean | null;
  /** Packets. */
  readonly transmitQueue: number | null;
}

export const NO_SETTINGS: LinkSettings = {
  mac: "",
  promiscuous: null,
  mtu: 0,
  allMulticast: null,
  transmitQueue: null,
};

/** A kernel setting and the value that it had. */
export interface FormerSysctl {
  /** "net/ipv4/conf/eth0/arp_announce". */
  readonly path: string;
  readonly value: string;
}

/** Whose record it is, and of which link. */
export interface FormerOrigin {
  readonly attachment: Attachment;
  /** The link's index; 0 if there was no link. */
  readonly link: number;
  /** Where the network namespace was, for GC. */
  readonly netns: string;
  /** Device and inode of the network namespace, which the kernel gives to another one after a boot. */
  readonly device: number;
  readonly inode: number;
  readonly boot: string;
}

export interface FormerRecord {
  readonly link: LinkSettings;
  /** In the order in which they were changed. */
  readonly sysctls: readonly FormerSysctl[];
  /** Null in a record of the reference suite. */
  readonly origin: FormerOrigin | null;
}

const MAX_MTU = 0x7fffffff;
const MAX_QUEUE = 0xffffffff;

/** The origin of a record for a link that an attachment has now. @param link its index, 0 for none */
export function originOf(attachment: Attachment, namespace: Namespace, link: number): FormerOrigin {
  return { attachment, link, netns: namespace.path, device: namespace.device, inode: namespace.inode, boot: bootId() };
}

/** Whether a record is of the namespace that is there now. Of the reference's records nobody knows. */
export function isOfNamespace(origin: FormerOrigin | null, namespace: Namespace): boolean {
  if (origin === null) return true;
  return origin.device === namespace.device && origin.inode === namespace.inode && origin.boot === bootId();
}

/** Whether two records are of one link in one namespace. */
export function isSameOrigin(one: FormerOrigin, other: FormerOrigin): boolean {
  const isSamePlace = one.device === other.device && one.inode === other.inode && one.boot === other.boot;
  return isSamePlace && one.link === other.link;
}

export function isSameAttachment(one: Attachment, other: Attachment): boolean {
  return one.network === other.network && one.containerId === other.containerId && one.ifname === other.ifname;
}

/** What the first of two records knows, and what only the second one does. The origin is the second's. */
export function withFormer(first: FormerRecord, second: FormerRecord): FormerRecord {
  const sysctls: FormerSysctl[] = [...first.sysctls];
  for (const one of second.sysctls) {
    if (!first.sysctls.some(({ path }) => path === one.path)) sysctls.push(one);
  }
  const [a, b] = [first.link, second.link];
  const link = {
    mac: a.mac === "" ? b.mac : a.mac,
    promiscuous: a.promiscuous ?? b.promiscuous,
    mtu: a.mtu === 0 ? b.mtu : a.mtu,
    allMulticast: a.allMulticast ?? b.allMulticast,
    transmitQueue: a.transmitQueue ?? b.transmitQueue,
  };
  return { link, sysctls, origin: second.origin };
}

export function isEmptyRecord(record: FormerRecord): boolean {
  const { mac, promiscuous, mtu, allMulticast, transmitQueue } = record.link;
  const untouched = mac === "" && promiscuous === null && mtu === 0 && allMulticast === null && transmitQueue === null;
  return untouched && record.sysctls.length === 0;
}

/** A record as the text of its file. */
export function formatFormer(record: FormerRecord): string {
  const { mac, promiscuous, mtu, allMulticast, transmitQueue } = record.link;
  const object = jsonObject();
  if (mac !== "") object.with("mac", jsonString(mac));
  if (promiscuous !== null) object.with("promisc", jsonBoolean(promiscuous));
  if (mtu !== 0) object.with("mtu", jsonNumber(mtu));
  if (allMulticast !== null) object.with("allmulti", jsonBoolean(allMulticast));
  if (transmitQueue !== null) object.with("txQLen", jsonNumber(transmitQueue));
  if (record.origin !== null) object.with("podwire", originJson(record.origin, record.sysctls));
  return `${formatJson(object)}\n`;
}

function originJson(origin: FormerOrigin, sysctls: readonly FormerSysctl[]): Json {
  const items: Json[] = [];
  for (const { path, value } of sysctls) {
    items.push(jsonObject().with("path", jsonString(path)).with("value", jsonString(value)));
  }
  return jsonObject()
    .with("network", jsonString(origin.attachment.network))
    .with("containerID", jsonString(origin.attachment.containerId))
    .with("ifname", jsonString(origin.attachment.ifname))
    .with("link", jsonNumber(origin.link))
    .with("netns", jsonString(origin.netns))
    .with("device", jsonNumber(origin.device))
    .with("inode", jsonNumber(origin.inode))
    .with("boot", jsonString(origin.boot))
    .with("sysctls", jsonArray(items));
}

/** Reads the text of a record; null if it is not one, or a part of it is not valid. */
export function parseFormer(text: string): FormerRecord | null {
  try {
    const json = parseJson(new TextEncoder().encode(text));
    return json.kind === "object" ? readFormer(new Fields(json, "")) : null;
  } catch (error) {
    if (error instanceof JsonError || error instanceof CniError) return null;
    throw error;
  }
}

function readFormer(fields: Fields): FormerRecord | null {
  const text = fields.string("mac", "");
  const mac = text === "" ? null : parseMac(text);
  if (text !== "" && (mac === null || !isUnicastMac(mac))) return null;
  const link = {
    mac: mac === null ? "" : formatMac(mac),
    promiscuous: optionalBoolean(fields, "promisc"),
    mtu: fields.integer("mtu", 0, MAX_MTU) ?? 0,
    allMulticast: optionalBoolean(fields, "allmulti"),
    transmitQueue: fields.integer("txQLen", 0, MAX_QUEUE),
  };
  const own = fields.object("podwire");
  if (own === null) return { link, sysctls: [], origin: null };
  const sysctls = readSysctls(own);
  return sysctls === null ? null : { link, sysctls, origin: readOrigin(own) };
}

function readOrigin(own: Fields): FormerOrigin {
  const attachment = {
    network: own.string("network", ""),
    containerId: own.string("containerID", ""),
    ifname: own.string("ifname", ""),
  };
  return {
    attachment,
    link: own.integer("link", 0, MAX_MTU) ?? 0,
    netns: own.string("netns", ""),
    device: own.integer("device", 0, Number.MAX_SAFE_INTEGER) ?? 0,
    inode: own.integer("inode", 0, Number.MAX_SAFE_INTEGER) ?? 0,
    boot: own.string("boot", ""),
  };
}

/** Null if one is no network setting. */
function readSysctls(own: Fields): FormerSysctl[] | null {
  const sysctls: FormerSysctl[] = [];
  for (const item of own.objects("sysctls")) {
    const path = item.string("path", "");
    const value = item.string("value", "");
    if (netSysctlParts(path) === null || value.includes("\u0000")) return null;
    sysctls.push({ path, value });
  }
  return sysctls;
}

function optionalBoolean(fields: Fields, key: string): boolean | null {
  return fields.has(key) ? fields.boolean(key, false) : null;
}
