/** The ptp plugin: a container's interface with the host at its other end, which routes. */
import { previewLease } from "../../ipam/preview.ts";
import { explainedBackend } from "../../lib/attachment/explain.ts";
import { attach, collectAndRelease, detachAndRelease, explainInterface } from "../../lib/attachment/interface.ts";
import { refuseSecond, withLease } from "../../lib/attachment/lease.ts";
import { masqueradeBackend } from "../../lib/attachment/masquerade.ts";
import { requireResult } from "../../lib/attachment/previous.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import { type Result, type ResultInterface, resultInterface } from "../../lib/cni/result.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CniError, NOT_AVAILABLE } from "../../lib/errors.ts";
import { checkBackend } from "../../lib/filter/choose-backend.ts";
import { RecordStore } from "../../lib/filter/store.ts";
import { formatMac } from "../../lib/ip/mac.ts";
import { compare } from "../../lib/state/compare.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { OwnedFilter } from "../../lib/state/owned/filter.ts";
import { OwnedVeth } from "../../lib/state/owned/veth.ts";
import type { Owned } from "../../lib/state/owned.ts";
import { repair } from "../../lib/state/repair.ts";
import { mayUseFilter, readPtpConfig } from "./config.ts";
import { inputOfResult, planInput } from "./input.ts";
import { type PlanInput, planPtp, planResult } from "./plan.ts";

export const ptp: Plugin = {
  name: "ptp",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc,
  status,
  explain,
  repair,
};

function add(call: Call): Result {
  const config = readPtpConfig(call);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    refuseSecond(kernel, call.request.ifname);
    return withLease(call, config.ipam, kernel, (lease) => {
      const input = planInput(call, config, lease, kernel, masqueradeBackend(kernel, config));
      const made = attach(kernel, planPtp(input), () => interfacesOf(kernel, input, call.request.netns));
      return planResult(input, made, lease);
    });
  } finally {
    kernel.close();
  }
}

/** The interfaces that were made. Both ends of the pair have one MTU, and the container's the address it was made with. */
function interfacesOf(kernel: Kernel, { names, ifname }: PlanInput, sandbox: string): ResultInterface[] {
  const outside = kernel.seen("host", names.hostLink) ?? kernel.link("host", names.hostLink);
  return [
    resultInterface(outside.name, outside.mac, outside.mtu, ""),
    resultInterface(ifname, formatMac(names.containerMac), outside.mtu, sandbox),
  ];
}

function check(call: Call): void {
  const config = readPtpConfig(call);
  const previous = requireResult(call);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    call.delegates.check(config.ipam);
    compare(kernel, planPtp(inputOfResult(kernel, call, config, previous)));
  } finally {
    kernel.close();
  }
}

/** With the addresses of prevResult; without one, with those that IPAM would give. */
function explain(call: Call): string[] {
  return explainInterface(call, owned(false), (kernel) => {
    const config = readPtpConfig(call);
    const backend = explainedBackend(kernel, config.ipMasqBackend);
    const lease = call.config.prevResult() ?? previewLease(call, config.ipam);
    return planPtp(planInput(call, config, lease, kernel, backend));
  });
}

function del(call: Call): void {
  detachAndRelease(call, owned(mayUseFilter(call.config)));
}

function gc(call: Call): void {
  collectAndRelease(call, owned(false));
}

/** The links last: the kernel clears up after both at the same time, in what the second one takes anyway. */
function owned(search: boolean): Owned[] {
  return [new OwnedFilter({ plugin: "ptp", reference: ["masquerade"], search }), new OwnedVeth()];
}

function status(call: Call): void {
  const config = readPtpConfig(call);
  const kernel = Kernel.forHost();
  try {
    if (config.ipMasq) checkBackend(kernel.filter, config.ipMasqBackend);
    if (config.ipMasq || config.ipSpoofCheck) RecordStore.requireWritable();
  } catch (error) {
    if (error instanceof CniError) throw new CniError(NOT_AVAILABLE, error.message, error.details);
    throw error;
  } finally {
    kernel.close();
  }
  call.delegates.status(config.ipam);
}
