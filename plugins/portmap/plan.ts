/**
 * What the portmap plugin wants the node to hold for one attachment: a pure function of the configuration, the pod's
 * addresses and what leads to them. ADD makes it so, CHECK compares it.
 */

import type { Result } from "../../lib/cni/result.ts";
import type { BackendName } from "../../lib/filter/choose-backend.ts";
import { companionElements } from "../../lib/filter/hostport-elements.ts";
import type { HostPort, ListenerPort } from "../../lib/filter/hostports.ts";
import type { IptablesPlan } from "../../lib/filter/iptables-plan.ts";
import { hostPortPlan } from "../../lib/filter/iptables-rules.ts";
import { sharedChainName } from "../../lib/filter/masquerade.ts";
import {
  emptyRecord,
  type FilterChain,
  type FilterElement,
  type FilterOwner,
  type FilterRecord,
} from "../../lib/filter/record.ts";
import type { NamespaceIdentity } from "../../lib/host/namespace.ts";
import type { Address, Family, Prefix } from "../../lib/ip/address.ts";
import { itemAt } from "../../lib/lists.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { PortmapConfig } from "./config.ts";

/** How the host reaches one of the pod's addresses. */
export interface PodAddress {
  /** With the length of its subnet. */
  readonly address: Prefix;
  /** The link that leads there; "" if none does. */
  readonly link: string;
  /** Whether replies between neighbours on that link do not pass this host. */
  readonly bypassed: boolean;
}

/** What a plan is made from. */
export interface PlanInput {
  readonly config: PortmapConfig;
  readonly backend: BackendName;
  readonly owner: FilterOwner;
  /** At most one of each family. */
  readonly pod: readonly PodAddress[];
  /** The pod's bridge port, if it must reflect what the pod sends to itself; "" if not. */
  readonly reflectingPort: string;
  readonly netns: NamespaceIdentity;
  readonly timeMs: number;
  /** What programs of the host listen on, of the ports for all addresses. */
  readonly listeners: readonly ListenerPort[];
}

/**
 * The pod's first address of each family, among those of the attachment's own interface. In a result that lists no
 * container's interface at all they are those of the interfaces that it does list: on the host's ends of links.
 */
export function podAddresses(result: Result, ifname: string): Prefix[] {
  const known = result.interfaces.some((link) => link.sandbox !== "");
  const found: Prefix[] = [];
  for (const family of [4, 6] as Family[]) {
    for (const { interface: index, address } of result.ips) {
      const link = index === null ? null : itemAt(result.interfaces, index);
      const isOwn = link === null || !known || (link.name === ifname && link.sandbox !== "");
      if (address.address.family !== family || !isOwn) continue;
      found.push(address);
      break;
    }
  }
  return found;
}

/** The mappings that one of the pod's addresses is to be published by. */
function hostPortsOf(config: PortmapConfig, pod: Address): HostPort[] {
  const ports: HostPort[] = [];
  for (const mapping of config.mappings) {
    if (mapping.family !== 0 && mapping.family !== pod.family) continue;
    const { protocol, hostPort, hostIp, containerPort } = mapping;
    ports.push({ protocol, hostPort, hostIp, pod, containerPort });
  }
  return ports;
}

/** The objects of an attachment, in the order in which they come into being. */
export function planPortmap(input: PlanInput): KernelObject[] {
  const { config } = input;
  const record = input.backend === "nftables" ? nftablesOf(input) : iptablesOf(input);
  if (record === null) return [];
  /* First the rule that keeps strangers from 127.0.0.1, then the setting that would let them in. */
  const plan: KernelObject[] = [{ kind: "filter", record, lastWins: config.lastWins }];
  for (const pod of input.pod) {
    const link = localnetLinkOf(config, pod);
    if (link === "") continue;
    plan.push({ kind: "localnet", link, required: isForLocalhost(config, pod) });
  }
  if (config.snat && input.reflectingPort !== "") plan.push({ kind: "hairpin", port: input.reflectingPort });
  plan.push({ kind: "flows", ports: publishedPorts(input) });
  return plan;
}

function nftablesOf(input: PlanInput): FilterRecord | null {
  const { config, owner } = input;
  const chain = conditionsChain(config, owner.network);
  const ports = publishedPorts(input);
  if (ports.length === 0) return null;
  const elements = elementsBesidePorts(input, chain === null ? "" : chain.name);
  const record = emptyRecord(owner, input.netns, input.timeMs);
  return { ...record, chains: chain === null ? [] : [chain], ports, elements };
}

/** The ports of all addresses of the pod. */
function publishedPorts(input: PlanInput): HostPort[] {
  const ports: HostPort[] = [];
  for (const pod of input.pod) ports.push(...hostPortsOf(input.config, pod.address.address));
  return ports;
}

function elementsBesidePorts(input: PlanInput, conditions: string): FilterElement[] {
  const { config } = input;
  const elements: FilterElement[] = [];
  for (const pod of input.pod) {
    elements.push(
      ...companionElements(hostPortsOf(config, pod.address.address), {
        conditions,
        snat: config.snat,
        masqAll: config.masqAll,
        sameLink: pod.bypassed ? pod.link : "",
        localnetLink: localnetLinkOf(config, pod),
        listeners: input.listeners,
      }),
    );
  }
  return elements;
}

function iptablesOf(input: PlanInput): FilterRecord | null {
  const { config, owner, netns, timeMs } = input;
  const iptables: IptablesPlan[] = [];
  for (const pod of input.pod) {
    const ports = hostPortsOf(config, pod.address.address);
    if (ports.length === 0) continue;
    iptables.push(
      hostPortPlan(owner, pod.address, ports, {
        conditions: pod.address.address.family === 4 ? config.conditions4 : config.conditions6,
        snat: config.snat,
        masqAll: config.masqAll,
        sameLink: pod.bypassed,
        localnetLink: localnetLinkOf(config, pod),
        markMasqBit: config.markMasqBit,
        externalSetMarkChain: config.externalSetMarkChain,
        lastWins: config.lastWins,
        listeners: input.listeners,
        asked: config.mappings,
      }),
    );
  }
  if (iptables.length === 0) return null;
  return { ...emptyRecord(owner, netns, timeMs), iptables, claims: publishedPorts(input) };
}

/** The network's conditions as a chain of its own; null without any. */
function conditionsChain(config: PortmapConfig, network: string): FilterChain | null {
  if (config.conditions4.length === 0 && config.conditions6.length === 0) return null;
  const rules = [
    `meta nfproto ipv4 ${[...config.conditions4, "goto translate"].join(" ")}`,
    `meta nfproto ipv6 ${[...config.conditions6, "goto translate"].join(" ")}`,
  ];
  return { table: "inet", name: sharedChainName("conditions", network, rules), rules };
}

/** Whether one of the ports is published on 127.0.0.0/8 and nowhere else. */
function isForLocalhost(config: PortmapConfig, pod: PodAddress): boolean {
  return hostPortsOf(config, pod.address.address).some((port) => port.hostIp?.bytes[0] === 127);
}

/** The link on which the kernel has to accept 127.0.0.1, if one of the ports is to be reached by it; else "". */
function localnetLinkOf(config: PortmapConfig, pod: PodAddress): string {
  const { address } = pod.address;
  const wanted = hostPortsOf(config, address).some((port) => port.hostIp === null || port.hostIp.bytes[0] === 127);
  return config.snat && address.family === 4 && wanted ? pod.link : "";
}
