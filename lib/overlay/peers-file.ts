/**
 * A peers file: JSON objects, one a line. The first line says which generation the file is, that it is complete, and how
 * many peers follow, so that a file cut off anywhere is recognised:
 *
 *   {"generation":7,"complete":true,"peers":2}
 *   {"nodeIP":"192.0.2.1","podCIDRs":["10.244.1.0/24","fd44:0:0:1::/64"]}
 *   {"nodeIP":"192.0.2.2","podCIDRs":["10.244.2.0/24","fd44:0:0:2::/64"]}
 *
 * This node may stand among them: all nodes can be given the same file. Pure.
 */
import { Fields } from "../cni/fields.ts";
import { JsonError, parseJson } from "../cni/json.ts";
import { MAC_WORDS, putMac } from "../ip/mac.ts";
import { ADDRESS_WORDS, clearHostBits, IPV4_LENGTH, isIpv4At, readAddress } from "../ip/words.ts";
import { PeerTable } from "./peer-table.ts";
import { MIN_PREFIX, type PeerList, PeersUnknown, readPeer, vtepMac } from "./peers.ts";

/** More than a Linux bridge or route table is ever asked to hold of nodes. */
const MAX_PEERS = 100_000;
/** A line of a peers file: a node with a dozen networks has some hundred bytes. */
const MAX_LINE = 16_384;
/** What a line has at least; what the first line announces is not believed before it is there. */
const MIN_LINE = 20;
const NEWLINE = 0x0a;

/**
 * Reads a peers file.
 * @param name the file's name, for messages
 * @throws PeersUnknown if it is not whole; CniError 7 that names the record if one is wrong
 */
export function parsePeersFile(bytes: Uint8Array, name: string): PeerList {
  let generation = -1;
  let announced = 0;
  let force = false;
  let peers = new PeerTable(name, 0);
  let line = 0;
  for (let start = 0; start < bytes.length; ) {
    let end = start;
    while (end < bytes.length && bytes[end] !== NEWLINE) end += 1;
    line += 1;
    if (end > start && generation < 0) {
      const fields = parseLine(bytes.subarray(start, end), `${name} line ${line}`);
      generation = fields.integer("generation", 0, Number.MAX_SAFE_INTEGER) ?? -1;
      announced = fields.integer("peers", 0, MAX_PEERS) ?? -1;
      force = fields.boolean("force", false);
      requireHeader(fields, generation, announced);
      peers = new PeerTable(name, Math.min(announced, Math.ceil(bytes.length / MIN_LINE)));
    } else if (end > start) {
      if (peers.count === announced) throw new PeersUnknown(`${name} holds more than the ${announced} peers it says`);
      if (!readPlainRecord(bytes, start, end, line, peers)) {
        const place = `${name} line ${line}`;
        peers.add(readPeer(parseLine(bytes.subarray(start, end), place), place), line);
      }
    }
    start = end + 1;
  }
  if (generation < 0) throw new PeersUnknown(`${name} is empty`);
  if (peers.count < announced) {
    throw new PeersUnknown(`${name} says it holds ${announced} peers, but ends after ${peers.count}`);
  }
  return { generation, force, peers };
}

function requireHeader(fields: Fields, generation: number, announced: number): void {
  if (generation >= 0 && announced >= 0 && fields.boolean("complete", false)) return;
  throw new PeersUnknown(
    `${fields.path} should be {"generation":<number>,"complete":true,"peers":<how many lines follow>}`,
  );
}

function parseLine(bytes: Uint8Array, place: string): Fields {
  if (bytes.length > MAX_LINE) throw new PeersUnknown(`${place} is longer than ${MAX_LINE} bytes`);
  try {
    const json = parseJson(bytes);
    if (json.kind === "object") return new Fields(json, place);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new PeersUnknown(`${place} is not JSON: ${error.message}`);
  }
  throw new PeersUnknown(`${place} is no JSON object`);
}

const SPACE = 0x20;
const TAB = 0x09;
const RETURN = 0x0d;
const QUOTE = 0x22;
const COMMA = 0x2c;
const SLASH = 0x2f;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN = 0x7b;
const CLOSE = 0x7d;

const NODE_IP = new TextEncoder().encode("nodeIP");
const POD_CIDRS = new TextEncoder().encode("podCIDRs");

/**
 * Reads a record of the usual kind from the line [start, end) without making objects: texts without escapes, nothing but
 * `nodeIP`, `podCIDRs` and members of no concern whose values are texts. Of any other record it says false, and has added
 * nothing; that is for `readPeer` to judge.
 */
