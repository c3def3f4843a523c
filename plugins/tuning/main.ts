/** The tuning plugin: sysctls and attributes of an interface that a plugin before it has made. */
import { explainPlan, explainRemoval } from "../../lib/attachment/explain.ts";
import { attachmentOf } from "../../lib/attachment/identity.ts";
import { checkIpv6Mtu } from "../../lib/attachment/mtu.ts";
import { requireResult } from "../../lib/attachment/previous.ts";
import { collectGarbage, detach } from "../../lib/attachment/removal.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import { reportLack } from "../../lib/cni/status.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CHECK_FAILED, CniError, KERNEL_REFUSED } from "../../lib/errors.ts";
import { identify } from "../../lib/host/namespace.ts";
import { getLinkAttributes } from "../../lib/netlink/link-attributes.ts";
import { apply } from "../../lib/state/apply.ts";
import { compare } from "../../lib/state/compare.ts";
import { originOf } from "../../lib/state/former.ts";
import { readRecord } from "../../lib/state/former-store.ts";
import { attempting, Kernel } from "../../lib/state/kernel.ts";
import { readSysctls } from "../../lib/state/kinds/required-sysctl.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import { OwnedTuning } from "../../lib/state/owned/tuning.ts";
import type { Owned } from "../../lib/state/owned.ts";
import { checkAllowed, readAllowList } from "./allow-list.ts";
import { dataDirOf, readTuningConfig, type TuningConfig } from "./config.ts";
import { type Before, planChanges, planTuning, tunedInterfaces, tunesLink } from "./plan.ts";

export const tuning: Plugin = {
  name: "tuning",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc,
  status,
  explain,
  repair: null,
};

function add(call: Call): Result {
  const config = readTuningConfig(call);
  checkList(config);
  const previous = requireResult(call, PLACE);
  checkIpv6Mtu(config.link.mtu, previous.ips);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    /* First, since it may fail: what comes after `apply` would have to undo that. */
    const interfaces = interfacesOf(call, previous, config);
    apply(kernel, planned(kernel, call, config));
    return { ...previous, interfaces };
  } finally {
    kernel.close();
  }
}

function check(call: Call): void {
  const config = readTuningConfig(call);
  requireResult(call, PLACE);
  const kernel = Kernel.forContainer(call.request.netns);
  const { ifname } = call.request;
  try {
    attempting("cannot read the kernel's state", () => {
      if (getLinkAttributes(kernel.container, ifname) !== null) return;
      throw new CniError(CHECK_FAILED, `Cannot find container link ${ifname}`, "somebody removed what ADD had tuned");
    });
    compare(kernel, planChanges(config, ifname, null));
  } finally {
    kernel.close();
  }
}

function del(call: Call): void {
  detach(call, owned(call));
}

function gc(call: Call): void {
  collectGarbage(call, owned(call));
}

function owned(call: Call): Owned[] {
  return [new OwnedTuning(dataDirOf(call))];
}

/** A list that cannot be used is a failure where each pod has sysctls. */
function status(call: Call): void {
  const config = readTuningConfig(call);
  try {
    readAllowList();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    reportLack("tuning", error, config.sysctls.length > 0, "pods with sysctls of their own");
  }
}

function explain(call: Call): string[] {
  const { command, netns, ifname } = call.request;
  if (command !== "ADD") return explainRemoval(call, owned(call));
  const config = readTuningConfig(call);
  checkList(config);
  const kernel = Kernel.forHost();
  try {
    const plan = planChanges(config, ifname, null);
    return plan.length === 0 ? ["# nothing: nothing is asked for"] : explainPlan(kernel, plan, netns);
  } finally {
    kernel.close();
  }
}

/** The node's list is for those who ask for sysctls. @throws CniError 5, 7 */
function checkList(config: TuningConfig): void {
  if (config.sysctls.length === 0) return;
  const allowed = readAllowList();
  if (allowed !== null) checkAllowed(config.sysctls, allowed);
}

const PLACE =
  "tuning changes an interface that a plugin before it has made; put it behind bridge or macvlan in the list of plugins";

/** The plan of an ADD. All that is asked for is looked at first: what is missing is an error before anything is changed. */
function planned(kernel: Kernel, call: Call, config: TuningConfig): KernelObject[] {
  const { namespace } = kernel;
  if (namespace === null || (config.sysctls.length === 0 && !tunesLink(config))) return [];
  const attachment = attachmentOf(call);
  const before = look(kernel, attachment.ifname, config);
  const origin = originOf(attachment, namespace, before.link === null ? 0 : before.link.index);
  return planTuning(config, origin, before, readRecord(config.dataDir, attachment));
}

/** @throws CniError 100 */
function look(kernel: Kernel, ifname: string, config: TuningConfig): Before {
  const values = readSysctls(
    kernel,
    "container",
    config.sysctls.map(({ path }) => path),
  );
  const link = getLinkAttributes(kernel.container, ifname);
  if (link === null && tunesLink(config)) {
    throw new CniError(
      KERNEL_REFUSED,
      `container interface ${ifname} is not there`,
      `looked in ${kernel.namespace?.path ?? ""}`,
    );
  }
  if (link !== null && link.mac === "" && config.link.mac !== "") {
    throw new CniError(KERNEL_REFUSED, `container interface ${ifname} has no Ethernet address that could be changed`);
  }
  return { link, values };
}

/** The interface of that name in this container's namespace, by whatever path its maker names the namespace. */
function interfacesOf(call: Call, previous: Result, config: TuningConfig) {
  const { ifname, netns } = call.request;
  const own = identify(netns);
  return tunedInterfaces(previous.interfaces, config, ({ name, sandbox }) => {
    if (name !== ifname || sandbox === "") return false;
    const named = identify(sandbox);
    return sandbox === netns || (named.inode !== 0 && named.inode === own.inode && named.device === own.device);
  });
}
