/**
 * A peers file: JSON objects, one a line. The first line says which generation the file is, that it is complete, and how
 * many peers follow, so that a file cut off anywhere is recognised:
 *
 *   {"generation":7,"complete":true,"peers":2}
 *   {"nodeIP":"192.0.2.1","podCIDRs":["10.244.1.0/24","fd44:0:0:1::/64"]}
 *   {"nodeIP":"192.0.2.2","podCIDRs":["10.244.2.0/24","fd44:0:0:2::/64"]}
 *
 * This node may be one of them: all nodes can have the same file. Pure.
 */
import type { Fields } from "../cni/fields.ts";
import { IPV4_LENGTH } from "../ip/words.ts";
import { PeerTable } from "./peer-table.ts";
import { MIN_PREFIX, type PeerList, PeersUnavailable, type Reject, setVtepMac, vtepMac } from "./peers.ts";
import { parseRecord, readRecord } from "./record.ts";

/** More nodes than any cluster has. */
const MAX_PEERS = 100_000;
/** The longest line that is read in one pass; `readRecord` reads longer ones. */
const MAX_LINE = 16_384;
/** The least bytes of a line: the first line may announce more records than the file can have. */
const MIN_LINE = 20;
const NEWLINE = 0x0a;

/**
 * Reads a peers file. A wrong record is among the rejects, with its line; the others are used.
 * @param name the file's name, for messages
 * @throws PeersUnavailable if it is not whole
 */
export function parsePeersFile(bytes: Uint8Array, name: string): PeerList {
  let generation = -1;
  let announced = 0;
  let force = false;
  let peers = new PeerTable(name, 0);
  const rejects: Reject[] = [];
  let line = 0;
  for (let start = markLength(bytes); start < bytes.length; ) {
    line += 1;
    const isRecord = generation >= 0 && peers.count + rejects.length < announced;
    let next = isRecord ? readPlainRecord(bytes, start, line, peers) : -1;
    if (next < 0) {
      const end = lineEnd(bytes, start);
      next = end + 1;
      const place = `${name} line ${line}`;
      const text = bytes.subarray(start, end);
      if (skipBlanks(bytes, start, end) === end) {
        /* A blank line. */
      } else if (generation < 0) {
        const fields = parseRecord(text, place);
        generation = fields.integer("generation", 0, Number.MAX_SAFE_INTEGER) ?? -1;
        announced = fields.integer("peers", 0, MAX_PEERS) ?? -1;
        force = fields.boolean("force", false);
        requireHeader(fields, generation, announced);
        peers = new PeerTable(name, Math.min(announced, Math.ceil(bytes.length / MIN_LINE)));
      } else if (!isRecord) {
        throw new PeersUnavailable(`${name} holds more than the ${announced} peers it says`);
      } else {
        const { peer, reject } = readRecord(text, place);
        if (peer !== null) peers.add(peer, line);
        if (reject !== null) rejects.push(reject);
        /* A file cut off in its last line. */
        if (reject !== null && reject.host === null && end === bytes.length) throw new PeersUnavailable(reject.text);
      }
    }
    start = next;
  }
  if (generation < 0) throw new PeersUnavailable(`${name} is empty`);
  const count = peers.count + rejects.length;
  if (count < announced)
    throw new PeersUnavailable(`${name} says it holds ${announced} peers, but ends after ${count}`);
  return { generation, force, peers, rejects };
}

/** The length of the byte order mark that some editors write before a text in UTF-8. */
function markLength(bytes: Uint8Array): number {
  return bytes.length > 2 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
}

function requireHeader(fields: Fields, generation: number, announced: number): void {
  if (generation >= 0 && announced >= 0 && fields.boolean("complete", false)) return;
  throw new PeersUnavailable(
    `${fields.path} should be {"generation":<number>,"complete":true,"peers":<how many lines follow>}`,
  );
}

function lineEnd(bytes: Uint8Array, start: number): number {
  let end = start;
  while (end < bytes.length && bytes[end] !== NEWLINE) end += 1;
  return end;
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

/* With their quotation marks. */
const NODE_IP = new TextEncoder().encode('"nodeIP"');
const POD_CIDRS = new TextEncoder().encode('"podCIDRs"');
const MAC_LENGTH = '"mac"'.length;

/**
 * Reads the record of the usual form that begins at `start`, in one pass and without making objects: strings without escapes,
 * and no members but `nodeIP`, `podCIDRs` and unknown ones whose values are strings.
 * @returns where the next line begins; -1 for any other record: nothing has been added, and `readRecord` reads it
 */
function readPlainRecord(bytes: Uint8Array, start: number, line: number, peers: PeerTable): number {
  const end = Math.min(bytes.length, start + MAX_LINE + 1);
  let at = skipBlanks(bytes, start, end);
  if (byteAt(bytes, at, end) !== OPEN) return -1;
  peers.beginRow(line);
  let hasHost = false;
  let hasCidrs = false;
  for (;;) {
    at = skipBlanks(bytes, at + 1, end);
    if (!hasHost && isText(bytes, at, end, NODE_IP)) {
      hasHost = true;
      at = skipColon(bytes, at + NODE_IP.length, end);
      at = readHost(bytes, at, end, peers);
    } else if (!hasCidrs && isText(bytes, at, end, POD_CIDRS)) {
      hasCidrs = true;
      at = skipColon(bytes, at + POD_CIDRS.length, end);
      at = readCidrs(bytes, at, end, peers);
    } else {
      const behind = behindText(bytes, at, end);
      if (!isOther(behind - at)) return -1;
      at = skipColon(bytes, behind, end);
      at = behindText(bytes, at, end);
    }
    if (at < 0) return -1;
    at = skipBlanks(bytes, at, end);
    const byte = byteAt(bytes, at, end);
    if (byte === COMMA) continue;
    if (byte !== CLOSE || !hasHost) return -1;
    at = skipBlanks(bytes, at + 1, end);
    if (at < bytes.length && byteAt(bytes, at, end) !== NEWLINE) return -1;
    peers.endRow();
    return at + 1;
  }
}

/** Whether no member that a record knows has a name of this length, counted with its quotation marks. */
function isOther(length: number): boolean {
  return length > 0 && length !== NODE_IP.length && length !== POD_CIDRS.length && length !== MAC_LENGTH;
}

function isText(bytes: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
  if (start + text.length > end) return false;
  for (let i = 0; i < text.length; i += 1) {
    if (bytes[start + i] !== text[i]) return false;
  }
  return true;
}

/** A byte of the line; -1 outside of it, also for the position -1. */
function byteAt(bytes: Uint8Array, at: number, end: number): number {
  return at >= 0 && at < end ? (bytes[at] ?? 0) : -1;
}

function skipBlanks(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && (bytes[at] === SPACE || bytes[at] === TAB || bytes[at] === RETURN)) at += 1;
  return at;
}

