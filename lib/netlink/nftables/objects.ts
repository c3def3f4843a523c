/**
 * The objects of nf_tables as values, as the kernel's netlink interface has them (linux/netfilter/nf_tables.h): tables,
 * chains, sets and their elements, rules and the expressions that rules are made of. Pure data.
 */

/* Families: NFPROTO_* in linux/netfilter.h. */
export const NFPROTO_INET = 1;
export const NFPROTO_IPV4 = 2;
export const NFPROTO_BRIDGE = 7;
export const NFPROTO_IPV6 = 10;

/** A table; its name is unique within its family. */
export interface Table {
  readonly family: number;
  readonly name: string;
  /** "" for none. */
  readonly comment: string;
}

/** A table as the kernel describes it. */
export interface FoundTable extends Table {
  /** NFT_TABLE_F_* in linux/netfilter/nf_tables.h: 1 is dormant, which means that none of its chains sees a packet. */
  readonly flags: number;
}

/** Where a base chain is attached: `{ type TYPE hook HOOK priority PRIORITY; }`. */
export interface NftHook {
  /** "nat", "filter" or "route". */
  readonly type: string;
  /** NF_INET_PRE_ROUTING = 0, LOCAL_IN = 1, FORWARD = 2, LOCAL_OUT = 3, POST_ROUTING = 4. */
  readonly hook: number;
  /** Lower comes first; may be negative. */
  readonly priority: number;
}

export interface Chain {
  readonly family: number;
  readonly table: string;
  readonly name: string;
  /** Null for a chain that is only jumped to. */
  readonly hook: NftHook | null;
  /** The verdict of a base chain on packets that no rule decides: NF_ACCEPT, as in all our chains, or NF_DROP. */
  readonly policy: number;
  /** From the kernel: how many rules it holds plus how many rules and elements refer to it. */
  readonly uses: number;
}

/** The data type numbers that the nft program knows; the kernel only stores them. */
export const TYPE_VERDICT = 0xffffff00;
export const TYPE_IPV4_ADDR = 7;
export const TYPE_IPV6_ADDR = 8;
export const TYPE_ETHER_ADDR = 9;
export const TYPE_INET_PROTO = 12;
export const TYPE_INET_SERVICE = 13;
export const TYPE_MARK = 19;
export const TYPE_IFNAME = 41;

/** One part of a set's key or data: nft's type number and the length in bytes. In a concatenation each is padded to four. */
export interface Field {
  readonly type: number;
  readonly length: number;
}

/** A set, or a map if it has data. */
export interface NftSet {
  readonly family: number;
  readonly table: string;
  readonly name: string;
  readonly key: readonly Field[];
  /** Empty for a plain set. One field of TYPE_VERDICT for a verdict map. */
  readonly data: readonly Field[];
}

/* Verdicts: NF_DROP, NF_ACCEPT in linux/netfilter.h, NFT_* in nf_tables.h. */
export const NF_DROP = 0;
export const NF_ACCEPT = 1;
export const NFT_JUMP = -3;
export const NFT_GOTO = -4;
export const NFT_RETURN = -5;

export interface Verdict {
  readonly code: number;
  /** For jump and goto, else "". */
  readonly chain: string;
}

/** An element of a set or map. `key` and `data` are the padded bytes in network order. */
export interface Element {
  readonly key: Uint8Array;
  /** Null in a plain set and in a verdict map. */
  readonly data: Uint8Array | null;
  readonly verdict: Verdict | null;
  /** At most 128 bytes of UTF-8 for nft to show it; "" for none. */
  readonly comment: string;
}

/* Registers: NFT_REG_1..4 are 16 bytes wide; NFT_REG32_00.. (8..23) are the same memory in steps of four. */
export const NFT_REG_VERDICT = 0;
export const NFT_REG_1 = 1;
export const NFT_REG32_00 = 8;

/** One step of a rule. Registers are numbered as above; numbers without a name here are those of nf_tables.h. */
export type Expression =
  | MetaExpression
  | MetaSetExpression
  | PayloadExpression
  | BitwiseExpression
  | CompareExpression
  | RangeExpression
  | LookupExpression
  | ImmediateExpression
  | VerdictExpression
  | FibExpression
  | CtExpression
  | NatExpression
  | MasqueradeExpression
  | CounterExpression
  | NotrackExpression
  | MatchExpression
  | UnknownExpression;

