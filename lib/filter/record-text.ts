/**
 * Records as files. By the file DEL finds an attachment's elements without a search, and every call can put back what
 * another program has flushed. A checksum shows whether a file is damaged. Lines that this version does not know are left
 * out and reported, so that a damaged record, or one of another version, affects no other attachment. Pure.
 */

import { createHash } from "node:crypto";
import { itemAt, textAt } from "../lists.ts";
import { clip, hexOf, isDigits } from "../text.ts";
import { elementsOf, hostPortOf, isPortElement, portElement } from "./hostport-elements.ts";
import type { HostPort } from "./hostports.ts";
import { addToPlan, emptyPlan, formatPlan, type RecordedPlan } from "./iptables-lines.ts";
import { type FilterChain, type FilterElement, type FilterRecord, isRecordName } from "./record.ts";
import { TABLE_NAMES, type TableName } from "./ruleset.ts";

const HEADER = "podwire packet filter record 1";
const TIME = "since-boot-ms ";
/** The first lines say whose record it is and when it was made. */
const TIME_LINE = 3;
const FIRST_LINES = 4;

/** What a file holds. */
export interface ReadRecord {
  readonly record: FilterRecord;
  /** Whether the text is as it was written. If not, owner and ports are the best guess, and the rest is worthless. */
  readonly intact: boolean;
  /** Whether the text has a checksum: versions before 2.0 wrote none, so their texts may have lost lines. */
  readonly hasChecksum: boolean;
  /** Lines that this version does not know, clipped. They are not in the record. */
  readonly unknownLines: readonly string[];
}

/** The record's text, a line for each part. */
export function formatFilterRecord(record: FilterRecord): string {
  const { owner, netns } = record;
  const lines = [
    HEADER,
    `owner ${owner.network} ${owner.containerId} ${owner.ifname} ${owner.plugin}`,
    `netns ${netns.device} ${netns.inode} ${netns.path}`,
    `${TIME}${record.timeMs}`,
  ];
  for (const chain of record.chains) {
    lines.push(`chain ${chain.table} ${chain.name}`);
    for (const rule of chain.rules) lines.push(`rule ${rule}`);
  }
  for (const element of elementsOf(record)) lines.push(`element ${elementText(element)}`);
  for (const port of record.claims) lines.push(`claim ${elementText(portElement(port))}`);
  for (const element of record.claimElements) lines.push(`claim ${elementText(element)}`);
  for (const waiter of record.waiters) lines.push(`heir ${waiter}`);
  for (const plan of record.iptables) {
    for (const line of formatPlan(plan)) lines.push(line);
  }
  lines.push("end", "");
  const sum = checksum(lines.join("\n"));
  /* It follows the time, where versions without checksums do not read. */
  lines[TIME_LINE] = `${TIME}${record.timeMs} sum ${sum}`;
  return lines.join("\n");
}

/** Reads a record; null for a text that is cut or not of this form. */
export function parseFilterRecord(text: string): ReadRecord | null {
  const lines = text.split("\n");
  const end = lines.length - 2;
  if (end < FIRST_LINES || lines[0] !== HEADER || lines[end] !== "end" || lines[end + 1] !== "") return null;
  const names = wordsOf(textAt(lines, 1), "owner ");
  const netns = wordsOf(textAt(lines, 2), "netns ");
  const time = wordsOf(textAt(lines, TIME_LINE), TIME);
  if (names.length !== 4 || netns.length < 3) return null;
  if (!isNumber(textAt(netns, 0)) || !isNumber(textAt(netns, 1)) || !isNumber(textAt(time, 0))) return null;
  const content = readLines(lines, end);
  return {
    record: {
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
      timeMs: parseInt(textAt(time, 0), 10),
      chains: content.chains,
      ports: content.ports,
      elements: content.elements,
      iptables: content.iptables,
      claims: content.claims,
      claimElements: content.claimElements,
      waiters: content.waiters,
    },
    intact: isIntact(text, textAt(lines, TIME_LINE), time),
    hasChecksum: time.length > 1,
    unknownLines: content.unknownLines,
  };
}

