/**
 * What stands on disk about a lease: the file named by its address, which the reference plugin also reads and writes, and
 * the record of the attachment that holds it, which is our own. Pure.
 */

import { createHash } from "node:crypto";
import { isValidName } from "../../lib/cni/environment.ts";
import type { Resident } from "../../lib/host/liveness.ts";
import type { NamespaceIdentity } from "../../lib/host/namespace.ts";
import { formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { textAt } from "../../lib/lists.ts";
import { hexOf, isDigits } from "../../lib/text.ts";

/** Who holds a lease. An empty `ifname` is that of lease files from before CNI 0.7, which name only the container. */
export interface Owner {
  readonly containerId: string;
  readonly ifname: string;
}

/** Who holds a lease that cannot be read. It keeps its address, since somebody may have that. */
export const UNKNOWN_OWNER: Owner = { containerId: "", ifname: "" };

/** An owner for people. */
export function describeOwner(owner: Owner): string {
  return owner.containerId === "" ? "an owner that cannot be read" : `container ${owner.containerId} (${owner.ifname})`;
}

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

/** The attachment as far as its life is concerned. */
export function residentOf(attachment: Attachment): Resident {
  const { owner, netns, boot, timeMs } = attachment;
  return { containerId: owner.containerId, netns, boot, timeMs };
}

const RECORD_HEADER = "podwire host-local attachment 1";
const RECORD_KEYS = ["container ", "ifname ", "netns ", "boot ", "since-boot-ms ", "addresses "];

export function sameOwner(a: Owner, b: Owner): boolean {
  return a.containerId === b.containerId && a.ifname === b.ifname;
}

/** Whether a lease whose file names the holder is the owner's: also if the file names only the owner's container. */
export function mayBeHeldBy(holder: Owner, owner: Owner): boolean {
  return holder.containerId === owner.containerId && (holder.ifname === "" || holder.ifname === owner.ifname);
}

export function formatLease(owner: Owner): string {
  return owner.ifname === "" ? owner.containerId : `${owner.containerId}\r\n${owner.ifname}`;
}

/** The owner that a lease file names; null for one that is empty, torn or otherwise none of ours or the reference's. */
export function parseLease(text: string): Owner | null {
  const lines = text.trim().split("\n");
  const containerId = textAt(lines, 0).trim();
  const ifname = textAt(lines, 1).trim();
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

/** The record's text: a line for each field, so that it is read as quickly by a person as by the plugin. */
export function formatRecord(attachment: Attachment): string {
  const { owner, netns } = attachment;
  const lines = [
    RECORD_HEADER,
    `container ${owner.containerId}`,
    `ifname ${owner.ifname}`,
    `netns ${netns.device} ${netns.inode} ${netns.path}`,
    `boot ${attachment.boot}`,
    `since-boot-ms ${attachment.timeMs}`,
    `addresses ${attachment.addresses.join(" ")}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** Reads a record; null for one that is empty, torn or altered beyond use. */
export function parseRecord(text: string): Attachment | null {
  const lines = text.split("\n");
  if (lines.length !== 8 || lines[0] !== RECORD_HEADER) return null;
  const values: string[] = [];
  for (let i = 0; i < RECORD_KEYS.length; i += 1) {
    const line = textAt(lines, i + 1);
    const key = textAt(RECORD_KEYS, i);
    if (!line.startsWith(key)) return null;
    values.push(line.slice(key.length));
  }
  const owner: Owner = { containerId: textAt(values, 0), ifname: textAt(values, 1) };
  const netns = textAt(values, 2).split(" ");
  const device = wholeNumber(textAt(netns, 0));
  const inode = wholeNumber(textAt(netns, 1));
  const timeMs = wholeNumber(textAt(values, 4));
  const addresses = textAt(values, 5)
    .split(" ")
    .filter((address) => address !== "");
  if (!isValidName(owner.containerId) || device === null || inode === null || timeMs === null) return null;
  const path = netns.slice(2).join(" ");
  return { owner, netns: { path, device, inode }, boot: textAt(values, 3), timeMs, addresses };
}

function wholeNumber(text: string): number | null {
  const negative = text.startsWith("-");
  const digits = negative ? text.slice(1) : text;
  if (digits.length > 15 || !isDigits(digits)) return null;
  return negative ? -parseInt(digits, 10) : parseInt(digits, 10);
}
