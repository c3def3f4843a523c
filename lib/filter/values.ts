/**
 * Converts the values of rules and sets between nft's notation ("10.1.0.5", "tcp", "eth*") and bytes. Pure.
 */
import { type Address, addressOf, formatAddress, networkOf, parseAddress, parsePrefix } from "../ip/address.ts";
import { formatMac, parseMac } from "../ip/mac.ts";
import { textAt } from "../lists.ts";
import type { Field } from "../netlink/nftables/objects.ts";
import { clip, hexOf, isDigits, parseHex } from "../text.ts";

/** A text is not in this subset of nft's syntax. The message names the part that is wrong. */
export class LanguageError extends Error {
  /** What is allowed there; "" if the message says it. */
  readonly details: string;

  constructor(message: string, details: string) {
    super(message);
    this.name = "LanguageError";
    this.details = details;
  }
}

/** A type of values. */
export interface ValueType {
  readonly name: string;
  /** The number of nft's datatype. */
  readonly number: number;
  /** What the bytes are: an address, ether, a name, a number in network order or (host, flags) in the machine's. */
  readonly form: string;
  /** Bytes. */
  readonly length: number;
  /** " tcp=6 udp=17 "; of two names for one number the first is printed. */
  readonly symbols: string;
}

export const VERDICTS = " drop=0 accept=1 jump=-3 goto=-4 return=-5 ";

/**
 * nft's datatypes (include/datatype.h of nftables): name, number, form, length in bytes, symbols. The length is that in
 * messages, which for boolean is that of a register. The table is text because objects would take five times the space, and
 * would be made at every start of every plugin.
 */
const TYPES = `
verdict #4294967040 verdict 0${VERDICTS}
nf_proto #2 number 1 ipv4=2 ipv6=10
integer #4 number 4
ipv4_addr #7 address 4
ipv6_addr #8 address 16
ether_addr #9 ether 6
ether_type #10 number 2 ip=2048 arp=2054 ip6=34525 8021q=33024 vlan=33024 8021ad=34984
arp_op #11 number 2 request=1 reply=2
inet_proto #12 number 1 icmp=1 igmp=2 tcp=6 udp=17 gre=47 esp=50 ah=51 ipv6-icmp=58 icmpv6=58 sctp=132 udplite=136
inet_service #13 number 2
icmp_type #14 number 1 echo-reply=0 destination-unreachable=3 redirect=5 echo-request=8 time-exceeded=11
tcp_flag #15 flags 1 fin=1 syn=2 rst=4 psh=8 ack=16 urg=32 ecn=64 cwr=128
mark #19 host 4
iface_index #20 host 4 lo=1
uid #24 host 4 root=0
gid #25 host 4 root=0
ct_state #26 flags 4 invalid=1 established=2 related=4 new=8 untracked=64
ct_dir #27 number 1 original=0 reply=1
ct_status #28 flags 4 expected=1 seen-reply=2 assured=4 confirmed=8 snat=16 dnat=32 dying=512
icmpv6_type #29 number 1 destination-unreachable=1 packet-too-big=2 time-exceeded=3 echo-request=128 echo-reply=129 \
mld-listener-report=131 nd-router-solicit=133 nd-router-advert=134 nd-neighbor-solicit=135 nd-neighbor-advert=136 nd-redirect=137 mld2-listener-report=143
pkt_type #31 number 1 host=0 unicast=0 broadcast=1 multicast=2 other=3
devgroup #35 host 4 default=0
fib_addrtype #38 host 4 unspec=0 unicast=1 local=2 broadcast=3 anycast=4 multicast=5 unreachable=7 prohibit=8
boolean #39 host 4 missing=0 exists=1
ifname #41 name 16
`;

/** The types that were used so far: a pod's elements have the same few types. */
const known = new Map<number, ValueType>();
const knownNames = new Map<string, ValueType>();

/** The type of that name, "ipv4_addr". @throws LanguageError */
export function typeNamed(name: string): ValueType {
  return knownNames.get(name) ?? typeAt(TYPES.indexOf(`\n${name} #`), name);
}

/** The type in the row that begins after an index. */
function typeAt(index: number, name: string): ValueType {
  if (index < 0) throw new LanguageError(`unknown type "${clip(name)}"`, "");
  const row = TYPES.slice(index + 1, TYPES.indexOf("\n", index + 1)).split(" ");
  const type: ValueType = {
    name: textAt(row, 0),
    number: parseInt(textAt(row, 1).slice(1), 10),
    form: textAt(row, 2),
    length: parseInt(textAt(row, 3), 10),
    symbols: ` ${row.slice(4).join(" ")} `,
  };
  known.set(type.number, type);
  knownNames.set(type.name, type);
  return type;
}

