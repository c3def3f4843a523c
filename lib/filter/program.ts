/**
 * Collects the expressions of one rule: matches, and before each match the tests that the packet has the header that it reads.
 * Each test is made once, in nft's order. Pure.
 */
import { textAt } from "../lists.ts";
import {
  type Expression,
  NFPROTO_BRIDGE,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_REG_1,
  NFT_REG32_00,
} from "../netlink/nftables/objects.ts";
import { clip } from "../text.ts";
import type { Selector } from "./selectors.ts";
import { LanguageError, type Operand, symbolValue } from "./values.ts";

/* enum nft_cmp_ops */
const CMP_EQ = 0;
const CMP_NEQ = 1;
const CMP_LTE = 3;
const CMP_GTE = 5;

const RANGE_NEQ = 1;
/* enum nft_fib_result */
const FIB_RESULT_OIF = 1;
const FIB_RESULT_OIFNAME = 2;
const FIB_RESULT_ADDRTYPE = 3;
const META_PROTOCOL = 1;
const META_IIFTYPE = 8;
const META_NFPROTO = 15;
const META_L4PROTO = 16;

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
/** The first words of selectors: network protocols as Ethernet has them, from 0x600 on, and transport protocols. */
const HEADERS = " arp=2054 ip=2048 ip6=34525 icmp=1 tcp=6 udp=17 icmpv6=58 sctp=132 ";
const MIN_ETHERTYPE = 0x600;
const ICMP = 1;
const ICMPV6 = 58;
/** Not known. */
const ANY = -1;

/** Four-byte steps in all registers: NFT_REG32_COUNT. */
const REGISTER_STEPS = 16;

export class Program {
  readonly expressions: Expression[] = [];
  readonly #family: number;
  /** What the rule has tested so far. */
  #network = ANY;
  #transport = ANY;
  #ether: boolean;

  /** @param family of the table, NFPROTO_* */
  constructor(family: number) {
    this.#family = family;
    this.#ether = family === NFPROTO_BRIDGE;
    if (family === NFPROTO_IPV4) this.#network = ETHERTYPE_IPV4;
    if (family === NFPROTO_IPV6) this.#network = ETHERTYPE_IPV6;
  }

  push(expression: Expression): void {
    this.expressions.push(expression);
  }

