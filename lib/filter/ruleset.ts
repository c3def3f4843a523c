/**
 * Podwire's own tables in the packet filter, in nft's syntax; the content of the firewall plugin's is in forward-rules.ts. Their
 * rules are the same however many pods there are: all that belongs to a pod is an element of a set or map, and a packet finds
 * it by one lookup. Only the first packet of a connection passes the chains that translate; `raw` and the bridge's see every
 * packet.
 *
 * Destination NAT has the priority right after the standard one: what kube-proxy or Docker translate is theirs. Only packets
 * that are addressed to this host are translated, so forwarded traffic to the same port passes untouched.
 */
import { forwardContent, isolationContent } from "./forward-rules.ts";
import { ManagedTable } from "./managed-table.ts";
import type { SetDefinition, TableContent, TableDefinition } from "./table-definition.ts";

/** The tables that hold elements of attachments, by the names that records have for them. */
export type TableName = "inet" | "bridge" | "firewall" | "isolation";

export const TABLE_NAMES: readonly TableName[] = ["inet", "bridge", "firewall", "isolation"];

/** The tables that nodes mostly have. The others are there once the firewall plugin was called. */
export const COMMON_TABLES: readonly TableName[] = ["inet", "bridge"];

const TABLE = "podwire";
const FIREWALL_TABLE = "podwire-firewall";

/** The link group of the host ends of pods (`ip link show group 7368548`): "pod" in ASCII. */
export const POD_LINK_GROUP = 0x706f64;
/** The link group of pods' links that are VLAN trunks, which may send tagged frames. The groups differ in the last bit. */
export const TRUNK_LINK_GROUP = POD_LINK_GROUP + 1;
/** Matches the links of all pods. */
const FROM_PODS = `iifgroup & 4294967294 == ${POD_LINK_GROUP}`;

const NF_INET_PRE_ROUTING = 0;
const NF_INET_LOCAL_OUT = 3;
const NF_INET_POST_ROUTING = 4;

/* enum nf_ip_hook_priorities in linux/netfilter_ipv4.h, nf_br_hook_priorities in linux/netfilter_bridge.h */
const PRIORITY_RAW = -300;
const PRIORITY_AFTER_DSTNAT = -99;
const PRIORITY_SRCNAT = 100;
const PRIORITY_BRIDGE_DSTNAT = -300;

const tables = new Map<string, ManagedTable>();

/** One of the tables; made when it is first asked for. */
export function managedTable(name: TableName): ManagedTable {
  const known = tables.get(name) ?? null;
  if (known !== null) return known;
  const table = new ManagedTable(definitionOf(name));
  tables.set(name, table);
  return table;
}

function definitionOf(name: TableName): TableDefinition {
  const comment = `podwire ruleset ${DIGESTS[name]}`;
  switch (name) {
    case "inet":
      return {
        family: "inet",
        name: TABLE,
        comment,
        stateCheck: "prerouting",
        targets: ["translate", "check_source"],
        content: natContent,
      };
    case "bridge":
      return {
        family: "bridge",
        name: TABLE,
        comment,
        stateCheck: "prerouting",
        targets: ["check_mac", "check_address", "check_both"],
        content: bridgeContent,
      };
    case "firewall":
      return {
        family: "inet",
        name: FIREWALL_TABLE,
        comment,
        stateCheck: "every base chain",
        targets: [],
        content: forwardContent,
      };
    case "isolation":
      return {
        family: "bridge",
        name: FIREWALL_TABLE,
        comment,
        stateCheck: "every base chain",
        targets: [],
        content: isolationContent,
      };
  }
}

/**
 * The digest of each content (`digestOf`), the first half of its text's SHA-256. Constants, because computing them took a
 * quarter of an ADD's instructions; ruleset.test.ts computes them again and fails if one does not match its table.
 */
const DIGESTS = {
  inet: "9a607de5f3638a70",
  bridge: "170cab41720ffaee",
  firewall: "0e864bed016e61ec",
  isolation: "45a20ba414104d72",
} as const;

