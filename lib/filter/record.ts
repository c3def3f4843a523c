/**
 * What the packet filter holds for one attachment, as a value, and whose an element is: a hash of the container and its
 * interface is the first word of its comment. Nothing is compared by the rest of a comment but whole words. Pure.
 */

import { createHash } from "node:crypto";
import type { Resident } from "../host/liveness.ts";
import type { NamespaceIdentity } from "../host/namespace.ts";
import { textAt } from "../lists.ts";
import { hexOf } from "../text.ts";
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

/** What nft shows of a comment (NFTNL_UDATA_COMMENT_MAXLEN in libnftnl). */
const MAX_COMMENT = 128;
/** How much of a name that is too long for a comment stands before its hash. */
const NAME_PART = 24;
const HASH_LENGTH = 16;

/** Sixteen hex digits that stand for a container's interface, whatever its network is called now. */
export function ownerHash(owner: FilterOwner): string {
  return attachmentHash(owner.containerId, owner.ifname);
}

/** The same from the parts that it is made of. */
export function attachmentHash(containerId: string, ifname: string): string {
  const text = `${containerId}\n${ifname}`;
  if (text !== lastText) {
    lastHash = hashOf(text);
    lastText = text;
  }
  return lastHash;
}

/* A call asks for the hash of one attachment several times. */
let lastText = "";
let lastHash = "";

function hashOf(text: string): string {
  return hexOf(
    createHash("sha256")
      .update(text)
      .digest()
      .subarray(0, HASH_LENGTH / 2),
    "",
  );
}

/** The name of the file that holds an owner's record. */
export function recordName(owner: FilterOwner): string {
  return `${ownerHash(owner)}.${owner.plugin}`;
}

/** Whether a text may be the name of a record's file: sixteen hex digits, a dot and a plugin. */
export function isRecordName(text: string): boolean {
  if (text.charAt(HASH_LENGTH) !== "." || text.length > 40) return false;
  for (let i = 0; i < text.length; i += 1) {
    if (i !== HASH_LENGTH && !"0123456789abcdefghijklmnopqrstuvwxyz-".includes(text.charAt(i))) return false;
  }
  return true;
}

/**
 * The comment of an owner's elements: hash, network, container, interface. Names that leave no room for the rest are
 * shortened, in a way that `isWordOf` still knows.
 */
export function ownerComment(owner: FilterOwner): string {
  const { network, containerId, ifname } = owner;
  const hash = ownerHash(owner);
  const full = `${hash} ${network} ${containerId} ${ifname}`;
  if (full.length <= MAX_COMMENT) return full;
  const half = `${hash} ${shortened(network)} ${containerId} ${ifname}`;
  return half.length <= MAX_COMMENT ? half : `${hash} ${shortened(network)} ${shortened(containerId)} ${ifname}`;
}

/** A long name's beginning and its hash, with a character between them that no name holds. */
function shortened(name: string): string {
  return name.length <= NAME_PART + HASH_LENGTH + 1 ? name : `${name.slice(0, NAME_PART)}~${hashOf(name)}`;
}

/** An owner in a message. */
export function ownerText(owner: FilterOwner): string {
  return `container ${owner.containerId} (${owner.ifname}) in network ${owner.network}`;
}

/** The hash of the owner whose comment it is; "" for a comment that is nobody's of ours. */
export function hashIn(comment: string): string {
  const word = textAt(comment.split(" "), 0);
  return word.length === HASH_LENGTH ? word : "";
}

/** Whether a comment says that its element is of that network. One that was cut before its name's end does not. */
export function isOfNetwork(comment: string, network: string): boolean {
  const words = comment.split(" ");
  return words.length > 2 && isWordOf(textAt(words, 1), network);
}

/** Whether a comment says that its element is of that container. One that was cut before its name's end does not. */
export function isOfContainer(comment: string, containerId: string): boolean {
  const words = comment.split(" ");
  return words.length > 3 && isWordOf(textAt(words, 2), containerId);
}

function isWordOf(word: string, name: string): boolean {
  return word === name || (word.includes("~") && word === shortened(name));
}

/** What tells elements apart: one set has a key once. */
function elementName(element: FilterElement): string {
  return `${element.table} ${element.set} ${element.key}`;
}

/** Elements that are asked for often: a pod may have a hundred thousand. Each is in it once. */
export class ElementList {
  readonly items: FilterElement[] = [];
  readonly #names = new Set<string>();

  constructor(elements: readonly FilterElement[]) {
    this.add(elements);
  }

  add(elements: readonly FilterElement[]): void {
    for (const element of elements) {
      const name = elementName(element);
      if (this.#names.has(name)) continue;
      this.#names.add(name);
      this.items.push(element);
    }
  }

  has(element: FilterElement): boolean {
    return this.#names.size > 0 && this.#names.has(elementName(element));
  }
}

/** Those of some elements that are not among others. */
export function without(elements: readonly FilterElement[], others: readonly FilterElement[]): FilterElement[] {
  if (others.length === 0) return [...elements];
  const list = new ElementList(others);
  return elements.filter((element) => !list.has(element));
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