  /** Tests that the packet has the header of a field. @throws LanguageError if it cannot have */
  require(field: Selector): void {
    const header = textAt(field.name.split(" "), 0);
    if (header === "ether" && !this.#ether) {
      this.#ether = true;
      this.#meta(META_IIFTYPE, [1, 0]);
    }
    const protocol = symbolValue(HEADERS, header);
    if (protocol !== null && protocol >= MIN_ETHERTYPE) this.#requireNetwork(protocol, header, false);
    else if (protocol !== null) this.#requireTransport(protocol, header);
    if (field.type.name === "nf_proto" && this.#family !== NFPROTO_INET) throw conflict(field.name);
  }

  /** @param inferred from the transport protocol: then nft reads the protocol from a bridge's frame, not from meta data */
  #requireNetwork(network: number, name: string, inferred: boolean): void {
    if (this.#network === network) return;
    const ip = network === ETHERTYPE_IPV4 || network === ETHERTYPE_IPV6;
    if (this.#network !== ANY || (this.#family === NFPROTO_INET && !ip)) throw conflict(name);
    this.#network = network;
    const bytes = [network >> 8, network & 0xff];
    if (this.#family === NFPROTO_INET) {
      this.#meta(META_NFPROTO, [network === ETHERTYPE_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6]);
    } else if (ip && !inferred) this.#meta(META_PROTOCOL, bytes);
    else {
      this.push({ kind: "payload", base: 0, offset: 12, length: 2, register: NFT_REG_1 });
      this.#compare(CMP_EQ, new Uint8Array(bytes));
    }
  }

  #requireTransport(transport: number, name: string): void {
    if (this.#transport === transport) return;
    if (this.#transport !== ANY) throw conflict(name);
    if (transport === ICMP) this.#requireNetwork(ETHERTYPE_IPV4, name, true);
    if (transport === ICMPV6) this.#requireNetwork(ETHERTYPE_IPV6, name, true);
    this.#transport = transport;
    this.#meta(META_L4PROTO, [transport]);
  }

  /**
   * Compares a field with an operand.
   * @param mask the bits of the field that count, or null for all
   * @param flags whether one common bit is enough
   */
  match(field: Selector, mask: Uint8Array | null, equal: boolean, flags: boolean, operand: Operand): void {
    const { first, last } = operand;
    const bits = flags ? first : (mask ?? operand.mask);
    this.#load(field, first.length, NFT_REG_1);
    if (bits !== null) {
      const xor = new Uint8Array(bits.length);
      this.push({ kind: "bitwise", source: NFT_REG_1, register: NFT_REG_1, mask: bits, xor });
    }
    if (flags) this.#compare(CMP_NEQ, new Uint8Array(first.length));
    else if (last === null) {
      this.#compare(equal ? CMP_EQ : CMP_NEQ, first);
      if (equal && bits === null) this.#establish(field, first);
    } else if (equal) {
      this.#compare(CMP_GTE, first);
      this.#compare(CMP_LTE, last);
    } else this.push({ kind: "range", source: NFT_REG_1, op: RANGE_NEQ, from: first, to: last });
  }

  /**
   * Looks fields up in a set or map.
   * @param destination the register for a map's data, or null
   * @throws LanguageError if there are too many
   */
  lookup(fields: readonly Selector[], set: string, destination: number | null, inverted: boolean): void {
    let step = 0;
    for (const field of fields) {
      const next = step + Math.ceil(field.length / 4);
      if (next > REGISTER_STEPS) throw new LanguageError(`too many fields for the set ${clip(set)}`, "");
      this.#load(field, field.length, registerAt(step));
      step = next;
    }
    this.push({ kind: "lookup", set, source: NFT_REG_1, register: destination, inverted });
  }

  /** Sets the bits of a fact about the packet that are set in a value. */
  setBits(field: Selector, bits: Uint8Array): void {
    const mask = new Uint8Array(bits.length);
    for (let i = 0; i < bits.length; i += 1) mask[i] = ~(bits[i] ?? 0) & 0xff;
    this.#load(field, field.length, NFT_REG_1);
    this.push({ kind: "bitwise", source: NFT_REG_1, register: NFT_REG_1, mask, xor: bits });
    this.push({ kind: "meta-set", key: field.key, source: NFT_REG_1 });
  }

  /** After a match of a field with a value the packet's protocol may be known. */
  #establish(field: Selector, value: Uint8Array): void {
    const type = field.type.name;
    const byte = value[0] ?? 0;
    if (type === "inet_proto" && this.#transport === ANY) this.#transport = byte;
    if (this.#network !== ANY) return;
    if (type === "nf_proto") this.#network = byte === NFPROTO_IPV4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
    if (type === "ether_type" && (field.source === "payload" || this.#family === NFPROTO_BRIDGE)) {
      this.#network = byte * 256 + (value[1] ?? 0);
    }
  }

  #load(field: Selector, length: number, register: number): void {
    const { source, key, offset } = field;
    if (source === "payload") this.push({ kind: "payload", base: key, offset, length, register });
    else if (source === "ct") this.push({ kind: "ct", key, direction: null, register });
    else if (source === "fib") this.push({ kind: "fib", result: fibResult(field), flags: key, register });
    else this.push({ kind: "meta", key, register });
  }

  #meta(key: number, value: number[]): void {
    this.push({ kind: "meta", key, register: NFT_REG_1 });
    this.#compare(CMP_EQ, new Uint8Array(value));
  }

  #compare(op: number, data: Uint8Array): void {
    this.push({ kind: "cmp", source: NFT_REG_1, op, data });
  }
}

/** The result of a fib expression: an address's type, or the link of its route. */
function fibResult(field: Selector): number {
  if (field.type.name === "fib_addrtype") return FIB_RESULT_ADDRTYPE;
  return field.type.name === "ifname" ? FIB_RESULT_OIFNAME : FIB_RESULT_OIF;
}

/** The register that begins a number of steps of four bytes after the first. */
export function registerAt(step: number): number {
  return step % 4 === 0 ? NFT_REG_1 + step / 4 : NFT_REG32_00 + step;
}

function conflict(name: string): LanguageError {
  return new LanguageError(`"${name}" does not go with the protocol that the rule or its table is for`, "");
}