/** Where the value begins that follows a name which ends at `start`; -1 without a colon between them. */
function skipColon(bytes: Uint8Array, start: number, end: number): number {
  const colon = skipBlanks(bytes, start, end);
  return byteAt(bytes, colon, end) === COLON ? skipBlanks(bytes, colon + 1, end) : -1;
}

/** The position after the string without escapes whose opening quotation mark is at `start`; -1 if there is none. */
function behindText(bytes: Uint8Array, start: number, end: number): number {
  if (byteAt(bytes, start, end) !== QUOTE) return -1;
  for (let at = start + 1; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) return at + 1;
    if (byte < SPACE || byte > 0x7e || byte === BACKSLASH) return -1;
  }
  return -1;
}

/** Reads the address of the peer that was begun. Returns the position after it; -1 if `readRecord` has to read it. */
function readHost(bytes: Uint8Array, start: number, end: number, peers: PeerTable): number {
  if (byteAt(bytes, start, end) !== QUOTE) return -1;
  const { hosts, macs, count } = peers;
  const behind = hosts.read(count, bytes, start + 1, end);
  if (byteAt(bytes, behind, end) !== QUOTE) return -1;
  const first = hosts.firstByte(count);
  if (hosts.isIpv4(count)) {
    /* Of 240.0.0.0/4 some addresses are no host's. */
    if (first === 0 || first === 127 || first >= 224) return -1;
    setVtepMac(macs, hosts, count);
    return behind + 1;
  }
  if (first === 0 || first === 0xff) return -1;
  macs.set(count, vtepMac(peers.host(count)));
  return behind + 1;
}

/** Reads a list of networks. Returns the position after it; -1 if `readRecord` has to read it. */
function readCidrs(bytes: Uint8Array, start: number, end: number, peers: PeerTable): number {
  if (byteAt(bytes, start, end) !== OPEN_LIST) return -1;
  let at = skipBlanks(bytes, start + 1, end);
  if (byteAt(bytes, at, end) === CLOSE_LIST) return at + 1;
  for (;;) {
    at = readCidr(bytes, at, end, peers);
    if (at < 0) return -1;
    at = skipBlanks(bytes, at, end);
    const byte = byteAt(bytes, at, end);
    if (byte === CLOSE_LIST) return at + 1;
    if (byte !== COMMA) return -1;
    at = skipBlanks(bytes, at + 1, end);
  }
}

/** Reads a network. Returns the position after it; -1 if `readRecord` has to read it. */
function readCidr(bytes: Uint8Array, start: number, end: number, peers: PeerTable): number {
  if (byteAt(bytes, start, end) !== QUOTE) return -1;
  const { networks } = peers;
  const network = peers.beginNetwork();
  const slash = networks.addresses.read(network, bytes, start + 1, end);
  if (byteAt(bytes, slash, end) !== SLASH) return -1;
  let length = 0;
  let next = slash + 1;
  for (; next < end && bytes[next] !== QUOTE; next += 1) {
    const digit = (bytes[next] ?? 0) - ZERO;
    if (digit < 0 || digit > 9 || (digit === 0 && length === 0) || length > 12) return -1;
    length = length * 10 + digit;
  }
  const { addresses } = networks;
  const isIpv4 = addresses.isIpv4(network);
  if (next === end || length < MIN_PREFIX || length > (isIpv4 ? 32 : 128)) return -1;
  const wide = isIpv4 ? length + IPV4_LENGTH : length;
  addresses.clearHostBits(network, wide);
  if (isUnusual(addresses.firstByte(network), length, isIpv4)) return -1;
  networks.lengths[network] = wide;
  peers.endNetwork();
  return next + 1;
}

/** Whether a network may overlap one that pods cannot have: `readRecord` decides. @param first its first byte */
function isUnusual(first: number, length: number, isIpv4: boolean): boolean {
  if (length < 8 || first === 0) return true;
  return isIpv4 ? first === 127 || first === 169 || first >= 224 : first >= 0xfe;
}
