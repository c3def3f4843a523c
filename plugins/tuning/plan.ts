/**
 * What the tuning plugin wants an interface and its network namespace to be like: a pure function of the configuration and of what
 * they were before. ADD makes it so, CHECK compares it.
 */
import type { ResultInterface } from "../../lib/cni/result.ts";
import { HIDDEN } from "../../lib/host/sysctl.ts";
import { textAt } from "../../lib/lists.ts";
import type { LinkAttributes } from "../../lib/netlink/link-attributes.ts";
import {
  type FormerOrigin,
  type FormerRecord,
  type FormerSysctl,
  isEmptyRecord,
  isSameOrigin,
  NO_SETTINGS,
  withFormer,
} from "../../lib/state/former.ts";
import { formerSettings } from "../../lib/state/kinds/link-attributes.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { TuningConfig } from "./config.ts";

/** What is there before anything is changed. */
export interface Before {
  /** Null if there is no such link, or nothing of it is asked for. */
  readonly link: LinkAttributes | null;
  /** The values of the configuration's sysctls, in their order. */
  readonly values: readonly string[];
}

/** The changes alone, for CHECK and `explain`. @param before null if it does not matter, since nothing will be undone */
export function planChanges(config: TuningConfig, ifname: string, before: Before | null): KernelObject[] {
  const plan: KernelObject[] = [];
  let at = 0;
  for (const { path, value } of config.sysctls) {
    const found = before === null ? HIDDEN : textAt(before.values, at);
    plan.push({ kind: "required-sysctl", where: "container", path, value, former: found === HIDDEN ? null : found });
    at += 1;
  }
  if (tunesLink(config)) {
    const link = before === null ? null : before.link;
    const former = link === null ? NO_SETTINGS : formerSettings(config.link, link);
    plan.push({ kind: "link-attributes", where: "container", name: ifname, wanted: config.link, former });
  }
  return plan;
}

/**
 * The whole plan of an ADD: first the record by which DEL undoes it. What an earlier ADD of the same attachment has found stays in
 * it: by now the link is tuned.
 * @param earlier the record that is there
 */
export function planTuning(
  config: TuningConfig,
  origin: FormerOrigin,
  before: Before,
  earlier: FormerRecord | null,
): KernelObject[] {
  const { attachment } = origin;
  const found = recordOf(config, origin, before);
  const isFirst = earlier === null || (earlier.origin !== null && !isSameOrigin(earlier.origin, origin));
  const record = isFirst || earlier === null ? found : withFormer(earlier, found);
  const plan: KernelObject[] = [];
  if (!isEmptyRecord(record)) {
    plan.push({ kind: "former-values", directory: config.dataDir, attachment, record, earlier });
  }
  plan.push(...planChanges(config, attachment.ifname, before));
  return plan;
}

function recordOf(config: TuningConfig, origin: FormerOrigin, before: Before): FormerRecord {
  const sysctls: FormerSysctl[] = [];
  let at = 0;
  for (const { path } of config.sysctls) {
    const value = textAt(before.values, at);
    if (value !== HIDDEN) sysctls.push({ path: path.join("/"), value });
    at += 1;
  }
  const link = before.link === null ? NO_SETTINGS : formerSettings(config.link, before.link);
  return { link, sysctls, origin };
}

/** Whether anything of the link itself is asked for. */
export function tunesLink(config: TuningConfig): boolean {
  const { mac, promiscuous, mtu, allMulticast, transmitQueue } = config.link;
  return mac !== "" || promiscuous !== null || mtu !== 0 || allMulticast !== null || transmitQueue !== null;
}

/** The interfaces of a result as they are afterwards. @param isTuned whether one is the interface that is tuned */
export function tunedInterfaces(
  interfaces: readonly ResultInterface[],
  config: TuningConfig,
  isTuned: (item: ResultInterface) => boolean,
): ResultInterface[] {
  const tuned: ResultInterface[] = [];
  for (const item of interfaces) tuned.push(isTuned(item) ? tunedInterface(item, config) : item);
  return tuned;
}

function tunedInterface(item: ResultInterface, config: TuningConfig): ResultInterface {
  const { mac, mtu } = config.link;
  return { ...item, mac: mac === "" ? item.mac : mac, mtu: mtu === 0 ? item.mtu : mtu };
}
