/**
 * What lets pods' packets through the host's forward filter, and keeps bridges apart, as values. Chains and comments in
 * iptables' own tables are those of the reference suite, and people's scripts put rules into the admin chain. Pure.
 */
import { NO_NAMESPACE } from "../host/namespace.ts";
import { type Address, type Family, formatAddress } from "../ip/address.ts";
import { hexNumber } from "../text.ts";
import type { IptablesPlan, IptablesRule } from "./iptables-plan.ts";
import { emptyRecord, type FilterChain, type FilterElement, type FilterOwner, type FilterRecord } from "./record.ts";

/** How the pods of a bridge are kept apart: see `policyElements`. */
export type IngressPolicy = "open" | "same-bridge" | "isolated";

const FORWARD_CHAIN = "CNI-FORWARD";
/** The plugin in the records of bridges' policies. */
export const POLICY_PLUGIN = "ingress-policy";

/** The chain that marks packets for iptables to accept. @param bit of the packet mark, 0 to 31 */
export function markChain(bit: number): FilterChain {
  return { table: "firewall", name: `mark-${bit}`, rules: [`meta mark set mark | ${2 ** bit}`] };
}

/** The elements that send what pods with these addresses send, and its answers, to the chain. */
export function acceptedElements(chain: FilterChain, addresses: readonly Address[]): FilterElement[] {
  return addresses.map((address) => ({
    table: chain.table,
    set: `accepted${address.family}`,
    key: formatAddress(address),
    data: `goto ${chain.name}`,
  }));
}

/**
 * The rules of iptables that accept marked packets, the same for all attachments: made once and never removed.
 * @param adminChain the chain for people's own rules, which come first
 * @param bit of the packet mark, 0 to 31
 */
export function forwardingPlan(family: Family, adminChain: string, bit: number): IptablesPlan {
  const mark = `0x${hexNumber(2 ** bit)}`;
  const accept = `-m mark --mark ${mark}/${mark} -j ACCEPT`;
  return {
    family,
    sharedChains: [
      { table: "filter", name: FORWARD_CHAIN },
      { table: "filter", name: adminChain },
    ],
    sharedRules: [
      jump("FORWARD", "CNI firewall plugin rules", FORWARD_CHAIN),
      jump(FORWARD_CHAIN, "CNI firewall plugin admin overrides", adminChain),
      { table: "filter", chain: FORWARD_CHAIN, first: false, text: accept, marks: [accept] },
    ],
    chain: "",
    rules: [],
    localnetLink: "",
  };
}

function jump(chain: string, comment: string, target: string): IptablesRule {
  const text = `-m comment --comment "${comment}" -j ${target}`;
  return { table: "filter", chain, first: true, text, marks: [`-j ${target}`] };
}

/** Who owns a bridge's policy: it belongs to no attachment, and stays for as long as the bridge. */
export function policyOwner(bridge: string): FilterOwner {
  return { network: "-", containerId: "-", ifname: bridge, plugin: POLICY_PLUGIN };
}

/**
 * What makes a policy: no pod behind the link reaches a pod behind another link with a policy; isolated ones do not reach
 * each other either (see `isolationElement` for a bridge).
 * @param link the host's: a bridge, or one that leads to a single pod
 */
export function policyElements(link: string, policy: IngressPolicy): FilterElement[] {
  if (policy === "open") return [];
  const within = policy === "isolated" ? "drop" : "return";
  return [
    { table: "firewall", set: "within_link", key: `${link} . ${link}`, data: within },
    { table: "firewall", set: "policy_links", key: link, data: "" },
  ];
}

/** The record of a bridge's policy. Without a namespace it is valid until the next boot. @param timeMs since the boot */
export function policyRecord(bridge: string, policy: IngressPolicy, timeMs: number): FilterRecord {
  return { ...emptyRecord(policyOwner(bridge), NO_NAMESPACE, timeMs), elements: policyElements(bridge, policy) };
}

/** Keeps a pod from other isolated ones of its bridge. @param port the pod's port of the bridge */
export function isolationElement(port: string): FilterElement {
  return { table: "isolation", set: "isolated_ports", key: port, data: "" };
}
