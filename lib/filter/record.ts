/**
 * What the packet filter holds for one attachment, as a value and as a file. The file lets DEL find its elements without a
 * search, and lets everybody put back what a third party's flush took away. Pure.
 */

import { createHash } from "node:crypto";
import type { Resident } from "../host/liveness.ts";
import type { NamespaceIdentity } from "../host/namespace.ts";
import { itemAt, textAt } from "../lists.ts";
import { hexOf, isDigits } from "../text.ts";
import { addToPlan, emptyPlan, formatPlan, type RecordedPlan } from "./iptables-lines.ts";
import type { IptablesPlan } from "./iptables-rules.ts";
import type { TableName } from "./ruleset.ts";

/** Whose it is: an interface of a container in a network, and the plugin that made it. */
export interface FilterOwner {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
  readonly plugin: string;
}

/** An element of one of the ruleset's sets, in nft's notation: key "tcp . 8080", data "10.1.0.5 . 80", "goto x" or "". */
export interface FilterElement {
  readonly table: TableName;
  readonly set: string;
  readonly key: string;
  readonly data: string;
}

/** A chain that attachments share; its name is derived from its rules, so two of one name are the same. */
export interface FilterChain {
  readonly table: TableName;
  readonly name: string;
  readonly rules: readonly string[];
}

/** All that one plugin has put into the packet filter for one attachment. */
export interface FilterRecord {
  readonly owner: FilterOwner;
  readonly netns: NamespaceIdentity;
  /** When it was made, in milliseconds since the boot. */
  readonly timeMs: number;
  readonly chains: readonly FilterChain[];
  readonly elements: readonly FilterElement[];
  /** The rules of the iptables backend, one plan for each IP version; empty with nftables. */
  readonly iptables: readonly IptablesPlan[];
  /**
   * Ports without elements: those that iptables' rules publish, as the elements that nftables would have for them, or those
   * that another interface of the container has as long as it is there.
   */
  readonly claims: readonly FilterElement[];
  /** The records of the container's other interfaces that get the ports when this one goes. */
  readonly heirs: readonly string[];
}

const HEADER = "podwire packet filter record 1";
/** What nft shows of a comment (NFTNL_UDATA_COMMENT_MAXLEN in libnftnl). */
const MAX_COMMENT = 128;

/** Sixteen hex digits that stand for a container's interface, whatever its network is called now. */
export function ownerHash(owner: FilterOwner): string {
  const digest = createHash("sha256").update(`${owner.containerId}\n${owner.ifname}`).digest();
  return hexOf(digest.subarray(0, 8), "");
}

/** The name of the file that holds an owner's record. */
export function recordName(owner: FilterOwner): string {
  return `${ownerHash(owner)}.${owner.plugin}`;
}

/** Whether a text may be the name of a record's file: sixteen hex digits, a dot and a plugin. */
function isRecordName(text: string): boolean {
  if (text.charAt(16) !== "." || text.length > 40) return false;
  for (let i = 0; i < text.length; i += 1) {
    if (i !== 16 && !"0123456789abcdefghijklmnopqrstuvwxyz-".includes(text.charAt(i))) return false;
  }
  return true;
}

/** The comment of an owner's elements: for DEL by its first word, for people by the rest. */
export function ownerComment(owner: FilterOwner): string {
  return `${ownerHash(owner)} ${owner.network} ${owner.containerId} ${owner.ifname}`.slice(0, MAX_COMMENT);
}

export function sameElement(a: FilterElement, b: FilterElement): boolean {
  return a.table === b.table && a.set === b.set && a.key === b.key;
}

/** Whether an element is among others. */
export function holdsElement(elements: readonly FilterElement[], element: FilterElement): boolean {
  for (const other of elements) {
    if (sameElement(other, element)) return true;
  }
  return false;
}

/** The element that holds the conditions of a published port. */
export function conditionOf(element: FilterElement): FilterElement {
  const prefix = element.set.startsWith("hostip_") ? "hostip_" : "";
  return { table: element.table, set: `${prefix}conditional${element.set.slice(-1)}`, key: element.key, data: "" };
}

/** An element as nft would print it. */
export function formatElement(element: FilterElement): string {
  const data = element.data === "" ? "" : ` : ${element.data}`;
  return `${element.table} podwire ${element.set} { ${element.key}${data} }`;
}

/** The record of what the nftables backend does for an owner. */
export function nftablesRecord(
  owner: FilterOwner,
  netns: NamespaceIdentity,
  timeMs: number,
  chains: readonly FilterChain[],
  elements: readonly FilterElement[],
): FilterRecord {
  return { owner, netns, timeMs, chains, elements, iptables: [], claims: [], heirs: [] };
}

