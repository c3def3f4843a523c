/** What the plans of ADD and CHECK are made from: the configuration, the request, and the addresses of a result. */
import { attachmentOf, filterOwnerOf } from "../../lib/attachment/identity.ts";
import { masqueradeBackend } from "../../lib/attachment/masquerade.ts";
import { NOT_COMPARED, reportedLinks } from "../../lib/attachment/previous.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import type { BackendName } from "../../lib/filter/choose-backend.ts";
import { sinceBootMs } from "../../lib/host/boot.ts";
import { NO_NAMESPACE } from "../../lib/host/namespace.ts";
import { parseMac } from "../../lib/ip/mac.ts";
import type { Kernel } from "../../lib/state/kernel.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import type { BridgeConfig } from "./config.ts";
import { completeGateways, completeRoutes, type PlanInput } from "./plan.ts";

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
    netns: kernel.identity,
    timeMs: sinceBootMs(),
  };
}

/**
 * The plan that ADD had, with what the last plugin of the chain reported in place of what was derived: plugins behind us
 * may have changed Ethernet address and MTU, and the host end may have been made by another suite.
 */
export function inputOfResult(kernel: Kernel, call: Call, config: BridgeConfig, previous: Result): PlanInput {
  const { ifname, netns } = call.request;
  const names = attachmentNames(attachmentOf(call));
  const { inside, outside, ips } = reportedLinks(previous, names, ifname, netns);
  const mtu = outside.mtu > 0 ? outside.mtu : config.mtu;
  return {
    config: { ...config, mtu, mac: parseMac(inside.mac) ?? NOT_COMPARED },
    ifname,
    names: {
      ...names,
      hostLink: outside.name,
      hostMac: parseMac(outside.mac) ?? NOT_COMPARED,
    },
    containerMtu: inside.mtu > 0 ? inside.mtu : config.mtu,
    ips,
    routes: previous.routes,
    masqueradeBackend: masqueradeBackend(kernel, config),
    owner: filterOwnerOf(call, "bridge"),
    netns: NO_NAMESPACE,
    timeMs: 0,
  };
}
