/**
 * The overlay's table in the packet filter, in nft's syntax: rules that follow from the configuration, and the peers'
 * addresses as elements of two sets. Its size does not depend on the number of pods. Pure.
 */
import {
  type ChainDefinition,
  digestOf,
  type SetDefinition,
  type TableContent,
  type TableDefinition,
} from "../filter/table-definition.ts";
import { formatPrefix, type Prefix, parseAddress } from "../ip/address.ts";
import { deviceName, type OverlaySettings, TABLE_PREFIX } from "./settings.ts";

const NF_INET_PRE_ROUTING = 0;
const NF_INET_LOCAL_IN = 1;
const NF_INET_FORWARD = 2;
const NF_INET_LOCAL_OUT = 3;
const NF_INET_POST_ROUTING = 4;

/* enum nf_ip_hook_priorities in linux/netfilter_ipv4.h */
const PRIORITY_RAW = -300;
const PRIORITY_AFTER_SRCNAT = 110;
/** How much of a network's name the comment of 128 bytes has room for. */
const MAX_NETWORK = 64;

/** The peers' addresses. */
const SETS: readonly SetDefinition[] = [
  { name: "peers4", key: "ipv4_addr", data: "" },
  { name: "peers6", key: "ipv6_addr", data: "" },
];

/** Which packets to the port the rules are for: those with the VNI, or all if the device accepts every VNI. */
export type Judged = "vni" | "port";

/** The table's name: `nft list table inet podwire_overlay1`. */
export function filterTable(settings: OverlaySettings): string {
  return `${TABLE_PREFIX}${settings.vni}`;
}

/** Whether the configuration needs the table. */
export function needsFilter(settings: OverlaySettings): boolean {
  return settings.peersOnly || settings.masquerade;
}

/** The definition of the table. */
export function overlayTable(settings: OverlaySettings, judged: Judged): TableDefinition {
  const content: TableContent = { sets: SETS, chains: chainsFor(settings, judged) };
  return {
    family: "inet",
    name: filterTable(settings),
    comment: `podwire overlay ${digestOf(content)} ${settings.network.slice(0, MAX_NETWORK)}`,
    /* Each chain keeps packets of strangers out: every call notices a rule that is missing. */
    stateCheck: "every base chain",
    targets: [],
    content: () => content,
  };
}

function chainsFor(settings: OverlaySettings, judged: Judged): ChainDefinition[] {
  const chains: ChainDefinition[] = [];
  const add = (name: string, type: string, hook: number, priority: number, rules: readonly string[]): void => {
    if (rules.length > 0) chains.push({ name, hook: { type, hook, priority }, rules });
  };
  add("prerouting", "filter", NF_INET_PRE_ROUTING, PRIORITY_RAW, arriving(settings, judged));
  if (settings.peersOnly) {
    add("input", "filter", NF_INET_LOCAL_IN, PRIORITY_RAW, delivered(settings, judged));
    add("forward", "filter", NF_INET_FORWARD, PRIORITY_RAW, forwarded(settings, judged));
  }
  if (settings.notrack) {
    const own = judged === "vni" ? `${portOf(settings)} ${vniIs("", settings)}` : portOf(settings);
    add("output", "filter", NF_INET_LOCAL_OUT, PRIORITY_RAW, [`${own} notrack`]);
  }
  if (settings.masquerade) {
    add("postrouting", "nat", NF_INET_POST_ROUTING, PRIORITY_AFTER_SRCNAT, masqueradeRules(settings));
  }
  return chains;
}

function portOf(settings: OverlaySettings): string {
  return `udp dport ${settings.port}`;
}

/** The VNI stands behind eight bytes of UDP and four of VXLAN (RFC 7348 section 5; in VXLAN-GPE as well). */
function vniIs(operator: "" | "!= ", settings: OverlaySettings): string {
  return `@th,96,24 ${operator}${settings.vni}`;
}

/**
 * Accepts packets of other overlays on the port. The rules after it do not match the VNI: a first fragment that ends before
 * the VNI must be treated as ours.
 */
function othersPass(settings: OverlaySettings, judged: Judged): string[] {
  return judged === "vni" ? [`${portOf(settings)} ${vniIs("!= ", settings)} accept`] : [];
}

/**
 * Rules for all packets that arrive. A packet with a peer's source address must arrive on the link that leads to the peer:
 * otherwise a pod could send it. The hook is `prerouting` because some kernels support this test in no other.
 */