/** The record as far as the attachment's life is concerned. `boot` is this one: records do not outlive it. */
export function residentOf(record: FilterRecord, boot: string): Resident {
  return { containerId: record.owner.containerId, netns: record.netns, boot, timeMs: record.timeMs };
}

/** The record's text, a line for each part. */
export function formatRecord(record: FilterRecord): string {
  const { owner, netns } = record;
  const lines = [
    HEADER,
    `owner ${owner.network} ${owner.containerId} ${owner.ifname} ${owner.plugin}`,
    `netns ${netns.device} ${netns.inode} ${netns.path}`,
    `since-boot-ms ${record.timeMs}`,
  ];
  for (const chain of record.chains) {
    lines.push(`chain ${chain.table} ${chain.name}`);
    for (const rule of chain.rules) lines.push(`rule ${rule}`);
  }
  for (const element of record.elements) lines.push(`element ${elementText(element)}`);
  for (const element of record.claims) lines.push(`claim ${elementText(element)}`);
  for (const heir of record.heirs) lines.push(`heir ${heir}`);
  for (const plan of record.iptables) lines.push(...formatPlan(plan));
  lines.push("end");
  return `${lines.join("\n")}\n`;
}

/** Reads a record; null for one that is empty, torn or altered beyond use. */
export function parseRecord(text: string): FilterRecord | null {
  const lines = text.split("\n");
  if (lines.length < 6 || lines[0] !== HEADER || lines[lines.length - 2] !== "end") return null;
  const names = wordsOf(textAt(lines, 1), "owner ");
  const netns = wordsOf(textAt(lines, 2), "netns ");
  const time = textAt(wordsOf(textAt(lines, 3), "since-boot-ms "), 0);
  if (
    names.length !== 4 ||
    netns.length < 3 ||
    !isNumber(textAt(netns, 0)) ||
    !isNumber(textAt(netns, 1)) ||
    !isNumber(time)
  )
    return null;
  const chains: FilterChain[] = [];
  const elements: FilterElement[] = [];
  const claims: FilterElement[] = [];
  const heirs: string[] = [];
  const iptables: RecordedPlan[] = [];
  for (const line of lines.slice(4, lines.length - 2)) {
    const words = line.split(" ");
    const table: TableName = words[1] === "bridge" ? "bridge" : "inet";
    const last = itemAt(chains, chains.length - 1);
    const plan = itemAt(iptables, iptables.length - 1);
    if (words[0] === "iptables" && words.length === 4) {
      iptables.push(emptyPlan(words));
    } else if (plan !== null && line.startsWith("iptables-")) {
      addToPlan(plan, line);
    } else if (words[0] === "chain") {
      chains.push({ table, name: textAt(words, 2), rules: [] });
    } else if (words[0] === "rule" && last !== null) {
      chains[chains.length - 1] = { table: last.table, name: last.name, rules: [...last.rules, line.slice(5)] };
    } else if (words[0] === "element" && words.length > 3) {
      elements.push(elementOf(table, textAt(words, 2), words.slice(3).join(" ")));
    } else if (words[0] === "claim" && words.length > 3) {
      claims.push(elementOf(table, textAt(words, 2), words.slice(3).join(" ")));
    } else if (words[0] === "heir" && isRecordName(textAt(words, 1))) {
      heirs.push(textAt(words, 1));
    } else {
      return null;
    }
  }
  return {
    owner: {
      network: textAt(names, 0),
      containerId: textAt(names, 1),
      ifname: textAt(names, 2),
      plugin: textAt(names, 3),
    },
    netns: {
      device: parseInt(textAt(netns, 0), 10),
      inode: parseInt(textAt(netns, 1), 10),
      path: netns.slice(2).join(" "),
    },
    timeMs: parseInt(time, 10),
    chains,
    elements,
    iptables,
    claims,
    heirs,
  };
}

function elementText(element: FilterElement): string {
  const { table, set, key, data } = element;
  return `${table} ${set} ${key}${data === "" ? "" : ` : ${data}`}`;
}

function elementOf(table: TableName, set: string, text: string): FilterElement {
  const colon = text.indexOf(" : ");
  if (colon < 0) return { table, set, key: text, data: "" };
  return { table, set, key: text.slice(0, colon), data: text.slice(colon + 3) };
}

function wordsOf(line: string, start: string): string[] {
  return line.startsWith(start) ? line.slice(start.length).split(" ") : [];
}

function isNumber(text: string): boolean {
  return text.length <= 15 && isDigits(text);
}
