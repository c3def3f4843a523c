/** What the plans of ADD and CHECK are made from: the configuration, the request, and the addresses of a result. */
import { plannedInterface, reportedInterface } from "../../lib/attachment/interface.ts";
import { masqueradeBackend } from "../../lib/attachment/masquerade.ts";
import { distinctRoutes } from "../../lib/attachment/routes.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import type { BackendName } from "../../lib/filter/choose-backend.ts";
import type { Kernel } from "../../lib/state/kernel.ts";
import type { PtpConfig } from "./config.ts";
import { completeGateways, type PlanInput } from "./plan.ts";

/** What ADD plans with: the addresses that IPAM gave. */
export function planInput(
  call: Call,
  config: PtpConfig,
  lease: Result,
  kernel: Kernel,
  backend: BackendName,
): PlanInput {
  const ips = completeGateways(lease.ips);
  const routes = distinctRoutes(ips, lease.routes);
  const input = plannedInterface(call, "ptp", kernel, config.mtu, ips, routes, backend);
  return { ...input, config };
}

/** The plan that ADD had, as far as the previous result tells of it. */
export function inputOfResult(kernel: Kernel, call: Call, config: PtpConfig, previous: Result): PlanInput {
  const backend = masqueradeBackend(kernel, config);
  const { input, hostMtu } = reportedInterface(call, "ptp", config.mtu, previous, backend);
  const reported: PtpConfig = { ...config, mtu: hostMtu > 0 ? hostMtu : config.mtu };
  return { ...input, ips: completeGateways(input.ips), config: reported };
}
