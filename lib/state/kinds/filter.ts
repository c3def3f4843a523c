/** What an attachment has in the packet filter. */
import { CniError, KERNEL_REFUSED } from "../../errors.ts";
import type { TableName } from "../../filter/ruleset.ts";
import type { Kernel } from "../kernel.ts";
import type { FilterObject, FlowsObject } from "../objects.ts";

export function applyFilter(kernel: Kernel, object: FilterObject): void {
  kernel.filter.put(object.record, object.lastWins);
}

/** Connections that began before the ports were published go where they went then, for as long as they go on. */
export function applyFlows(kernel: Kernel, object: FlowsObject): void {
  kernel.filter.forgetConnections(object.ports);
}

/** The rules for all pods' links; where the kernel cannot have them, pods get along without. */
export function applyGuard(kernel: Kernel): void {
  try {
    kernel.filter.repair(["bridge"], false);
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== KERNEL_REFUSED) throw error;
  }
}

/** Takes out what was put in, after a failure. What fails here must not hide the first cause. */
export function takeBackFilter(kernel: Kernel, object: FilterObject): void {
  try {
    kernel.filter.remove(object.record.owner);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}

/**
 * What is missing of it or different; null if nothing is. What a third party has flushed is put back at once, for all live
 * attachments: nobody gains by waiting for another call.
 */
export function differenceInFilter(kernel: Kernel, object: FilterObject): string | null {
  const lines = kernel.filter.differences(object.record);
  if (lines.length === 0) return null;
  const tables: TableName[] = [];
  kernel.filter.repair(tables, true);
  const left = kernel.filter.differences(object.record).length;
  const more = lines.length === 1 ? "" : ` and ${lines.length - 1} more`;
  return `in the packet filter: ${lines[0]}${more}${left === 0 ? "; it was put back" : ""}`;
}
