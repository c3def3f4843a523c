/**
 * What the packet filter holds for one attachment, as a value, and how elements name their owner: the first word of an
 * element's comment is a hash of the container and its interface. Of the rest only whole words are compared. Pure.
 */
import { createHash } from "node:crypto";
import type { Resident } from "../host/liveness.ts";
import type { NamespaceIdentity } from "../host/namespace.ts";
import { textAt } from "../lists.ts";
import { hexOf } from "../text.ts";
import type { HostPort } from "./hostports.ts";
import type { IptablesPlan } from "./iptables-plan.ts";
import { managedTable, type TableName } from "./ruleset.ts";

/** An owner: an interface of a container in a network, and the plugin that made the record. */
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

/** A chain that attachments share. Its name is derived from its rules, so chains with the same name are equal. */
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
  /** The ports that elements publish: `portElement` in hostport-elements.ts. */
  readonly ports: readonly HostPort[];
  /** All other elements. */
  readonly elements: readonly FilterElement[];
  /** The rules of the iptables backend, one plan for each IP version; empty with nftables. */
  readonly iptables: readonly IptablesPlan[];
  /**
   * Ports without elements: those that the rules of iptables publish, or those that the attachment waits for because another
   * interface of the container has them.
   */
  readonly claims: readonly HostPort[];
  /** The elements that belong to ports that the attachment waits for. */
  readonly claimElements: readonly FilterElement[];
  /** The names of the records of the container's other interfaces that wait for ports of this one. */
  readonly waiters: readonly string[];
}

/** What nft shows of a comment (NFTNL_UDATA_COMMENT_MAXLEN in libnftnl). */
const MAX_COMMENT = 128;
/** How many characters of a name that is too long for a comment come before its hash. */
const NAME_PART = 24;
const HASH_LENGTH = 16;

/** Sixteen hex digits for a container's interface. They do not depend on the network's name, which may change. */
export function ownerHash(owner: FilterOwner): string {
  return attachmentHash(owner.containerId, owner.ifname);
}

/** `ownerHash` from its parts. */
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
 * The comment of an owner's elements: hash, network, container, interface. If they are too long together, the names are
 * shortened in the way that `isWordOf` recognises.
 */
export function ownerComment(owner: FilterOwner): string {
  const { network, containerId, ifname } = owner;
  const hash = ownerHash(owner);
  const full = `${hash} ${network} ${containerId} ${ifname}`;
  if (full.length <= MAX_COMMENT) return full;
  const half = `${hash} ${shortened(network)} ${containerId} ${ifname}`;
  return half.length <= MAX_COMMENT ? half : `${hash} ${shortened(network)} ${shortened(containerId)} ${ifname}`;
}

/** The beginning of a long name and its hash. No name contains the character between them. */
function shortened(name: string): string {
  return name.length <= NAME_PART + HASH_LENGTH + 1 ? name : `${name.slice(0, NAME_PART)}~${hashOf(name)}`;
}

/** An owner in a message. */
export function ownerText(owner: FilterOwner): string {
  return `container ${owner.containerId} (${owner.ifname}) in network ${owner.network}`;
}

/** The owner's hash in a comment; "" for a comment that is not ours. */
export function hashIn(comment: string): string {
  const word = textAt(comment.split(" "), 0);
  return word.length === HASH_LENGTH ? word : "";
}

/** Whether a comment names that network. A comment that was cut inside the name does not. */
export function isOfNetwork(comment: string, network: string): boolean {
  const words = comment.split(" ");
  return words.length > 2 && isWordOf(textAt(words, 1), network);
}

/** Whether a comment names that container. A comment that was cut inside the name does not. */
export function isOfContainer(comment: string, containerId: string): boolean {
  const words = comment.split(" ");
  return words.length > 3 && isWordOf(textAt(words, 2), containerId);
}

function isWordOf(word: string, name: string): boolean {
  return word === name || (word.includes("~") && word === shortened(name));
}

/** Different for any two elements: a set has each key once. */
function elementName(element: FilterElement): string {
  return `${element.table} ${element.set} ${element.key}`;
}

/** A list without duplicates, with a fast `has`: a pod may have a hundred thousand elements. */
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

/** An element as nft would print it. */
export function formatElement(element: FilterElement): string {
  const data = element.data === "" ? "" : ` : ${element.data}`;
  return `${managedTable(element.table).label} ${element.set} { ${element.key}${data} }`;
}

/** A record of nothing, for what an attachment has to be added to. */
export function emptyRecord(owner: FilterOwner, netns: NamespaceIdentity, timeMs: number): FilterRecord {
  return {
    owner,
    netns,
    timeMs,
    chains: [],
    ports: [],
    elements: [],
    iptables: [],
    claims: [],
    claimElements: [],
    waiters: [],
  };
}

/** What a liveness test needs of a record. @param boot the present boot's ID: records do not outlive a boot */
export function residentOf(record: FilterRecord, boot: string): Resident {
  return { containerId: record.owner.containerId, netns: record.netns, boot, timeMs: record.timeMs };
}
