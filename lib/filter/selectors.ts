/** What a rule can match: nft's names for fields of packets and for meta data, and where the kernel has them. Pure. */
import { textAt } from "../lists.ts";
import { isDigits } from "../text.ts";
import { typeNamed, type ValueType } from "./values.ts";

export interface Selector {
  readonly name: string;
  /** The kind of expression: payload, meta, ct, fib. */
  readonly source: string;
  /** The header that holds a payload, the key of a meta or ct expression, the flags of a fib expression. */
  readonly key: number;
  /** Of a payload, in bytes. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
  readonly type: ValueType;
}

/**
 * Name, source, key (enum nft_payload_bases, nft_meta_keys, nft_ct_keys, nft_fib_flags), offset, type. Text for the same
 * reason as the table of types. The result of a fib expression follows from its type; with "oif" it is whether a route
 * exists (NFTA_FIB_F_PRESENT is 32).
 */
const SELECTORS = `
ether daddr:payload:0:0:ether_addr
ether saddr:payload:0:6:ether_addr
ether type:payload:0:12:ether_type
arp operation:payload:1:6:arp_op
arp saddr ether:payload:1:8:ether_addr
arp saddr ip:payload:1:14:ipv4_addr
arp daddr ether:payload:1:18:ether_addr
arp daddr ip:payload:1:24:ipv4_addr
ip protocol:payload:1:9:inet_proto
ip saddr:payload:1:12:ipv4_addr
ip daddr:payload:1:16:ipv4_addr
ip6 nexthdr:payload:1:6:inet_proto
ip6 saddr:payload:1:8:ipv6_addr
ip6 daddr:payload:1:24:ipv6_addr
icmp type:payload:2:0:icmp_type
icmpv6 type:payload:2:0:icmpv6_type
th sport:payload:2:0:inet_service
th dport:payload:2:2:inet_service
tcp sport:payload:2:0:inet_service
tcp dport:payload:2:2:inet_service
tcp flags:payload:2:13:tcp_flag
udp sport:payload:2:0:inet_service
udp dport:payload:2:2:inet_service
sctp sport:payload:2:0:inet_service
sctp dport:payload:2:2:inet_service
meta protocol:meta:1:0:ether_type
meta nfproto:meta:15:0:nf_proto
meta l4proto:meta:16:0:inet_proto
mark:meta:3:0:mark
iif:meta:4:0:iface_index
oif:meta:5:0:iface_index
iifname:meta:6:0:ifname
oifname:meta:7:0:ifname
skuid:meta:10:0:uid
skgid:meta:11:0:gid
pkttype:meta:19:0:pkt_type
iifgroup:meta:21:0:devgroup
oifgroup:meta:22:0:devgroup
ct state:ct:0:0:ct_state
ct direction:ct:1:0:ct_dir
ct status:ct:2:0:ct_status
ct mark:ct:3:0:mark
fib saddr type:fib:1:0:fib_addrtype
fib daddr type:fib:2:0:fib_addrtype
fib saddr . iif type:fib:9:0:fib_addrtype
fib daddr . iif type:fib:10:0:fib_addrtype
fib saddr oifname:fib:1:0:ifname
fib saddr . iif oif:fib:41:0:boolean
`;

/** All names, for messages: those of meta data first, since they are less known than those of headers. */
export function selectorNames(): string[] {
  const facts: string[] = [];
  const fields: string[] = [];
  for (const row of SELECTORS.trim().split("\n")) {
    const parts = row.split(":");
    (parts[1] === "payload" ? fields : facts).push(textAt(parts, 0));
  }
  return [...facts, ...fields];
}

/** The selector of that name: one of the table, or raw "@th,64,128" (header, offset, length in bits); null for none. */
export function selectorNamed(name: string): Selector | null {
  if (name.startsWith("@")) return rawSelector(name);
  let at = SELECTORS.indexOf(`\n${name}:`);
  if (at < 0 && name.startsWith("meta ")) at = SELECTORS.indexOf(`\n${name.slice(5)}:meta:`);
  if (at < 0 || name.includes(":")) return null;
  const row = SELECTORS.slice(at, SELECTORS.indexOf("\n", at + 1)).split(":");
  const type = typeNamed(textAt(row, 4));
  return {
    name,
    source: textAt(row, 1),
    key: parseInt(textAt(row, 2), 10),
    offset: parseInt(textAt(row, 3), 10),
    length: type.length,
    type,
  };
}

function rawSelector(name: string): Selector | null {
  const parts = name.slice(1).split(",");
  const key = ["ll", "nh", "th"].indexOf(textAt(parts, 0));
  if (parts.length !== 3 || key < 0 || !isDigits(textAt(parts, 1)) || !isDigits(textAt(parts, 2))) return null;
  const offset = parseInt(textAt(parts, 1), 10) / 8;
  const length = parseInt(textAt(parts, 2), 10) / 8;
  if (!Number.isInteger(offset) || !Number.isInteger(length) || offset > 255 || length < 1 || length > 16) return null;
  return { name, source: "payload", key, offset, length, type: typeNamed("integer") };
}
