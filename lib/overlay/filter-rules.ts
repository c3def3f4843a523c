/**
 * The overlay's table in the packet filter, in nft's syntax: fixed rules, and the peers' addresses as elements of two sets.
 * How many pods there are makes no difference. Pure.
 */
import { createHash } from "node:crypto";
import { formatPrefix, type Prefix } from "../ip/address.ts";
import type { Hook } from "../netlink/nftables/objects.ts";
import { hexOf } from "../text.ts";
import { type OverlaySettings, TABLE_PREFIX } from "./settings.ts";

const NF_INET_PRE_ROUTING = 0;
const NF_INET_LOCAL_OUT = 3;
const NF_INET_POST_ROUTING = 4;

/* enum nf_ip_hook_priorities in linux/netfilter_ipv4.h */
const PRIORITY_RAW = -300;
/** What of a network's name goes into a comment of 128 bytes. */
const MAX_NETWORK = 64;
const PRIORITY_AFTER_SRCNAT = 110;

export interface OverlayChain {
  readonly name: string;
  readonly hook: Hook;
  readonly rules: readonly string[];
}

/** The table's name: `nft list table inet podwire_overlay1`. */
export function filterTable(settings: OverlaySettings): string {
  return `${TABLE_PREFIX}${settings.vni}`;
}

/** Whether the packet filter has anything to do for the overlay. */
export function needsFilter(settings: OverlaySettings): boolean {
  return settings.peersOnly || settings.masquerade;
}

/** The chains of the table with their rules. */
export function filterChains(settings: OverlaySettings): OverlayChain[] {
  const vxlan = `udp dport ${settings.port}`;
  const incoming: string[] = [];
  if (settings.peersOnly) {
    /* Whoever can reach the port could otherwise send into pods as if from other pods. */
    incoming.push(`${vxlan} fib daddr type local ip saddr != @peers4 drop`);
    incoming.push(`${vxlan} fib daddr type local ip6 saddr != @peers6 drop`);
  }
  /* The packets inside are known as connections already; and a mark that asks for masquerading stays on the outer ones. */
  incoming.push(`${vxlan} fib daddr type local notrack`);
  const chains: OverlayChain[] = [
    {
      name: "prerouting",
      hook: { type: "filter", hook: NF_INET_PRE_ROUTING, priority: PRIORITY_RAW },
      rules: incoming,
    },
    {
      name: "output",
      hook: { type: "filter", hook: NF_INET_LOCAL_OUT, priority: PRIORITY_RAW },
      rules: [`${vxlan} notrack`],
    },
  ];
  if (settings.masquerade) {
    const hook = { type: "nat", hook: NF_INET_POST_ROUTING, priority: PRIORITY_AFTER_SRCNAT };
    chains.push({ name: "postrouting", hook, rules: masqueradeRules(settings) });
  }
  return chains;
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
export function filterComment(settings: OverlaySettings): string {
  const text = filterChains(settings)
    .map((chain) => [chain.name, ...chain.rules].join("\n"))
    .join("\n");
  const digest = createHash("sha256").update(text).digest();
  return `podwire overlay ${hexOf(digest.subarray(0, 8), "")} ${settings.network.slice(0, MAX_NETWORK)}`;
}