/** Loads a fact about the packet (enum nft_meta_keys). */
export interface MetaExpression {
  readonly kind: "meta";
  readonly key: number;
  readonly register: number;
}

/** Changes a fact about the packet to the register's value. */
export interface MetaSetExpression {
  readonly kind: "meta-set";
  readonly key: number;
  readonly source: number;
}

/** Loads bytes of the packet. `base`: 0 link layer, 1 network, 2 transport header (enum nft_payload_bases). */
export interface PayloadExpression {
  readonly kind: "payload";
  readonly base: number;
  readonly offset: number;
  readonly length: number;
  readonly register: number;
}

/** register = (source & mask) ^ xor. */
export interface BitwiseExpression {
  readonly kind: "bitwise";
  readonly source: number;
  readonly register: number;
  readonly mask: Uint8Array;
  readonly xor: Uint8Array;
}

/** Goes on if the register compares so (enum nft_cmp_ops: 0 eq, 1 neq, 2 lt, 3 lte, 4 gt, 5 gte). */
export interface CompareExpression {
  readonly kind: "cmp";
  readonly source: number;
  readonly op: number;
  readonly data: Uint8Array;
}

/** Goes on if the register lies between two values (enum nft_range_ops: 0 inside, 1 outside). */
export interface RangeExpression {
  readonly kind: "range";
  readonly source: number;
  readonly op: number;
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/** Looks the source register up in a set of the same table; a map's data goes to `register`, which is null for a set. */
export interface LookupExpression {
  readonly kind: "lookup";
  readonly set: string;
  readonly source: number;
  /** NFT_REG_VERDICT for a verdict map. */
  readonly register: number | null;
  readonly inverted: boolean;
}

/** Loads a constant. */
export interface ImmediateExpression {
  readonly kind: "immediate";
  readonly register: number;
  readonly data: Uint8Array;
}

/** The end of the rule: accept, drop, return, jump, goto. An "immediate" to the verdict register in the kernel's terms. */
export interface VerdictExpression {
  readonly kind: "verdict";
  readonly verdict: Verdict;
}

/** Looks an address up in the routing tables (enum nft_fib_result, nft_fib_flags). */
export interface FibExpression {
  readonly kind: "fib";
  readonly result: number;
  readonly flags: number;
  readonly register: number;
}

/** Loads a fact about the connection (enum nft_ct_keys); `direction` 0 original, 1 reply, null where the key has none. */
export interface CtExpression {
  readonly kind: "ct";
  readonly key: number;
  readonly direction: number | null;
  readonly register: number;
}

/** Translates an address. `type`: 0 snat, 1 dnat; the registers hold the address and, unless null, the port. */
export interface NatExpression {
  readonly kind: "nat";
  readonly type: number;
  readonly family: number;
  readonly address: number;
  readonly port: number | null;
  /** NF_NAT_RANGE_* in linux/netfilter/nf_nat.h, without MAP_IPS and PROTO_SPECIFIED, which the registers imply. */
  readonly flags: number;
}

/** Translates the source to the outgoing link's address. */
export interface MasqueradeExpression {
  readonly kind: "masq";
  /** NF_NAT_RANGE_* in linux/netfilter/nf_nat.h. */
  readonly flags: number;
}

export interface CounterExpression {
  readonly kind: "counter";
}

/** The packet is not tracked; only in chains with a priority below -200. */
export interface NotrackExpression {
  readonly kind: "notrack";
}

/** A match or target of iptables (xtables), in a rule of another program; it can be read but not written. */
export interface MatchExpression {
  readonly kind: "match";
  /** "conntrack"; of a target, such as "REJECT", in capitals. */
  readonly name: string;
  readonly revision: number;
  /** A structure of linux/netfilter/xt_*.h, in the machine's order; empty for a target. */
  readonly info: Uint8Array;
}

/** An expression that this project does not use, in a rule of another program; it can be read but not written. */
export interface UnknownExpression {
  readonly kind: "unknown";
  /** Its name in the kernel: "limit". */
  readonly name: string;
}

export interface Rule {
  readonly family: number;
  readonly table: string;
  readonly chain: string;
  readonly expressions: readonly Expression[];
  /** "" for none. */
  readonly comment: string;
  /** The kernel's handle of the rule, by which it is deleted; 0 for a new rule. */
  readonly handle: bigint;
}
