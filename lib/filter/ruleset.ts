/**
 * Podwire's own tables in the packet filter, in nft's syntax. Their rules are the same however many pods there are: all that
 * belongs to a pod is an element of a set or map, and a packet finds it by one lookup. Only the first packet of a
 * connection takes these ways.
 *
 * Destination NAT comes right after the standard priority: what kube-proxy or Docker translate is theirs. Nothing is
 * translated but what is addressed to this host, so forwarded traffic to the same port passes untouched.
 */
import { type Hook, NFPROTO_BRIDGE, NFPROTO_INET } from "../netlink/nftables/objects.ts";

/** Which of the two tables, as nft calls its family. Both are called "podwire". */
export type TableName = "inet" | "bridge";

export const TABLE = "podwire";

export const TABLE_NAMES: readonly TableName[] = ["inet", "bridge"];

export function familyOf(table: TableName): number {
  return table === "inet" ? NFPROTO_INET : NFPROTO_BRIDGE;
}

/** A set, or with `data` a map, with the types of its parts as nft names them: "inet_proto . inet_service". */
export interface SetDefinition {
  readonly name: string;
  readonly key: string;
  readonly data: string;
}

export interface ChainDefinition {
  readonly name: string;
  readonly hook: Hook | null;
  readonly rules: readonly string[];
}

export interface TableDefinition {
  readonly sets: readonly SetDefinition[];
  readonly chains: readonly ChainDefinition[];
}

/** The link group of the host ends of pods (`ip link show group 7368548`): "pod" in ASCII. */
export const POD_LINK_GROUP = 0x706f64;
/** The one of those that are VLAN trunks, which may send tagged frames. The groups differ in the last bit. */
export const TRUNK_LINK_GROUP = POD_LINK_GROUP + 1;
/** What all pods' links match. */
export const FROM_PODS = `iifgroup & 4294967294 == ${POD_LINK_GROUP}`;

const NF_INET_PRE_ROUTING = 0;
const NF_INET_LOCAL_OUT = 3;
const NF_INET_POST_ROUTING = 4;

/* enum nf_ip_hook_priorities in linux/netfilter_ipv4.h, nf_br_hook_priorities in linux/netfilter_bridge.h */
const PRIORITY_RAW = -300;
const PRIORITY_AFTER_DSTNAT = -99;
const PRIORITY_SRCNAT = 100;
const PRIORITY_BRIDGE_DSTNAT = -300;

let nat: TableDefinition | null = null;
let bridge: TableDefinition | null = null;

/** A table's sets, chains and rules; made when first asked for. */
export function tableDefinition(table: TableName): TableDefinition {
  if (table === "inet") {
    nat ??= natTable();
    return nat;
  }
  bridge ??= bridgeTable();
  return bridge;
}

/**
 * The first half of the SHA-256 of each definition's text. Constants, because computing them took a quarter of an ADD's
 * instructions; ruleset.test.ts computes them again and fails if one does not match its table.
 */
const DIGESTS = { inet: "a2edf53c76be81a0", bridge: "170cab41720ffaee" } as const;

/** The table's comment. It changes with the definition: a table with another one is replaced, its elements put back. */
export function tableComment(table: TableName): string {
  return `podwire ruleset ${DIGESTS[table]}`;
}