/** The type of a field; "integer" for one that is not known here. */
function typeOf(field: Field): ValueType {
  const type = known.get(field.type) ?? null;
  if (type !== null) return type;
  const index = TYPES.indexOf(` #${field.type} `);
  return index < 0 ? typeNamed("integer") : typeAt(TYPES.lastIndexOf("\n", index), "");
}

/** The number of a name in symbols like " tcp=6 udp=17 "; null for an unknown name. */
export function symbolValue(symbols: string, name: string): number | null {
  const index = name.includes("=") ? -1 : symbols.indexOf(` ${name}=`);
  return index < 0 ? null : parseInt(symbols.slice(index + name.length + 2), 10);
}

/** The name of a number in symbols; its digits if it has no name. */
export function symbolName(symbols: string, value: number): string {
  const index = symbols.indexOf(`=${value} `);
  return index < 0 ? `${value}` : symbols.slice(symbols.lastIndexOf(" ", index) + 1, index);
}

/** The fields of a set's key or data from the names of their types: "inet_proto . inet_service". @throws LanguageError */
export function fieldsNamed(names: string): Field[] {
  const fields: Field[] = [];
  for (const name of names.split(" . ")) {
    const type = typeNamed(name);
    fields.push({ type: type.number, length: type.length });
  }
  return fields;
}

/** What a match compares with. */
export interface Operand {
  /** The value, or the first of a range. Shorter than the type if only the beginning of values is compared. */
  readonly first: Uint8Array;
  /** The last of a range, else null. */
  readonly last: Uint8Array | null;
  /** The bits that count, if they are not whole bytes; else null. */
  readonly mask: Uint8Array | null;
}

/**
 * Reads a value, a prefix "10.0.0.0/8", the beginning of a name "eth*" or a range "80-90".
 * @param length in bytes
 * @throws LanguageError
 */
export function parseOperand(type: ValueType, length: number, text: string): Operand {
  const prefix = type.form === "address" ? parsePrefix(text) : null;
  if (prefix !== null && prefix.address.bytes.length === length) {
    const first = networkOf(prefix).bytes;
    const whole = prefix.length / 8;
    if (whole > 0 && Number.isInteger(whole)) return operand(first.slice(0, whole), null, null);
    return operand(first, null, prefixMask(length, prefix.length));
  }
  if (type.form === "name" && text.endsWith("*") && text !== "*") {
    const stem = text.slice(0, -1);
    const first = encodeValue(type, length, stem);
    return operand(first.slice(0, new TextEncoder().encode(stem).length), null, null);
  }
  const dash = text.indexOf("-");
  const ordered = type.form === "address" || type.form === "number";
  if (dash < 0 || !ordered || symbolValue(type.symbols, text) !== null) {
    return operand(encodeValue(type, length, text), null, null);
  }
  const first = encodeValue(type, length, text.slice(0, dash));
  const last = encodeValue(type, length, text.slice(dash + 1));
  if (hexOf(first, "") > hexOf(last, "")) throw new LanguageError(`"${clip(text)}" ends before it begins`, "");
  return operand(first, last, null);
}

function operand(first: Uint8Array, last: Uint8Array | null, mask: Uint8Array | null): Operand {
  return { first, last, mask };
}

/** `bits` ones, then zeros. */
function prefixMask(length: number, bits: number): Uint8Array {
  const mask = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) mask[i] = (0xff00 >> Math.min(8, Math.max(0, bits - i * 8))) & 0xff;
  return mask;
}

/** The addresses that were parsed so far: the pod's is in each of its elements. */
const addresses = new Map<string, Address>();

/** For a process that outlives a call: pods come and go, and their addresses would be kept for ever. */
export function forgetAddresses(): void {
  addresses.clear();
}

function addressNamed(text: string): Address | null {
  const known = addresses.get(text) ?? null;
  if (known !== null) return known;
  const address = parseAddress(text);
  if (address !== null) addresses.set(text, address);
  return address;
}

/** The bytes of one value; the caller must not change them. @throws LanguageError */
export function encodeValue(type: ValueType, length: number, text: string): Uint8Array {
  let bytes: Uint8Array | null = null;
  if (type.form === "address") {
    const address = addressNamed(text);
    if (address !== null) bytes = address.bytes;
  } else if (type.form === "ether") bytes = parseMac(text);
  else if (type.form === "name") bytes = encodeName(text, length);
  else bytes = encodeNumber(type, text, length);
  if (bytes === null || bytes.length !== length) throw wrongValue(type, length, text);
  return bytes;
}

