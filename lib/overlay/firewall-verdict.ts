/**
 * What becomes of a packet in somebody else's chains, told from their rules. A rule that is not understood, or that asks for
 * what is not known of the packet, may match or not: what is called dropped here is dropped for certain. Pure.
 */
import type { Element, Expression, MatchExpression } from "../netlink/nftables/objects.ts";
import {
  NF_ACCEPT,
  NF_DROP,
  NFT_GOTO,
  NFT_JUMP,
  NFT_REG_1,
  NFT_REG_VERDICT,
  NFT_RETURN,
} from "../netlink/nftables/objects.ts";

/* What a chain may do to a packet, as bits. */
export const ACCEPTED = 1;
export const DROPPED = 2;
export const GOES_ON = 4;

/** What is known of a packet. */
export interface KnownPacket {
  /** NFPROTO_IPV4 or NFPROTO_IPV6. */
  readonly family: number;
  /** Names and indexes of links; "" and 0 for those it does not come by or leave by. */
  readonly iifname: string;
  readonly iif: number;
  readonly oifname: string;
  readonly oif: number;
  /** In network order; empty if they are not known. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** The transport protocol, and the destination port, -1 if that is not known. */
  readonly protocol: number;
  readonly port: number;
  /** Of enum nft_ct_state: 8 new, 64 untracked. */
  readonly state: number;
}

/** Where rules and elements are looked up; null for a set that cannot be read. */
export interface Ruleset {
  rulesOf(chain: string): readonly (readonly Expression[])[];
  elementsOf(set: string): readonly Element[] | null;
}

const YES = 1;
const NO = 0;
const MAYBE = 2;

/** Deeper than any firewall's chains lead (NFT_JUMP_STACK_SIZE is 16). */
const MAX_DEPTH = 16;

/** What a chain may do to the packet: ACCEPTED, DROPPED, GOES_ON, or several of them. */
export function outcomesOf(rules: Ruleset, chain: string, packet: KnownPacket, depth = 0): number {
  if (depth > MAX_DEPTH) return ACCEPTED | DROPPED | GOES_ON;
  let outcomes = 0;
  for (const expressions of rules.rulesOf(chain)) {
    const rule = new Evaluation(rules, packet, depth);
    const matches = rule.run(expressions);
    if (matches === NO) continue;
    outcomes |= rule.outcomes & ~GOES_ON;
    /* "return" and a chain left by its end have different ways on. */
    if (rule.returns) outcomes |= GOES_ON;
    if (matches === YES && rule.ends) return outcomes;
  }
  return outcomes | GOES_ON;
}

/** One rule and one packet. */
class Evaluation {
  /** What the rule may do if it matches. */
  outcomes = 0;
  /** Whether, if it matches, the packet for certain sees no further rule of this chain. */
  ends = false;
  /** Whether it may leave the chain without a decision. */
  returns = false;
  readonly #rules: Ruleset;
  readonly #packet: KnownPacket;
  readonly #depth: number;
  /** What the first register holds; null if that is not known. Only one value at a time is followed. */
  #value: Uint8Array | null = null;
  #comparable = false;

  constructor(rules: Ruleset, packet: KnownPacket, depth: number) {
    this.#rules = rules;
    this.#packet = packet;
    this.#depth = depth;
  }

  run(expressions: readonly Expression[]): number {
    let matches = YES;
    for (const expression of expressions) {
      const one = this.#step(expression);
      if (one === NO) return NO;
      if (one === MAYBE) matches = MAYBE;
    }
    return matches;
  }

