/** IP addresses and prefixes as values: parsing, printing and the arithmetic that allocation needs. Pure. */
import { numberAt, textAt } from "../lists.ts";
import { hexNumber, parseHex } from "../text.ts";

export type Family = 4 | 6;

/** An address: four or sixteen bytes in network order. Never changed after it is made. */
export interface Address {
  readonly family: Family;
  readonly bytes: Uint8Array;
}

/** An address and a prefix length: an interface's address ("10.1.0.5/24") or a network ("10.1.0.0/24"). */
export interface Prefix {
  readonly address: Address;
  readonly length: number;
}

/** The number of bits in an address of the family. */
export function bits(family: Family): number {
  return family === 4 ? 32 : 128;
}

/** Parses dotted IPv4 (no leading zeros, RFC 6943 section 3.1.1) or IPv6 (RFC 4291 section 2.2, no zone); null if it is neither. */
export function parseAddress(text: string): Address | null {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

/** Parses "address/length"; null if either part is wrong. Host bits may be set. */
export function parsePrefix(text: string): Prefix | null {
  const slash = text.indexOf("/");
  if (slash < 0) return null;
  const address = parseAddress(text.slice(0, slash));
  const length = parseDecimal(text.slice(slash + 1), 128);
  if (address === null || length === null || length > bits(address.family)) return null;
  return { address, length };
}

/** IPv4 as dotted decimal, IPv6 as RFC 5952 has it; an IPv4-mapped address keeps its dotted tail. */
export function formatAddress(address: Address): string {
  const b = address.bytes;
  if (address.family === 4) return `${b[0]}.${b[1]}.${b[2]}.${b[3]}`;
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((b[i] ?? 0) * 256 + (b[i + 1] ?? 0));
  if (groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)) {
    return `::ffff:${b[12]}.${b[13]}.${b[14]}.${b[15]}`;
  }
  const [start, length] = longestZeroRun(groups);
  if (length < 2) return hexGroups(groups);
  return `${hexGroups(groups.slice(0, start))}::${hexGroups(groups.slice(start + length))}`;
}