/** Whether the checksum is that of the text without it. Versions before 2.0 wrote none. */
function isIntact(text: string, line: string, time: readonly string[]): boolean {
  /* A line break in the time line would separate the checksum from the time. */
  if (time.length === 1)
    return !text
      .slice(text.indexOf(line) + line.length)
      .trim()
      .startsWith("sum ");
  if (time.length !== 3 || time[1] !== "sum") return false;
  const at = text.indexOf(`\n${line}\n`) + 1;
  const plain = `${text.slice(0, at)}${TIME}${textAt(time, 0)}${text.slice(at + line.length)}`;
  return textAt(time, 2) === checksum(plain);
}

function checksum(text: string): string {
  return hexOf(createHash("sha256").update(text).digest().subarray(0, 8), "");
}

interface Content {
  readonly chains: FilterChain[];
  readonly ports: HostPort[];
  readonly elements: FilterElement[];
  readonly claims: HostPort[];
  readonly claimElements: FilterElement[];
  readonly waiters: string[];
  readonly iptables: RecordedPlan[];
  /** Whether lines belong to the last of the plans: not after the first line of a plan that is not known. */
  inPlan: boolean;
  readonly unknownLines: string[];
}

function readLines(lines: readonly string[], end: number): Content {
  const content: Content = {
    chains: [],
    ports: [],
    elements: [],
    claims: [],
    claimElements: [],
    waiters: [],
    iptables: [],
    inPlan: false,
    unknownLines: [],
  };
  for (let i = FIRST_LINES; i < end; i += 1) {
    const line = textAt(lines, i);
    if (!readLine(line, line.split(" "), content)) content.unknownLines.push(clip(line));
  }
  return content;
}

/** Adds what a line says; false for a line that is not known. */
function readLine(line: string, words: readonly string[], content: Content): boolean {
  const word = textAt(words, 0);
  if (word === "heir") {
    if (!isRecordName(textAt(words, 1))) return false;
    content.waiters.push(textAt(words, 1));
    return true;
  }
  if (word === "iptables") {
    const plan = emptyPlan(words);
    content.inPlan = plan !== null;
    if (plan !== null) content.iptables.push(plan);
    return plan !== null;
  }
  if (word.startsWith("iptables-")) {
    const plan = content.inPlan ? itemAt(content.iptables, content.iptables.length - 1) : null;
    return plan !== null && addToPlan(plan, line);
  }
  if (word === "rule") {
    const at = content.chains.length - 1;
    const chain = itemAt(content.chains, at);
    if (chain === null) return false;
    content.chains[at] = { table: chain.table, name: chain.name, rules: [...chain.rules, line.slice("rule ".length)] };
    return true;
  }
  const table = tableNamed(textAt(words, 1));
  if (table === null) return false;
  if (word === "chain" && words.length === 3) {
    content.chains.push({ table, name: textAt(words, 2), rules: [] });
    return true;
  }
  if (words.length < 4 || (word !== "element" && word !== "claim")) return false;
  const element = elementFrom(table, textAt(words, 2), words.slice(3).join(" "));
  if (!isPortElement(element)) {
    (word === "element" ? content.elements : content.claimElements).push(element);
    return true;
  }
  const port = hostPortOf(element);
  if (port !== null) (word === "element" ? content.ports : content.claims).push(port);
  return port !== null;
}

function tableNamed(text: string): TableName | null {
  for (const name of TABLE_NAMES) if (name === text) return name;
  return null;
}

function elementText(element: FilterElement): string {
  const { table, set, key, data } = element;
  return `${table} ${set} ${key}${data === "" ? "" : ` : ${data}`}`;
}

function elementFrom(table: TableName, set: string, text: string): FilterElement {
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
