/**
 * What plugins share that make an interface with a veth pair and have an IPAM plugin: what their plans are made from, the life of
 * what they make, and DEL, GC and `explain` together with IPAM's.
 */
import type { Call } from "../cni/plugin.ts";
import type { Result, ResultInterface, ResultIp, ResultRoute } from "../cni/result.ts";
import type { BackendName } from "../filter/choose-backend.ts";
import type { FilterOwner } from "../filter/record.ts";
import { sinceBootMs } from "../host/boot.ts";
import { type NamespaceIdentity, NO_NAMESPACE } from "../host/namespace.ts";
import { parseMac } from "../ip/mac.ts";
import { apply, undo } from "../state/apply.ts";
import { Kernel } from "../state/kernel.ts";
import { type AttachmentNames, attachmentNames } from "../state/names.ts";
import type { KernelObject } from "../state/objects.ts";
import type { Owned } from "../state/owned.ts";
import { explainPlan, explainRemoval } from "./explain.ts";
import { attachmentOf, filterOwnerOf } from "./identity.ts";
import { NOT_COMPARED, reportedLinks } from "./previous.ts";
import { collectGarbage, detach } from "./removal.ts";

/** What a plan is made from, besides the plugin's configuration. */
export interface InterfaceInput {
  readonly ifname: string;
  /** Names and MACs of both ends. */
  readonly names: AttachmentNames;
  /** The container end's MTU, as `VethObject` has it. */
  readonly containerMtu: number;
  /** The container's addresses, each with the gateway filled in that it is to have. */
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly masqueradeBackend: BackendName;
  readonly owner: FilterOwner;
  /** The container's namespace and the milliseconds since boot, for the record of what the packet filter holds. */
  readonly netns: NamespaceIdentity;
  readonly timeMs: number;
}

/** What ADD plans with. @param plugin its name, @param mtu of both ends, 0 for the kernel's default */
export function plannedInterface(
  call: Call,
  plugin: string,
  kernel: Kernel,
  mtu: number,
  ips: readonly ResultIp[],
  routes: readonly ResultRoute[],
  masqueradeBackend: BackendName,
): InterfaceInput {
  return {
    ifname: call.request.ifname,
    names: attachmentNames(attachmentOf(call)),
    containerMtu: mtu,
    ips,
    routes,
    masqueradeBackend,
    owner: filterOwnerOf(call, plugin),
    netns: kernel.identity,
    timeMs: sinceBootMs(),
  };
}

/** What CHECK compares with. */
export interface ReportedInterface {
  readonly input: InterfaceInput;
  /** The host end's MTU, 0 if the result does not tell. */
  readonly hostMtu: number;
}

/**
 * What ADD planned with, and in place of what was derived, what the last plugin of the chain reported: plugins behind this one may
 * have changed MAC and MTU, and the host end may have been made by another suite.
 */
export function reportedInterface(
  call: Call,
  plugin: string,
  mtu: number,
  previous: Result,
  masqueradeBackend: BackendName,
): ReportedInterface {
  const { ifname, netns } = call.request;
  const names = attachmentNames(attachmentOf(call));
  const { inside, outside, ips } = reportedLinks(previous, names, ifname, netns);
  const input: InterfaceInput = {
    ifname,
    names: {
      hostLink: outside.name,
      hostMac: parseMac(outside.mac) ?? NOT_COMPARED,
      containerMac: parseMac(inside.mac) ?? NOT_COMPARED,
      alias: names.alias,
    },
    containerMtu: inside.mtu > 0 ? inside.mtu : mtu,
    ips,
    routes: previous.routes,
    masqueradeBackend,
    owner: filterOwnerOf(call, plugin),
    netns: NO_NAMESPACE,
    timeMs: 0,
  };
  return { input, hostMtu: outside.mtu };
}

/** Makes what a plan says, or nothing, and returns the interfaces that `interfaces` finds then. @throws CniError */
export function attach(
  kernel: Kernel,
  plan: readonly KernelObject[],
  interfaces: () => ResultInterface[],
): ResultInterface[] {
  apply(kernel, plan);
  try {
    return interfaces();
  } catch (error) {
    undo(kernel, plan);
    throw error;
  }
}

/** DEL, and then IPAM's: an address must not be given to somebody else while its link is there. @throws CniError */
export function detachAndRelease(call: Call, owned: readonly Owned[]): void {
  const ipam = call.config.ipamType();
  detach(call, owned);
  if (ipam !== "") call.delegates.del(ipam);
}

/** GC, and then IPAM's. @throws CniError */
export function collectAndRelease(call: Call, owned: readonly Owned[]): void {
  collectGarbage(call, owned);
  const ipam = call.config.ipamType();
  if (ipam !== "") call.delegates.gc(ipam);
}

/** `explain`, with IPAM's lines. @param planOf the plan of an ADD */
export function explainInterface(
  call: Call,
  owned: readonly Owned[],
  planOf: (kernel: Kernel) => readonly KernelObject[],
): string[] {
  const ipam = call.config.ipamType();
  const delegated = ipam === "" ? [] : call.delegates.explain(ipam);
  if (call.request.command !== "ADD") return [...explainRemoval(call, owned), ...delegated];
  const kernel = Kernel.forContainerIfAny(call.request.netns);
  try {
    return [...delegated, ...explainPlan(kernel, planOf(kernel), call.request.netns)];
  } finally {
    kernel.close();
  }
}