function wrongValue(type: ValueType, length: number, text: string): LanguageError {
  const examples = " ipv4_addr=10.1.0.5 ipv6_addr=fd00::5 ether_addr=02:00:00:00:00:01 ifname=eth0 ";
  const at = examples.indexOf(` ${type.name}=`);
  let expected = `a whole number of at most ${length * 8} bits`;
  if (at >= 0) expected = `a value such as ${examples.slice(at + type.name.length + 2).split(" ")[0]}`;
  else if (type.symbols !== "  ") expected += ` or one of:${type.symbols}`;
  return new LanguageError(`"${clip(text)}" is no ${type.name}`, `expected ${expected}`);
}

/** The name of an interface as the kernel allows it (dev_valid_name), without nft's "*". */
function encodeName(text: string, length: number): Uint8Array | null {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length === 0 || bytes.length >= length || text === "." || text === "..") return null;
  const padded = new Uint8Array(length);
  for (let i = 0; i < bytes.length; i += 1) {
    const byte = bytes[i] ?? 0;
    if (byte <= 0x20 || byte === 0x2f || byte === 0x3a || byte === 0x2a) return null;
    padded[i] = byte;
  }
  return padded;
}

/** A number or its name; for flags also several with commas between them. Null for any other text, or a number too large. */
function encodeNumber(type: ValueType, text: string, length: number): Uint8Array | null {
  const number = type.form === "flags" ? flagsOf(type, text) : numberOf(type, text);
  if (number < 0 || (length < 4 && number >>> (8 * length) !== 0)) return null;
  const bytes = new Uint8Array(length);
  for (let i = 0; i < Math.min(length, 4); i += 1) {
    bytes[type.form === "number" ? length - 1 - i : i] = (number >>> (8 * i)) & 0xff;
  }
  return bytes;
}

/** The flags of names and numbers with commas between them; -1 if one is neither. */
function flagsOf(type: ValueType, text: string): number {
  let flags = 0;
  for (const part of text.split(",")) {
    const flag = numberOf(type, part);
    if (flag < 0) return -1;
    flags |= flag;
  }
  return flags >>> 0;
}

/**
 * The number of a name, or of decimal digits without leading zeros, or of "0x" and at most eight hex digits; -1 for anything
 * else or above 2^32 - 1.
 */
function numberOf(type: ValueType, text: string): number {
  if (text.startsWith("0x")) {
    const low = parseHex(text.slice(Math.max(2, text.length - 4)));
    const high = text.length > 6 ? parseHex(text.slice(2, -4)) : 0;
    return low === null || high === null ? -1 : high * 0x10000 + low;
  }
  if (!isDigits(text)) return symbolValue(type.symbols, text) ?? -1;
  if (text.length > 10 || (text.length > 1 && text.startsWith("0"))) return -1;
  const value = parseInt(text, 10);
  return value < 2 ** 32 ? value : -1;
}

/** The bytes of a set's key or data: "tcp . 8080". @throws LanguageError */
export function encodeValues(fields: readonly Field[], text: string): Uint8Array {
  const parts = text.split(" . ");
  if (parts.length !== fields.length) throw new LanguageError(`"${clip(text)}" is not of ${fields.length} values`, "");
  let length = 0;
  for (const field of fields) length += paddedLength(field.length);
  const bytes = new Uint8Array(length);
  let offset = 0;
  let i = 0;
  for (const field of fields) {
    const value = encodeValue(typeOf(field), field.length, textAt(parts, i));
    if (parts.length === 1) return value;
    bytes.set(value, offset);
    offset += paddedLength(field.length);
    i += 1;
  }
  return bytes;
}

/** The text of a set's key or data. Bytes that are no value of their type are shown as hex digits. */
export function decodeValues(fields: readonly Field[], bytes: Uint8Array): string {
  const parts: string[] = [];
  let offset = 0;
  for (const field of fields) {
    const part = bytes.slice(offset, offset + field.length);
    parts.push(part.length === field.length ? decodeValue(typeOf(field), part) : `0x${hexOf(part, "")}`);
    offset += paddedLength(field.length);
  }
  return parts.join(" . ");
}

/** In a concatenation each field is padded to four bytes. */
function paddedLength(length: number): number {
  return (length + 3) & ~3;
}

function decodeValue(type: ValueType, bytes: Uint8Array): string {
  const length = bytes.length;
  if (type.form === "name") return textAt(new TextDecoder().decode(bytes).split("\0"), 0);
  if (type.form === "address" && length === type.length) return formatAddress(addressOf(bytes));
  if (type.form === "ether" && length === type.length) return formatMac(bytes);
  if (length > 4) return `0x${hexOf(bytes, "")}`;
  let value = 0;
  for (let i = 0; i < length; i += 1) value = value * 256 + (bytes[type.form === "number" ? i : length - 1 - i] ?? 0);
  return symbolName(type.symbols, value);
}