function arriving(settings: OverlaySettings, judged: Judged): string[] {
  const { peersOnly, notrack } = settings;
  const port = portOf(settings);
  const rules = peersOnly ? [...spoofed(settings)] : [];
  if (peersOnly || notrack) rules.push(...othersPass(settings, judged));
  if (peersOnly) {
    /* Peers are on the link that the configuration names, even if routes to them use another one. */
    const elsewhere = isPlainName(settings.underlay) ? `${port} iifname != ${settings.underlay}` : port;
    rules.push(`${elsewhere} ip saddr @peers4 fib saddr . iif oif missing drop`);
    rules.push(`${elsewhere} ip6 saddr @peers6 fib saddr . iif oif missing drop`);
  }
  /* The inner packets are tracked already. A packet mark that requests masquerading would apply to the outer packet, too. */
  if (notrack) rules.push(`${port} fib daddr type local notrack`);
  return rules;
}

/** Whether a text is a link's name and has no characters that have a meaning in a rule. */
function isPlainName(text: string): boolean {
  for (const mark of ["{", "}", ",", '"', "@", ":"]) if (text.includes(mark)) return false;
  return text !== "" && parseAddress(text) === null;
}

/**
 * Drops packets to this node's pods with a forged pod's source address. Packets from pods of other nodes must arrive on the
 * overlay's device, unless the route to them does not use it; packets from pods of this node on the link that leads to them.
 */
function spoofed(settings: OverlaySettings): string[] {
  const device = deviceName(settings);
  const rules: string[] = [];
  for (const cidr of settings.podCidrs) {
    const to = `${protocol(cidr)} daddr ${formatPrefix(cidr)}`;
    rules.push(`iifname != ${device} ${to} fib saddr oifname ${device} drop`);
    rules.push(`${protocol(cidr)} saddr ${formatPrefix(cidr)} ${to} fib saddr . iif oif missing drop`);
  }
  return rules;
}

/** Rules for packets that the node accepts for itself, sent to its own address, broadcast, multicast or anycast. */
function delivered(settings: OverlaySettings, judged: Judged): string[] {
  const port = portOf(settings);
  return [
    ...othersPass(settings, judged),
    `${port} ip saddr != @peers4 drop`,
    `${port} ip6 saddr != @peers6 drop`,
    ...translated(settings),
  ];
}

/**
 * Rules for packets that the node would forward. A pod's packet to the port of another node would leave with this node's
 * address, which the other node trusts. Packets from peers are accepted: the node may be a router between them.
 */
function forwarded(settings: OverlaySettings, judged: Judged): string[] {
  const port = portOf(settings);
  const rules = [
    ...othersPass(settings, judged),
    ...translated(settings),
    `${port} ip daddr @peers4 ip saddr != @peers4 drop`,
    `${port} ip6 daddr @peers6 ip6 saddr != @peers6 drop`,
  ];
  if (!settings.masquerade) return rules;
  /* A peer has addresses that are not in the list. Replies to these packets would reach this node and not the pod. */
  for (const cidr of settings.exempt) rules.push(`${port} ${protocol(cidr)} daddr ${formatPrefix(cidr)} accept`);
  for (const cidr of settings.podCidrs) rules.push(`${port} ${protocol(cidr)} saddr ${formatPrefix(cidr)} drop`);
  return rules;
}

/**
 * Drops packets that a Service has redirected to the port: peers send none. Only with masquerading: a rule that matches
 * connections makes the kernel track them, and without masquerading nothing else does.
 */
function translated(settings: OverlaySettings): string[] {
  return settings.masquerade ? [`${portOf(settings)} ct status dnat drop`] : [];
}

function masqueradeRules(settings: OverlaySettings): string[] {
  const rules = ["ip daddr 224.0.0.0/4 return", "ip6 daddr ff00::/8 return"];
  for (const cidr of settings.exempt) rules.push(`${protocol(cidr)} daddr ${formatPrefix(cidr)} return`);
  for (const cidr of settings.podCidrs) {
    const out = "fib daddr type != local masquerade fully-random";
    rules.push(`${protocol(cidr)} saddr ${formatPrefix(cidr)} ${out}`);
  }
  return rules;
}

function protocol(cidr: Prefix): string {
  return cidr.address.family === 4 ? "ip" : "ip6";
}
