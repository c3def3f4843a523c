/**
 * Masquerading: a pod's connections leave the node with the node's address. An element sends packets from the pod's address to
 * a chain of its network, which exempts destinations inside of the cluster. Pure.
 */
import { createHash } from "node:crypto";
import { formatAddress, formatPrefix, networkOf, type Prefix } from "../ip/address.ts";
import { hexOf } from "../text.ts";
import type { FilterChain, FilterElement } from "./record.ts";

/** How much of a network's name a chain's name has room for. */
const MAX_NAME_PART = 60;

/**
 * The chain for pods of a network.
 * @param subnets the pod's own addresses with their prefix lengths, whose networks are not masqueraded to
 * @param exempt further destinations that see the pod's own address: the cluster's other ranges
 */
export function masqueradeChain(network: string, subnets: readonly Prefix[], exempt: readonly Prefix[]): FilterChain {
  const rules: string[] = [];
  for (const prefix of [...subnets, ...exempt]) {
    const selector = prefix.address.family === 4 ? "ip daddr" : "ip6 daddr";
    const rule = `${selector} ${formatPrefix({ address: networkOf(prefix), length: prefix.length })} return`;
    if (!rules.includes(rule)) rules.push(rule);
  }
  /* Replies to multicast packets could not be translated back. */
  rules.push("ip daddr 224.0.0.0/4 return", "ip6 daddr ff00::/8 return", "masquerade fully-random");
  return { table: "inet", name: sharedChainName("masquerade", network, rules), rules };
}

/** The elements that send a pod's addresses to the chain. */
export function masqueradeElements(chain: FilterChain, addresses: readonly Prefix[]): FilterElement[] {
  return addresses.map(({ address }) => ({
    table: "inet",
    set: `masquerade${address.family}`,
    key: formatAddress(address),
    data: `goto ${chain.name}`,
  }));
}

/** The name of a chain that attachments share: the same for the same rules and network. */
export function sharedChainName(purpose: string, network: string, rules: readonly string[]): string {
  const digest = createHash("sha256").update(rules.join("\n")).digest();
  return `${purpose}-${network.slice(0, MAX_NAME_PART)}-${hexOf(digest.subarray(0, 4), "")}`;
}