function readPlainRecord(bytes: Uint8Array, start: number, end: number, line: number, peers: PeerTable): boolean {
  let at = skipBlanks(bytes, start, end);
  if (end - start > MAX_LINE || byteAt(bytes, at, end) !== OPEN) return false;
  peers.beginRow(line);
  let hasHost = false;
  let hasCidrs = false;
  for (;;) {
    at = skipBlanks(bytes, at + 1, end);
    const keyEnd = textEnd(bytes, at, end);
    if (keyEnd < 0) return false;
    const key = at + 1;
    const value = skipBlanks(bytes, keyEnd + 1, end);
    if (byteAt(bytes, value, end) !== COLON) return false;
    at = skipBlanks(bytes, value + 1, end);
    let next = -1;
    if (!hasHost && isText(bytes, key, keyEnd, NODE_IP)) {
      next = textEnd(bytes, at, end);
      hasHost = next >= 0 && readHost(bytes, at + 1, next, peers);
      if (!hasHost) return false;
    } else if (!hasCidrs && isText(bytes, key, keyEnd, POD_CIDRS)) {
      next = readCidrs(bytes, at, end, peers);
      hasCidrs = true;
    } else if (isOther(keyEnd - key)) {
      next = textEnd(bytes, at, end);
    }
    if (next < 0) return false;
    at = skipBlanks(bytes, next + 1, end);
    const behind = byteAt(bytes, at, end);
    if (behind === COMMA) continue;
    if (behind !== CLOSE || skipBlanks(bytes, at + 1, end) !== end || !hasHost) return false;
    peers.endRow();
    return true;
  }
}

/** Whether a name of this length is none that a record knows, however it is written. */
function isOther(length: number): boolean {
  return length !== NODE_IP.length && length !== POD_CIDRS.length && length !== "mac".length;
}

function isText(bytes: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
  if (end - start !== text.length) return false;
  for (let i = 0; i < text.length; i += 1) {
    if (bytes[start + i] !== text[i]) return false;
  }
  return true;
}

/** A byte of the line, -1 behind its end. */
function byteAt(bytes: Uint8Array, at: number, end: number): number {
  return at < end ? (bytes[at] ?? 0) : -1;
}

function skipBlanks(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && (bytes[at] === SPACE || bytes[at] === TAB || bytes[at] === RETURN)) at += 1;
  return at;
}

/** The closing quote of the plain text whose opening quote is at `start`; -1 if there is none such. */
function textEnd(bytes: Uint8Array, start: number, end: number): number {
  if (byteAt(bytes, start, end) !== QUOTE) return -1;
  for (let at = start + 1; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) return at;
    if (byte < SPACE || byte > 0x7e || byte === BACKSLASH) return -1;
  }
  return -1;
}

function readHost(bytes: Uint8Array, start: number, end: number, peers: PeerTable): boolean {
  const { hosts, macs, count } = peers;
  const at = count * ADDRESS_WORDS;
  if (!readAddress(bytes, start, end, hosts, at)) return false;
  if (isIpv4At(hosts, at)) {
    const first = (hosts[at + 3] ?? 0) >>> 24;
    if (first === 0 || first === 127 || first >= 224) return false;
    /* As `vtepMac` has it. */
    macs[count * MAC_WORDS] = 0x0ef4;
    macs[count * MAC_WORDS + 1] = hosts[at + 3] ?? 0;
    return true;
  }
  const first = (hosts[at] ?? 0) >>> 24;
  if (first === 0 || first === 0xff) return false;
  putMac(macs, count * MAC_WORDS, vtepMac(peers.host(count)));
  return true;
}

/** Reads a list of networks; the place of its closing bracket, -1 if it is of another kind. */
function readCidrs(bytes: Uint8Array, start: number, end: number, peers: PeerTable): number {
  if (byteAt(bytes, start, end) !== OPEN_LIST) return -1;
  let at = skipBlanks(bytes, start + 1, end);
  if (byteAt(bytes, at, end) === CLOSE_LIST) return at;
  for (;;) {
    const close = textEnd(bytes, at, end);
    if (close < 0 || !readCidr(bytes, at + 1, close, peers)) return -1;
    at = skipBlanks(bytes, close + 1, end);
    const behind = byteAt(bytes, at, end);
    if (behind === CLOSE_LIST) return at;
    if (behind !== COMMA) return -1;
    at = skipBlanks(bytes, at + 1, end);
  }
}

function readCidr(bytes: Uint8Array, start: number, end: number, peers: PeerTable): boolean {
  let slash = start;
  while (slash < end && bytes[slash] !== SLASH) slash += 1;
  const length = readLength(bytes, slash + 1, end);
  const at = peers.nextCidr();
  const { cidrs } = peers;
  if (length < MIN_PREFIX || !readAddress(bytes, start, slash, cidrs, at)) return false;
  const isIpv4 = isIpv4At(cidrs, at);
  /* Of IPv6, ::ffff:0:0/96 and whatever holds it. */
  if (isIpv4 ? length > 32 : (cidrs[at] ?? 0) >>> 24 === 0) return false;
  const wide = isIpv4 ? length + IPV4_LENGTH : length;
  clearHostBits(cidrs, at, wide);
  cidrs[at + ADDRESS_WORDS] = wide;
  peers.addCidr();
  return true;
}

/** A prefix length; -1 if it is none. */
function readLength(bytes: Uint8Array, start: number, end: number): number {
  if (start >= end || end - start > 3 || bytes[start] === ZERO) return -1;
  let length = 0;
  for (let at = start; at < end; at += 1) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length <= 128 ? length : -1;
}
