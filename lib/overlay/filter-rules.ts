/**
 * The overlay's table in the packet filter, in nft's syntax: fixed rules, and the peers' addresses as elements of two sets.
 * How many pods there are makes no difference. Pure.
 */
import { createHash } from "node:crypto";
import { formatPrefix, type Prefix, parseAddress } from "../ip/address.ts";
import type { NftHook } from "../netlink/nftables/objects.ts";
import { hexOf } from "../text.ts";
import { deviceName, type OverlaySettings, TABLE_PREFIX } from "./settings.ts";

const NF_INET_PRE_ROUTING = 0;
const NF_INET_LOCAL_IN = 1;
const NF_INET_FORWARD = 2;
const NF_INET_LOCAL_OUT = 3;
const NF_INET_POST_ROUTING = 4;

/* enum nf_ip_hook_priorities in linux/netfilter_ipv4.h */
const PRIORITY_RAW = -300;
/** What of a network's name goes into a comment of 128 bytes. */
const MAX_NETWORK = 64;
const PRIORITY_AFTER_SRCNAT = 110;

export interface OverlayChain {
  readonly name: string;
  readonly hook: NftHook;
  readonly rules: readonly string[];
}

/** Which packets to the port are judged: those of the VNI, or, where the device takes every VNI, all. */
export type Judged = "vni" | "port";

/** The table's name: `nft list table inet podwire_overlay1`. */
export function filterTable(settings: OverlaySettings): string {
  return `${TABLE_PREFIX}${settings.vni}`;
}

/** Whether the packet filter has anything to do for the overlay. */
export function needsFilter(settings: OverlaySettings): boolean {
  return settings.peersOnly || settings.masquerade;
}

/** The chains of the table with their rules. */
export function filterChains(settings: OverlaySettings, judged: Judged): OverlayChain[] {
  const chains: OverlayChain[] = [];
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
 * Lets packets of other overlays on the port go. Without a match on the VNI in what follows: a first fragment that ends
 * before the VNI has none to compare, and is judged as ours.
 */
function othersPass(settings: OverlaySettings, judged: Judged): string[] {
  return judged === "vni" ? [`${portOf(settings)} ${vniIs("!= ", settings)} accept`] : [];
}

/**
 * Whatever arrives. A packet that says to come from a peer must come by the link that leads to the peer, or a pod could
 * send it. Only here can all kernels ask for that.
 */
function arriving(settings: OverlaySettings, judged: Judged): string[] {
  const { peersOnly, notrack } = settings;
  const port = portOf(settings);
  const rules = peersOnly ? [...plain(settings)] : [];
  if (peersOnly || notrack) rules.push(...othersPass(settings, judged));
  if (peersOnly) {
    /* A link that is named is where peers are, whatever the routes say. */
    const elsewhere = isPlainName(settings.underlay) ? `${port} iifname != ${settings.underlay}` : port;
    rules.push(`${elsewhere} ip saddr @peers4 fib saddr . iif oif missing drop`);
    rules.push(`${elsewhere} ip6 saddr @peers6 fib saddr . iif oif missing drop`);
  }
  /* The packets inside are known as connections already; and a mark that asks for masquerading stays on the outer ones. */
  if (notrack) rules.push(`${port} fib daddr type local notrack`);
  return rules;
}

/** Whether a text is a link's name, without any of what means something in a rule. */
function isPlainName(text: string): boolean {
  for (const mark of ["{", "}", ",", '"', "@", ":"]) if (text.includes(mark)) return false;
  return text !== "" && parseAddress(text) === null;
}

/**
 * Packets to this node's pods that are in no tunnel, but have a pod's address: those of other nodes' pods come out of the
 * device, unless the route to them does without it, and those of this node's come by the way that leads to them.
 */
function plain(settings: OverlaySettings): string[] {
  const device = deviceName(settings);
  const rules: string[] = [];
  for (const cidr of settings.podCidrs) {
    const to = `${protocol(cidr)} daddr ${formatPrefix(cidr)}`;
    rules.push(`iifname != ${device} ${to} fib saddr oifname ${device} drop`);
    rules.push(`${protocol(cidr)} saddr ${formatPrefix(cidr)} ${to} fib saddr . iif oif missing drop`);
  }
  return rules;
}

/** What the node takes for itself, whatever address it was sent to: its own, broadcast, multicast, anycast. */
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
 * What the node would pass on: a pod's packet to another node's port leaves with this node's address, which is a peer
 * there. Peers' own packets pass, for a node that is a router between them.
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
  /* A peer has more addresses than the list tells. Nobody can answer such a packet: the answer would come to this node. */
  for (const cidr of settings.exempt) rules.push(`${port} ${protocol(cidr)} daddr ${formatPrefix(cidr)} accept`);
  for (const cidr of settings.podCidrs) rules.push(`${port} ${protocol(cidr)} saddr ${formatPrefix(cidr)} drop`);
  return rules;
}

/**
 * No peer's packet comes by way of a Service. Only where connections are tracked anyway: a rule that asks for them makes
 * the kernel track them.
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

/** The table's comment, which changes with its rules: a table with another one is replaced. */
export function filterComment(settings: OverlaySettings, chains: readonly OverlayChain[]): string {
  const text = chains.map((chain) => [chain.name, ...chain.rules].join("\n")).join("\n");
  const digest = createHash("sha256").update(text).digest();
  return `podwire overlay ${hexOf(digest.subarray(0, 8), "")} ${settings.network.slice(0, MAX_NETWORK)}`;
}
