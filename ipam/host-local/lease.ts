/**
 * What stands on disk about a lease: the file named by its address, which the reference plugin also reads and writes, and
 * the record of the attachment that holds it, which is our own. Pure.
 */
import { createHash } from "node:crypto";
import { isValidName } from "../../lib/cni/environment.ts";
import { Fields } from "../../lib/cni/fields.ts";
import { formatJson, JsonError, jsonArray, jsonNumber, jsonObject, jsonString, parseJson } from "../../lib/cni/json.ts";
import { CniError } from "../../lib/errors.ts";
import { formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { hexOf } from "../../lib/text.ts";

/** Who holds a lease. An empty `ifname` is that of lease files from before CNI 0.7, which name only the container. */
export interface Owner {
  readonly containerId: string;
  readonly ifname: string;
}

/** The network namespace of an attachment; device and inode are 0 where it could not be told. */
export interface NamespaceIdentity {
  readonly path: string;
  readonly device: number;
  readonly inode: number;
}

export const NO_NAMESPACE: NamespaceIdentity = { path: "", device: 0, inode: 0 };

/** One attachment and the addresses it holds. The lease files are the truth: an address counts only if its file agrees. */
export interface Attachment {
  readonly owner: Owner;
  readonly netns: NamespaceIdentity;
  /** The boot in which the leases were made; "" for one before this. */
  readonly boot: string;
  /** When they were made, in milliseconds since that boot. */
  readonly timeMs: number;
  readonly addresses: readonly string[];
}

export function sameOwner(a: Owner, b: Owner): boolean {
  return a.containerId === b.containerId && a.ifname === b.ifname;
}

export function formatLease(owner: Owner): string {
  return owner.ifname === "" ? owner.containerId : `${owner.containerId}\r\n${owner.ifname}`;
}

/** The owner that a lease file names; null for one that is empty, torn or otherwise none of ours or the reference's. */
export function parseLease(text: string): Owner | null {
  const lines = text.trim().split("\n");
  const containerId = (lines[0] ?? "").trim();
  const ifname = (lines[1] ?? "").trim();
  return lines.length > 2 || !isValidName(containerId) ? null : { containerId, ifname };
}

/** Whether a file's name is the one a lease of that address has. */
export function isLeaseName(name: string): boolean {
  const address = parseAddress(name);
  return address !== null && formatAddress(address) === name;
}

/** The name of the file that records an attachment: found from container ID and interface name without a search. */
export function recordName(owner: Owner): string {
  const hash = createHash("sha256").update(`${owner.containerId}/${owner.ifname}`).digest();
  return hexOf(hash.subarray(0, 16), "");
}

export function formatRecord(attachment: Attachment): string {
  const { owner, netns } = attachment;
  const object = jsonObject()
    .with("containerID", jsonString(owner.containerId))
    .with("ifname", jsonString(owner.ifname))
    .with("netns", jsonString(netns.path))
    .with("netnsDevice", jsonNumber(netns.device))
    .with("netnsInode", jsonNumber(netns.inode))
    .with("boot", jsonString(attachment.boot))
    .with("sinceBootMs", jsonNumber(attachment.timeMs))
    .with("addresses", jsonArray(attachment.addresses.map((address) => jsonString(address))));
  return `${formatJson(object)}\n`;
}

/** Reads a record; null for one that is empty, torn or altered beyond use. */
export function parseRecord(text: string): Attachment | null {
  try {
    const fields = new Fields(parseJson(new TextEncoder().encode(text)), "");
    const netns: NamespaceIdentity = {
      path: fields.string("netns", ""),
      device: fields.integer("netnsDevice", 0, Number.MAX_SAFE_INTEGER) ?? 0,
      inode: fields.integer("netnsInode", 0, Number.MAX_SAFE_INTEGER) ?? 0,
    };
    const owner: Owner = { containerId: fields.string("containerID", ""), ifname: fields.string("ifname", "") };
    const addresses = fields.strings("addresses");
    if (!isValidName(owner.containerId) || !addresses.every((address) => isLeaseName(address))) return null;
    const timeMs = fields.integer("sinceBootMs", -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER) ?? 0;
    return { owner, netns, boot: fields.string("boot", ""), timeMs, addresses };
  } catch (error) {
    if (error instanceof JsonError || error instanceof CniError) return null;
    throw error;
  }
}