/** Published ports and masquerading, IPv4 and IPv6 alike. */
function natTable(): TableDefinition {
  const sets: SetDefinition[] = [
    { name: "localnet_links", key: "ifname", data: "" },
    { name: "localhost4", key: "ipv4_addr", data: "" },
  ];
  /* What route_localnet would let in from the wire (CVE-2020-8558). */
  const raw: string[] = [
    "iifname @localnet_links ip daddr 127.0.0.0/8 drop",
    "iifname @localnet_links ip saddr 127.0.0.0/8 drop",
  ];
  const conditional: string[] = [];
  const translate: string[] = [];
  const postrouting: string[] = [
    /* The node's own 127.0.0.1, which means itself to the pod. (For ::1 Linux has no way.) */
    "ct status dnat ip saddr 127.0.0.0/8 ip daddr @localhost4 masquerade fully-random",
  ];
  for (const n of ["4", "6"]) {
    const ip = n === "4" ? "ip" : "ip6";
    const address = `ipv${n}_addr`;
    const anyAddress = "inet_proto . inet_service";
    const oneAddress = `${address} . ${anyAddress}`;
    const pod = `${address} . inet_service`;
    sets.push(
      { name: `hostports${n}`, key: anyAddress, data: pod },
      { name: `hostip_hostports${n}`, key: oneAddress, data: pod },
      /* Ports of which `hostip_hostports` has an element: a mapping for any address is not to overlap with those. */
      { name: `hostip_ports${n}`, key: anyAddress, data: "" },
      /* What programs of the host listen on by themselves: a port for any address leaves it to them. */
      { name: `listeners${n}`, key: oneAddress, data: "" },
      { name: `conditional${n}`, key: anyAddress, data: "verdict" },
      { name: `hostip_conditional${n}`, key: oneAddress, data: "verdict" },
      { name: `masq_all${n}`, key: oneAddress, data: "" },
      { name: `hairpin${n}`, key: `${address} . ${address}`, data: "" },
      { name: `same_link${n}`, key: `${address} . ifname`, data: "" },
      { name: `masquerade${n}`, key: address, data: "verdict" },
      /* Pods behind isolated ports, each with the link that leads to it. */
      { name: `isolated${n}`, key: `${address} . ifname`, data: "" },
    );
    /* Back to where it came from, past the bridge that keeps the two apart. Published ports are not translated yet. */
    raw.push(`${ip} saddr . iifname @isolated${n} ${ip} daddr . iifname @isolated${n} drop`);
    const any = "meta l4proto . th dport";
    const one = `${ip} daddr . ${any}`;
    conditional.push(`${one} vmap @hostip_conditional${n}`, `meta nfproto ipv${n} ${any} vmap @conditional${n}`);
    translate.push(
      `dnat ${ip} to ${one} map @hostip_hostports${n}`,
      `${one} @listeners${n} return`,
      `meta nfproto ipv${n} dnat ${ip} to ${any} map @hostports${n}`,
    );
    postrouting.push(
      `ct status dnat ${one} @masq_all${n} masquerade fully-random`,
      /* A pod that reaches itself through the host. */
      `ct status dnat ${ip} saddr . ${ip} daddr @hairpin${n} masquerade fully-random`,
      /* A neighbour on the pod's bridge: the pod would answer it directly, past the translation. */
      `ct status dnat ${ip} daddr . iifname @same_link${n} masquerade fully-random`,
      `${ip} saddr vmap @masquerade${n}`,
    );
  }
  const local = "fib daddr type local goto hostports";
  return {
    sets,
    chains: [
      { name: "translate", hook: null, rules: translate },
      { name: "hostports", hook: null, rules: [...conditional, "goto translate"] },
      {
        name: "raw",
        hook: { type: "filter", hook: NF_INET_PRE_ROUTING, priority: PRIORITY_RAW },
        rules: raw,
      },
      {
        name: "prerouting",
        hook: { type: "nat", hook: NF_INET_PRE_ROUTING, priority: PRIORITY_AFTER_DSTNAT },
        /* Packets for the loopback addresses from the wire: the kernel drops them, but only after it was asked here. */
        rules: ["ip daddr 127.0.0.0/8 return", "ip6 daddr ::1 return", local],
      },
      {
        name: "output",
        hook: { type: "nat", hook: NF_INET_LOCAL_OUT, priority: PRIORITY_AFTER_DSTNAT },
        rules: [local],
      },
      {
        name: "postrouting",
        hook: { type: "nat", hook: NF_INET_POST_ROUTING, priority: PRIORITY_SRCNAT },
        rules: postrouting,
      },
    ],
  };
}

/**
 * What a pod's link may send into its bridge. The kernel takes the outermost tag off before a bridge sees a frame: then
 * `ether type` still reads the tag's own type, but `meta protocol` what stands behind it, and the headers are those of what
 * is inside. A second tag stays in the frame, and whoever takes off one tag after the other would see what is not seen here.
 */