  #step(e: Expression): number {
    switch (e.kind) {
      case "meta":
        return this.#load(e.register, this.#meta(e.key), true);
      case "ct":
        return this.#load(e.register, this.#connection(e.key), true);
      case "payload":
        return this.#load(e.register, this.#payload(e.base, e.offset, e.length), false);
      case "fib":
        return this.#load(e.register, null, false);
      case "bitwise":
        return this.#bitwise(e.register, e.mask, e.xor);
      case "cmp":
        return this.#value === null ? MAYBE : compares(this.#value, e.op, e.data);
      case "range":
        return MAYBE;
      case "lookup":
        return this.#lookup(e.set, e.register, e.inverted);
      case "verdict":
        this.#decide(e.verdict.code, e.verdict.chain);
        return YES;
      case "match":
        return this.#extension(e);
      case "unknown":
        return this.#unknown(e.name);
      default:
        return YES;
    }
  }

  /** @param comparable whether sets of such values are no ranges */
  #load(register: number, value: Uint8Array | null, comparable: boolean): number {
    /* A second register is the other part of a concatenation. */
    const first = register === NFT_REG_1;
    this.#value = first ? value : null;
    this.#comparable = first && comparable;
    return YES;
  }

  #meta(key: number): Uint8Array | null {
    const p = this.#packet;
    switch (key) {
      case 1:
        return new Uint8Array(p.family === 2 ? [0x08, 0x00] : [0x86, 0xdd]);
      case 3:
        return word(0);
      case 4:
        return word(p.iif);
      case 5:
        return word(p.oif);
      case 6:
        return name(p.iifname);
      case 7:
        return name(p.oifname);
      case 15:
        return new Uint8Array([p.family]);
      case 16:
        return new Uint8Array([p.protocol]);
      default:
        return null;
    }
  }

  /** A new or untracked connection that nobody has translated or marked. */
  #connection(key: number): Uint8Array | null {
    if (key === 0) return word(this.#packet.state);
    return key === 2 || key === 3 ? word(0) : null;
  }

  #payload(base: number, offset: number, length: number): Uint8Array | null {
    const p = this.#packet;
    const ipv4 = p.family === 2;
    if (base === 2 && offset === 2 && length === 2 && p.port >= 0) return new Uint8Array([p.port >> 8, p.port & 255]);
    if (base !== 1) return null;
    const size = ipv4 ? 4 : 16;
    const source = ipv4 ? 12 : 8;
    for (const [from, address] of [[source, p.source] as const, [source + size, p.destination] as const]) {
      if (offset === from && length <= size && address.length === size) return address.slice(0, length);
    }
    return ipv4 && offset === 9 && length === 1 ? new Uint8Array([p.protocol]) : null;
  }

  #bitwise(register: number, mask: Uint8Array, xor: Uint8Array): number {
    const value = this.#value;
    if (value === null || register !== NFT_REG_1 || value.length !== mask.length) {
      this.#value = null;
      return YES;
    }
    const result = new Uint8Array(value.length);
    for (let i = 0; i < result.length; i += 1) result[i] = ((value[i] ?? 0) & (mask[i] ?? 0)) ^ (xor[i] ?? 0);
    this.#value = result;
    return YES;
  }

  #lookup(set: string, register: number | null, inverted: boolean): number {
    const elements = this.#rules.elementsOf(set);
    const value = this.#comparable ? this.#value : null;
    if (elements === null) {
      if (register === NFT_REG_VERDICT) this.#perhaps(ACCEPTED | DROPPED | GOES_ON);
      return MAYBE;
    }
    let found = value === null ? MAYBE : NO;
    for (const element of elements) {
      if (value !== null && !same(element.key, value)) continue;
      if (value !== null) found = YES;
      if (register !== NFT_REG_VERDICT || element.verdict === null) continue;
      if (value !== null) this.#decide(element.verdict.code, element.verdict.chain);
      else this.#maybeDecide(element.verdict.code, element.verdict.chain);
    }
    if (register !== null && register !== NFT_REG_VERDICT) this.#value = null;
    if (found === MAYBE || !inverted) return found;
    return found === YES ? NO : YES;
  }

  #perhaps(outcomes: number): void {
    this.outcomes |= outcomes;
    if ((outcomes & GOES_ON) !== 0) this.returns = true;
  }

  #maybeDecide(code: number, chain: string): void {
    this.#decide(code, chain);
    this.ends = false;
  }

  #decide(code: number, chain: string): void {
    if (code === NF_ACCEPT || code === NF_DROP) {
      this.outcomes |= code === NF_ACCEPT ? ACCEPTED : DROPPED;
      this.ends = true;
    } else if (code === NFT_RETURN) {
      this.returns = true;
      this.ends = true;
    } else if (code === NFT_JUMP || code === NFT_GOTO) {
      const inner = outcomesOf(this.#rules, chain, this.#packet, this.#depth + 1);
      this.outcomes |= inner & ~GOES_ON;
      const comesBack = (inner & GOES_ON) !== 0;
      if (code === NFT_GOTO && comesBack) this.returns = true;
      this.ends = code === NFT_GOTO || !comesBack;
    } else this.#perhaps(ACCEPTED | DROPPED | GOES_ON);
  }

  /** iptables' own matches, of which two decide about connections. */
  #extension(e: MatchExpression): number {
    if (e.name === "comment") return YES;
    if (e.name === "REJECT") return this.#drops();
    if (TARGETS_THAT_GO_ON.includes(e.name)) return YES;
    if (e.name === "conntrack" && e.revision >= 1) return this.#conntrackMatch(e.info);
    if (e.name === "mark" && e.info.length >= 9) {
      const view = new DataView(e.info.buffer, e.info.byteOffset, e.info.byteLength);
      const plain = view.getUint32(0, true) === 0;
      return plain !== (e.info[8] === 1) ? YES : NO;
    }
    /* What else there is may match or not; a target that is not known may decide anything. */
    if (isTarget(e.name)) this.#perhaps(ACCEPTED | DROPPED | GOES_ON);
    return MAYBE;
  }

  /** struct xt_conntrack_mtinfo1 to 3: flags and what they invert behind the addresses; XT_CONNTRACK_STATE is 1. */
  #conntrackMatch(info: Uint8Array): number {
    if (info.length < STATE_MASK + 2) return MAYBE;
    const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
    const flags = view.getUint16(MATCH_FLAGS, true);
    if ((flags & 1) === 0) return MAYBE;
    const mask = view.getUint16(STATE_MASK, true);
    const inverted = (view.getUint16(MATCH_FLAGS + 2, true) & 1) !== 0;
    /* Its bits are those of nft: invalid 1, established 2, related 4, new 8, untracked 64. */
    const hit = (mask & this.#packet.state) !== 0;
    if (hit === inverted) return NO;
    return flags === 1 ? YES : MAYBE;
  }

  #unknown(expression: string): number {
    if (expression === "reject") return this.#drops();
    return expression === "log" ? YES : MAYBE;
  }

  #drops(): number {
    this.outcomes |= DROPPED;
    this.ends = true;
    return YES;
  }
}

/** Of iptables, those which a rule of a filter may have without deciding anything. */
const TARGETS_THAT_GO_ON = ["LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "SET", "CT", "DSCP", "CLASSIFY"];
const MATCH_FLAGS = 146;
const STATE_MASK = 150;

function isTarget(name: string): boolean {
  const first = name.charCodeAt(0);
  return first >= 0x41 && first <= 0x5a;
}

function compares(value: Uint8Array, op: number, data: Uint8Array): number {
  /* A name's beginning, or a prefix, is shorter than what was loaded. */
  const length = Math.min(value.length, data.length);
  let order = 0;
  for (let i = 0; i < length && order === 0; i += 1) order = (value[i] ?? 0) - (data[i] ?? 0);
  const holds = [order === 0, order !== 0, order < 0, order <= 0, order > 0, order >= 0][op] ?? false;
  return holds ? YES : NO;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compares(a, 0, b) === YES;
}

/** A number in the machine's order, which is little-endian on all machines that there are executables for. */
function word(value: number): Uint8Array {
  return new Uint8Array([value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255]);
}

function name(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(new TextEncoder().encode(text).slice(0, 15));
  return bytes;
}