function hexGroups(groups: readonly number[]): string {
  const texts: string[] = [];
  for (const group of groups) texts.push(hexNumber(group));
  return texts.join(":");
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.address)}/${prefix.length}`;
}

export function formatPrefixes(prefixes: readonly Prefix[]): string[] {
  const texts: string[] = [];
  for (const prefix of prefixes) texts.push(formatPrefix(prefix));
  return texts;
}

/** Makes an address from bytes in network order; 4 or 16 of them. The bytes are copied. */
export function addressOf(bytes: Uint8Array): Address {
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return { family: bytes.length === 4 ? 4 : 6, bytes: copy };
}

/** Orders addresses: IPv4 before IPv6, then by number. Negative, zero or positive. */
export function compareAddresses(a: Address, b: Address): number {
  if (a.family !== b.family) return a.family - b.family;
  for (let i = 0; i < a.bytes.length; i += 1) {
    const difference = (a.bytes[i] ?? 0) - (b.bytes[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export function sameAddress(a: Address, b: Address): boolean {
  return compareAddresses(a, b) === 0;
}

/** The next (+1) or previous (-1) address; wraps round at the ends of the family's space. */
export function step(address: Address, by: 1 | -1): Address {
  const bytes = new Uint8Array(address.bytes.length);
  bytes.set(address.bytes);
  for (let i = bytes.length - 1; i >= 0; i -= 1) {
    const value = ((bytes[i] ?? 0) + by) & 0xff;
    bytes[i] = value;
    if (by === 1 ? value !== 0 : value !== 0xff) break;
  }
  return { family: address.family, bytes };
}

/** The first address of the network: all host bits zero. */
export function networkOf(prefix: Prefix): Address {
  return withHostBits(prefix, false);
}

/** The last address of the network: all host bits one (for IPv4 the broadcast address). */
export function lastOf(prefix: Prefix): Address {
  return withHostBits(prefix, true);
}

/** Whether the network holds the address. */
export function contains(network: Prefix, address: Address): boolean {
  const own = network.address.bytes;
  const other = address.bytes;
  if (network.address.family !== address.family) return false;
  for (let i = 0; i < own.length && i * 8 < network.length; i += 1) {
    const mask = network.length >= i * 8 + 8 ? 0xff : (0xff00 >> (network.length - i * 8)) & 0xff;
    if ((((own[i] ?? 0) ^ (other[i] ?? 0)) & mask) !== 0) return false;
  }
  return true;
}

/** Whether one of the networks holds the address. */
export function anyContains(networks: readonly Prefix[], address: Address): boolean {
  for (const network of networks) {
    if (contains(network, address)) return true;
  }
  return false;
}

/** Whether an address is among others. */
export function holdsAddress(addresses: readonly Address[], address: Address): boolean {
  for (const other of addresses) {
    if (sameAddress(other, address)) return true;
  }
  return false;
}

/** Whether a prefix, its host bits included, is among others. */
export function holdsPrefix(prefixes: readonly Prefix[], wanted: Prefix): boolean {
  for (const prefix of prefixes) {
    if (prefix.length === wanted.length && sameAddress(prefix.address, wanted.address)) return true;
  }
  return false;
}

/** Whether two networks share an address. */
export function overlap(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? contains(a, b.address) : contains(b, a.address);
}

/** last - first + 1; from 2^53 on rounded, as numbers are. Zero or less if last comes before first. */
export function rangeSize(first: Address, last: Address): number {
  let size = 0;
  for (let i = 0; i < first.bytes.length; i += 1) {
    size = size * 256 + ((last.bytes[i] ?? 0) - (first.bytes[i] ?? 0));
  }
  return size + 1;
}

function withHostBits(prefix: Prefix, ones: boolean): Address {
  const source = prefix.address.bytes;
  const bytes = new Uint8Array(source.length);
  for (let i = 0; i < source.length; i += 1) {
    const kept = Math.min(8, Math.max(0, prefix.length - i * 8));
    const mask = (0xff00 >> kept) & 0xff;
    const value = source[i] ?? 0;
    bytes[i] = (value & mask) | (ones ? 0xff & ~mask : 0);
  }
  return { family: prefix.address.family, bytes };
}

/** Digits only, no leading zero, at most `max`. */
function parseDecimal(text: string, max: number): number | null {
  if (text.length === 0 || text.length > 3) return null;
  let value = 0;
  for (let i = 0; i < text.length; i += 1) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return null;
    value = value * 10 + digit;
  }
  if (text.length > 1 && text.startsWith("0")) return null;
  return value <= max ? value : null;
}

/** Without substrings: lists have thousands of addresses. */
function parseIpv4(text: string): Address | null {
  const bytes = new Uint8Array(4);
  let part = 0;
  let value = 0;
  let digits = 0;
  for (let i = 0; i <= text.length; i += 1) {
    const unit = i < text.length ? text.charCodeAt(i) : DOT;
    if (unit !== DOT) {
      const digit = unit - 0x30;
      /* No leading zero. */
      if (digit < 0 || digit > 9 || (digits > 0 && value === 0)) return null;
      value = value * 10 + digit;
      digits += 1;
      if (value > 255) return null;
    } else {
      if (digits === 0 || part > 3) return null;
      bytes[part] = value;
      part += 1;
      value = 0;
      digits = 0;
    }
  }
  return part === 4 ? { family: 4, bytes } : null;
}

const DOT = 0x2e;

function parseIpv6(text: string): Address | null {
  const double = text.indexOf("::");
  if (double >= 0 && text.indexOf("::", double + 1) >= 0) return null;
  const head = double < 0 ? groupsOf(text, true) : groupsOf(text.slice(0, double), false);
  const tail = double < 0 ? [] : groupsOf(text.slice(double + 2), true);
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (double < 0 ? missing !== 0 : missing < 1) return null;
  const bytes = new Uint8Array(16);
  for (let i = 0; i < head.length; i += 1) putGroup(bytes, i, numberAt(head, i));
  for (let i = 0; i < tail.length; i += 1) putGroup(bytes, 8 - tail.length + i, numberAt(tail, i));
  return { family: 6, bytes };
}

function putGroup(bytes: Uint8Array, index: number, group: number): void {
  bytes[index * 2] = group >> 8;
  bytes[index * 2 + 1] = group & 0xff;
}

/** The 16-bit groups of colon-separated hex; the last part may be dotted IPv4 where `dotted` says so. */
function groupsOf(text: string, dotted: boolean): number[] | null {
  const groups: number[] = [];
  if (text === "") return groups;
  const parts = text.split(":");
  if (parts.length > 8) return null;
  for (let i = 0; i < parts.length; i += 1) {
    const part = textAt(parts, i);
    if (dotted && i === parts.length - 1 && part.includes(".")) {
      const v4 = parseIpv4(part);
      if (v4 === null) return null;
      groups.push((v4.bytes[0] ?? 0) * 256 + (v4.bytes[1] ?? 0), (v4.bytes[2] ?? 0) * 256 + (v4.bytes[3] ?? 0));
    } else {
      const group = parseHex(part);
      if (group === null) return null;
      groups.push(group);
    }
  }
  return groups;
}

/** [index, length] of the longest run of zero groups, the first of equals. */
function longestZeroRun(groups: number[]): readonly [number, number] {
  let best = 0;
  let bestLength = 0;
  let start = 0;
  for (let i = 0; i <= groups.length; i += 1) {
    if (i < groups.length && groups[i] === 0) continue;
    if (i - start > bestLength) {
      best = start;
      bestLength = i - start;
    }
    start = i + 1;
  }
  return [best, bestLength];
}
