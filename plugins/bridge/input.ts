/** What the plans of ADD and CHECK are made from: the configuration, the request, and the addresses of a result. */
import { attachmentOf, filterOwnerOf } from "../../lib/attachment/identity.ts";
import { masqueradeBackend } from "../../lib/attachment/masquerade.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import { type Result, resultInterface } from "../../lib/cni/result.ts";
import type { BackendName } from "../../lib/filter/choose-backend.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { type Namespace, type NamespaceIdentity, NO_NAMESPACE } from "../../lib/host/namespace.ts";
import { parseMac } from "../../lib/ip/mac.ts";
import type { Kernel } from "../../lib/state/kernel.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import type { BridgeConfig } from "./config.ts";
import { completeGateways, completeRoutes, type PlanInput } from "./plan.ts";

/** An Ethernet address that the previous result does not tell. */
const NOT_COMPARED = new Uint8Array(0);

/** What ADD plans with: the addresses that IPAM gave. */
export function planInput(
  call: Call,
  config: BridgeConfig,
  lease: Result,
  kernel: Kernel,
  masqueradeBackend: BackendName,
): PlanInput {
  const ips = completeGateways(config, lease.ips);
  return {
    config,
    ifname: call.request.ifname,
    names: attachmentNames(attachmentOf(call)),
    containerMtu: config.mtu,
    ips,
    routes: completeRoutes(config, ips, lease.routes),
    masqueradeBackend,
    owner: filterOwnerOf(call, "bridge"),
    netns: identityOf(kernel.namespace),
    timeMs: sinceBootMs(),
  };
}

/**
 * The plan that ADD had, with what the last plugin of the chain reported in place of what was derived: plugins behind us
 * may have changed Ethernet address and MTU, and the host end may have been made by another suite.
 */
export function inputOfResult(kernel: Kernel, call: Call, config: BridgeConfig, previous: Result): PlanInput {
  const { ifname, netns } = call.request;
  const index = previous.interfaces.findIndex((item) => item.name === ifname && item.sandbox !== "");
  const inside = previous.interfaces[index] ?? resultInterface(ifname, "", 0, netns);
  const names = attachmentNames(attachmentOf(call));
  const hostLinks = previous.interfaces.filter((item) => item.sandbox === "" && item.name.startsWith("veth"));
  const outside = hostLinks.find((item) => item.name === names.hostLink) ?? hostLinks[0];
  const mtu = outside !== undefined && outside.mtu > 0 ? outside.mtu : config.mtu;
  return {
    config: { ...config, mtu, mac: parseMac(inside.mac) ?? NOT_COMPARED },
    ifname,
    names: {
      ...names,
      hostLink: outside?.name ?? names.hostLink,
      hostMac: parseMac(outside?.mac ?? "") ?? NOT_COMPARED,
    },
    containerMtu: inside.mtu > 0 ? inside.mtu : config.mtu,
    ips: previous.ips.filter((ip) => ip.interface === null || ip.interface === index),
    routes: previous.routes,
    masqueradeBackend: masqueradeBackend(kernel, config),
    owner: filterOwnerOf(call, "bridge"),
    netns: NO_NAMESPACE,
    timeMs: 0,
  };
}

function identityOf(namespace: Namespace | null): NamespaceIdentity {
  if (namespace === null) return NO_NAMESPACE;
  return { path: namespace.path, device: namespace.device, inode: namespace.inode };
}
