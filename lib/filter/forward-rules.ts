/**
 * The firewall plugin's tables, in nft's syntax: which forwarded packets iptables is to accept, and which bridges' pods are
 * kept apart. A node has them once the plugin was called.
 *
 * An accept in a table of ours does not save a packet that another table drops, so what is to be accepted gets a mark, and
 * one rule in iptables' own table accepts what has it (forwarding.ts). A drop here is final: bridges are kept apart here alone.
 */
import type { TableContent } from "./table-definition.ts";

const NF_INET_FORWARD = 2;

/** Before iptables' FORWARD, which has the priority 0: it must find the mark. */
const PRIORITY_BEFORE_IPTABLES = -10;
/* enum nf_br_hook_priorities in linux/netfilter_bridge.h */
const PRIORITY_BRIDGE_FILTER = -200;

/** Marks what pods send, and the answers to it; drops what goes from one bridge with a policy to another. */
export function forwardContent(): TableContent {
  return {
    sets: [
      { name: "accepted4", key: "ipv4_addr", data: "verdict" },
      { name: "accepted6", key: "ipv6_addr", data: "verdict" },
      /* The bridges, or pods' own links, with a policy; and what it says of packets that go back to where they came from. */
      { name: "policy_links", key: "ifname", data: "" },
      { name: "within_link", key: "ifname . ifname", data: "verdict" },
    ],
    chains: [
      {
        name: "between_links",
        hook: null,
        rules: ["iifname . oifname vmap @within_link", "oifname @policy_links drop"],
      },
      {
        name: "forward",
        hook: { type: "filter", hook: NF_INET_FORWARD, priority: PRIORITY_BEFORE_IPTABLES },
        rules: [
          "iifname @policy_links jump between_links",
          "ip saddr vmap @accepted4",
          "ct state established,related ip daddr vmap @accepted4",
          "ip6 saddr vmap @accepted6",
          "ct state established,related ip6 daddr vmap @accepted6",
        ],
      },
    ],
  };
}

/**
 * Drops what isolated pods of one bridge send to each other, through the bridge alone. (To match a bridge's name would take
 * a module of its own, nft_meta_bridge.)
 */
export function isolationContent(): TableContent {
  return {
    sets: [{ name: "isolated_ports", key: "ifname", data: "" }],
    chains: [
      {
        name: "forward",
        hook: { type: "filter", hook: NF_INET_FORWARD, priority: PRIORITY_BRIDGE_FILTER },
        rules: ["iifname @isolated_ports oifname @isolated_ports meta protocol != arp drop"],
      },
    ],
  };
}