function bridgeTable(): TableDefinition {
  return {
    sets: [
      { name: "checked_links", key: "ifname", data: "verdict" },
      { name: "macs", key: "ifname . ether_addr", data: "" },
      { name: "addresses4", key: "ifname . ipv4_addr", data: "" },
      { name: "addresses6", key: "ifname . ipv6_addr", data: "" },
    ],
    chains: [
      { name: "check_mac", hook: null, rules: macRules() },
      { name: "check_unspecified", hook: null, rules: unspecifiedRules() },
      {
        name: "check_address",
        hook: null,
        rules: [
          "meta protocol ip iifname . ip saddr != @addresses4 drop",
          "meta protocol ip return",
          /* An ARP probe has no sender's address yet (RFC 5227). */
          "meta protocol arp arp saddr ip != 0.0.0.0 iifname . arp saddr ip != @addresses4 drop",
          "meta protocol arp return",
          "meta protocol ip6 ip6 saddr :: goto check_unspecified",
          "meta protocol ip6 iifname . ip6 saddr != @addresses6 drop",
          /* The target that an advertisement claims, behind ICMPv6's eight bytes (RFC 4861 section 4.4). */
          "meta protocol ip6 icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @addresses6 drop",
          "meta protocol ip6 return",
          "drop",
        ],
      },
      { name: "check_both", hook: null, rules: ["jump check_mac", "goto check_address"] },
      {
        name: "pods",
        hook: null,
        rules: [
          `iifgroup ${POD_LINK_GROUP} ether type 8021q drop`,
          `iifgroup ${POD_LINK_GROUP} ether type 8021ad drop`,
          "meta protocol 8021q drop",
          "meta protocol 8021ad drop",
          /* No pod is a router to the node or its neighbours (CVE-2020-10749). */
          "meta protocol ip6 icmpv6 type nd-router-advert drop",
        ],
      },
      {
        name: "prerouting",
        hook: { type: "filter", hook: NF_INET_PRE_ROUTING, priority: PRIORITY_BRIDGE_DSTNAT },
        rules: [`${FROM_PODS} jump pods`, "iifname vmap @checked_links"],
      },
    ],
  };
}

/** The sender's Ethernet address wherever a frame tells one: in its own header, in ARP, and in neighbour discovery. */
function macRules(): string[] {
  const rules = [
    "iifname . ether saddr != @macs drop",
    "meta protocol arp iifname . arp saddr ether != @macs drop",
    /* It tells the address of a router, which no pod is. */
    "meta protocol ip6 icmpv6 type nd-redirect drop",
  ];
  /*
   * An option with the address stands behind ICMPv6's header and what belongs to the type (RFC 4861 sections 4.1, 4.3, 4.4).
   * Packets are no longer than what has room for one option, so it can stand nowhere else.
   */
  const messages = [
    { type: "nd-router-solicit", option: 1, at: 8 },
    { type: "nd-neighbor-solicit", option: 1, at: 24 },
    { type: "nd-neighbor-advert", option: 2, at: 24 },
  ];
  for (const { type, option, at } of messages) {
    const message = `meta protocol ip6 icmpv6 type ${type}`;
    rules.push(
      `${message} @nh,32,16 != ${at}-${at + 8} drop`,
      `${message} @th,${at * 8},8 ${option} iifname . @th,${at * 8 + 16},48 != @macs drop`,
    );
  }
  return rules;
}

/** What may come from the unspecified IPv6 address: the question whether an own one is free, and joining groups. */
function unspecifiedRules(): string[] {
  return [
    /* The target of the question (RFC 4862 section 5.4.2) stands where an advertisement's does. */
    "meta protocol ip6 icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @addresses6 return",
    /* RFC 3590 section 4. */
    "meta protocol ip6 icmpv6 type mld-listener-report return",
    "meta protocol ip6 icmpv6 type mld2-listener-report return",
    "drop",
  ];
}
