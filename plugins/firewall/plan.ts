/**
 * What the firewall plugin wants the node to hold for one attachment: a pure function of the configuration, the addresses in
 * the previous result and the node's link of the network. ADD makes it so, CHECK compares it.
 */

import type { ResultIp } from "../../lib/cni/result.ts";
import {
  acceptedElements,
  forwardingPlan,
  isolationElement,
  markChain,
  policyElements,
} from "../../lib/filter/forwarding.ts";
import { emptyRecord, type FilterElement, type FilterOwner } from "../../lib/filter/record.ts";
import type { NamespaceIdentity } from "../../lib/host/namespace.ts";
import { type Address, type Family, formatAddress } from "../../lib/ip/address.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { FirewallConfig } from "./config.ts";

/** The host's link of the network: the first interface of the previous result. */
export interface NetworkLink {
  readonly name: string;
  readonly isBridge: boolean;
  /** The pod's port, if it is a bridge. */
  readonly port: string;
}

/** What a plan is made from. */
export interface PlanInput {
  readonly config: FirewallConfig;
  readonly owner: FilterOwner;
  readonly netns: NamespaceIdentity;
  readonly timeMs: number;
  /** Of all interfaces, each once. */
  readonly addresses: readonly Address[];
  /** The IP versions for which iptables decides about forwarded packets. */
  readonly judged: readonly Family[];
  /** Null without a policy. */
  readonly link: NetworkLink | null;
}

/** The addresses of a result, each once. As in the reference, those of all interfaces. */
export function addressesOf(ips: readonly ResultIp[]): Address[] {
  const found: Address[] = [];
  /* A result may have thousands. */
  const texts = new Set<string>();
  for (const { address } of ips) {
    const text = formatAddress(address.address);
    if (!texts.has(text)) found.push(address.address);
    texts.add(text);
  }
  return found;
}

/** The objects of an attachment, in the order in which they come into being. */
export function planFirewall(input: PlanInput): KernelObject[] {
  const { config, link } = input;
  const plan: KernelObject[] = [];
  const own: FilterElement[] = [];
  if (link !== null && config.policy !== "") {
    /* A bridge is shared, and so is its policy. A link that leads to one pod has it for as long as the pod is there. */
    if (!link.isBridge) own.push(...policyElements(link.name, config.policy));
    else {
      plan.push({ kind: "ingress-policy", bridge: link.name, policy: config.policy });
      if (config.policy === "isolated") own.push(isolationElement(link.port));
    }
  }
  const chain = markChain(config.markBit);
  const accepted = acceptedElements(chain, input.addresses);
  if (accepted.length === 0 && own.length === 0) return plan;
  const families = input.judged.filter((family) => input.addresses.some((address) => address.family === family));
  const record = {
    ...emptyRecord(input.owner, input.netns, input.timeMs),
    chains: accepted.length === 0 ? [] : [chain],
    elements: [...own, ...accepted],
    iptables: families.map((family) => forwardingPlan(family, config.adminChain, config.markBit)),
  };
  plan.push({ kind: "filter", record, lastWins: false });
  return plan;
}