/** Published ports and masquerading, IPv4 and IPv6 alike. */
function natContent(): TableContent {
  const sets: SetDefinition[] = [
    { name: "localnet_links", key: "ifname", data: "" },
    { name: "localhost4", key: "ipv4_addr", data: "" },
    /* Pods' links that are no ports of a bridge, and the addresses that may come from each. */
    { name: "checked_sources", key: "ifname", data: "verdict" },
  ];
  /* Every packet passes this chain: one lookup for each of its rules is what a node without such pods pays for them. */
  const raw: string[] = ["iifname vmap @checked_sources", "iifname @localnet_links jump localnet"];
  const sources: string[] = [];
  const conditional: string[] = [];
  const translate: string[] = [];
  const postrouting: string[] = [
    /* The pod would answer the node's 127.0.0.1 to itself. (Linux cannot route ::1 to a pod.) */
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
      /* Ports that have an element in `hostip_hostports`: a port for all addresses must not overlap with those. */
      { name: `hostip_ports${n}`, key: anyAddress, data: "" },
      /* Ports that programs of the host listen on: a port for all addresses is not published there. */
      { name: `listeners${n}`, key: oneAddress, data: "" },
      { name: `conditional${n}`, key: anyAddress, data: "verdict" },
      { name: `hostip_conditional${n}`, key: oneAddress, data: "verdict" },
      { name: `masq_all${n}`, key: oneAddress, data: "" },
      { name: `hairpin${n}`, key: `${address} . ${address}`, data: "" },
      { name: `same_link${n}`, key: `${address} . ifname`, data: "" },
      { name: `masquerade${n}`, key: address, data: "verdict" },
      /* Pods on isolated bridge ports, each with the link that leads to it. */
      { name: `isolated${n}`, key: `${address} . ifname`, data: "" },
      { name: `sources${n}`, key: `${address} . ifname`, data: "" },
    );
    sources.push(`${ip} saddr . iifname @sources${n} return`);
    /* Between two isolated pods, routed past the bridge that isolates them. Published ports are not translated yet. */
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
      /* A neighbour on the pod's bridge: the pod's reply would not pass this host and not be translated back. */
      `ct status dnat ${ip} daddr . iifname @same_link${n} masquerade fully-random`,
      `${ip} saddr vmap @masquerade${n}`,
    );
  }
  /* On the link itself there is nobody but the host whose address could be claimed. */
  const fromUnspecified = "ip6 saddr :: icmpv6";
  sources.push(`${fromUnspecified} type nd-neighbor-solicit return`);
  sources.push(...joiningRules(fromUnspecified));
  sources.push("drop");
  const local = "fib daddr type local goto hostports";
  return {
    sets,
    chains: [
      { name: "check_source", hook: null, rules: sources },
      /* Packets from a network that route_localnet would accept (CVE-2020-8558). */
      { name: "localnet", hook: null, rules: ["ip daddr 127.0.0.0/8 drop", "ip saddr 127.0.0.0/8 drop"] },
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
        /* The kernel drops packets for loopback addresses that arrive from a network, but only after this hook. */
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
 * What a pod's link may send into its bridge. The kernel removes the outermost VLAN tag before a bridge sees a frame: then
 * `ether type` still reads the type of the tag, but `meta protocol` the type that follows it, and headers are those of the
 * inner packet. A second tag stays in the frame: a receiver that removes it would see a packet that was not checked here.
 */
function bridgeContent(): TableContent {
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
          /* An ARP probe has no sender's IP address (RFC 5227). */
          "meta protocol arp arp saddr ip != 0.0.0.0 iifname . arp saddr ip != @addresses4 drop",
          "meta protocol arp return",
          "meta protocol ip6 ip6 saddr :: goto check_unspecified",
          "meta protocol ip6 iifname . ip6 saddr != @addresses6 drop",
          /* The target of an advertisement follows eight bytes of ICMPv6 (RFC 4861 section 4.4). */
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
          /* No pod may act as a router (CVE-2020-10749). */
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

/** Rules that check the sender's Ethernet address in the frame's header, in ARP and in neighbour discovery. */
function macRules(): string[] {
  const rules = [
    "iifname . ether saddr != @macs drop",
    "meta protocol arp iifname . arp saddr ether != @macs drop",
    /* It names the address of a router, and no pod is one. */
    "meta protocol ip6 icmpv6 type nd-redirect drop",
  ];
  /*
   * The option with the address follows ICMPv6's header and the message's fixed part (RFC 4861 sections 4.1, 4.3, 4.4).
   * Longer packets are dropped: they could have a second option.
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

/** What may be sent from the unspecified IPv6 address: duplicate address detection, and joining multicast groups. */
function unspecifiedRules(): string[] {
  return [
    /* The target of the solicitation (RFC 4862 section 5.4.2) is at the same place as that of an advertisement. */
    "meta protocol ip6 icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @addresses6 return",
    ...joiningRules("meta protocol ip6 icmpv6"),
    "drop",
  ];
}

/** The reports by which a host joins multicast groups (RFC 3590 section 4). */
function joiningRules(match: string): string[] {
  return [`${match} type mld-listener-report return`, `${match} type mld2-listener-report return`];
}
