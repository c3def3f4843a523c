/**
 * Records as files. The file lets DEL find an attachment's elements without a search, and lets everybody put back what a
 * third party's flush took away. A file that is not as it was written is told by its sum, and lines that this version does
 * not know are left out and told: a damaged record, or one of another version, is no reason to stop anybody else. Pure.
 */

import { createHash } from "node:crypto";
import { itemAt, textAt } from "../lists.ts";
import { clip, hexOf, isDigits } from "../text.ts";
import { addToPlan, emptyPlan, formatPlan, type RecordedPlan } from "./iptables-lines.ts";
import { type FilterChain, type FilterElement, type FilterRecord, isRecordName } from "./record.ts";
import type { TableName } from "./ruleset.ts";

const HEADER = "podwire packet filter record 1";
const TIME = "since-boot-ms ";
/** Of the lines those that say whose it is and when it was made come first. */
const TIME_LINE = 3;
const FIRST_LINES = 4;

/** What a file holds. */
export interface ReadRecord {
  readonly record: FilterRecord;
  /** Whether the text is as it was written. Of another one only owner and ports are worth anything, and not for sure. */
  readonly sound: boolean;
  /** Whether a sum says so: versions before 2.0 wrote none, and nothing tells whether such a text is all that there was. */
  readonly summed: boolean;
  /** What this version does not understand: lines, clipped. It is not in the record. */
  readonly strange: readonly string[];
}

/** The record's text, a line for each part. */
export function formatRecord(record: FilterRecord): string {
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
  for (const element of record.elements) lines.push(`element ${elementText(element)}`);
  for (const element of record.claims) lines.push(`claim ${elementText(element)}`);
  for (const heir of record.heirs) lines.push(`heir ${heir}`);
  for (const plan of record.iptables) {
    for (const line of formatPlan(plan)) lines.push(line);
  }
  lines.push("end", "");
  const sum = sumOf(lines.join("\n"));
  /* Behind the time, where versions without sums do not look. */
  lines[TIME_LINE] = `${TIME}${record.timeMs} sum ${sum}`;
  return lines.join("\n");
}

/** Reads a record; null for one that is empty, torn, of another form or altered beyond use. */
export function parseRecord(text: string): ReadRecord | null {
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
      elements: content.elements,
      iptables: content.iptables,
      claims: content.claims,
      heirs: content.heirs,
    },
    sound: isAsWritten(text, textAt(lines, TIME_LINE), time),
    summed: time.length > 1,
    strange: content.strange,
  };
}

/** Whether the sum is that of the text without it. Records of versions that wrote none have none. */
function isAsWritten(text: string, line: string, time: readonly string[]): boolean {
  /* Not one that was torn off. */
  if (time.length === 1)
    return !text
      .slice(text.indexOf(line) + line.length)
      .trim()
      .startsWith("sum ");
  if (time.length !== 3 || time[1] !== "sum") return false;
  const at = text.indexOf(`\n${line}\n`) + 1;
  const plain = `${text.slice(0, at)}${TIME}${textAt(time, 0)}${text.slice(at + line.length)}`;
  return textAt(time, 2) === sumOf(plain);
}

function sumOf(text: string): string {
  return hexOf(createHash("sha256").update(text).digest().subarray(0, 8), "");
}

interface Content {
  readonly chains: FilterChain[];
  readonly elements: FilterElement[];
  readonly claims: FilterElement[];
  readonly heirs: string[];
  readonly iptables: RecordedPlan[];
  /** Whether the last of the plans is the one that lines belong to: not behind one that is not understood. */
  inPlan: boolean;
  readonly strange: string[];
}

function readLines(lines: readonly string[], end: number): Content {
  const content: Content = {
    chains: [],
    elements: [],
    claims: [],
    heirs: [],
    iptables: [],
    inPlan: false,
    strange: [],
  };
  for (let i = FIRST_LINES; i < end; i += 1) {
    const line = textAt(lines, i);
    if (!readLine(line, line.split(" "), content)) content.strange.push(clip(line));
  }
  return content;
}

/** Adds what a line says; false for one that is not understood. */
function readLine(line: string, words: readonly string[], content: Content): boolean {
  const word = textAt(words, 0);
  if (word === "heir") {
    if (!isRecordName(textAt(words, 1))) return false;
    content.heirs.push(textAt(words, 1));
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
  const table = textAt(words, 1);
  if (table !== "inet" && table !== "bridge") return false;
  if (word === "chain" && words.length === 3) {
    content.chains.push({ table, name: textAt(words, 2), rules: [] });
    return true;
  }
  if (words.length < 4 || (word !== "element" && word !== "claim")) return false;
  const list = word === "element" ? content.elements : content.claims;
  list.push(elementOf(table, textAt(words, 2), words.slice(3).join(" ")));
  return true;
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
