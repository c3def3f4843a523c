/** What an attachment has in the packet filter. */
import { CHECK_FAILED, CniError, KERNEL_REFUSED } from "../../errors.ts";
import { listLinks } from "../../netlink/link.ts";
import type { Kernel } from "../kernel.ts";
import { OWNER_MARK } from "../names.ts";
import type { FilterObject, FlowsObject } from "../objects.ts";

/** How many of the things that are missing an error lists. */
const SHOWN = 3;

export function applyFilter(kernel: Kernel, object: FilterObject): void {
  kernel.filter.put(object.record, object.lastWins);
}

/** Connections that began before the ports were published go where they went then, for as long as they go on. */
export function applyFlows(kernel: Kernel, object: FlowsObject): void {
  kernel.filter.forgetConnections(object.ports);
}

/** The rules for all pods' links; where the kernel cannot have them, pods get along without. Tells whether they were missing. */
export function applyGuard(kernel: Kernel): boolean {
  try {
    return kernel.filter.ensure(["bridge"]);
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== KERNEL_REFUSED) throw error;
    return false;
  }
}

/**
 * Puts back whatever is missing of the packet filter for the attachments that live in the host's namespace.
 * @returns whether anything was missing
 * @throws CniError 100, 11
 */
export function restoreFilter(kernel: Kernel): boolean {
  const restored = kernel.filter.restoreAll();
  const pods = listLinks(kernel.host, "veth", 0).some((link) => link.alias.startsWith(OWNER_MARK));
  return (pods && applyGuard(kernel)) || restored;
}

/** Takes out what was put in, after a failure. What fails here must not hide the first cause. */
export function takeBackFilter(kernel: Kernel, object: FilterObject): void {
  try {
    kernel.filter.remove(object.record.owner, false);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}

/**
 * Compares it with what is there. What a third party has flushed is put back at once, for all live attachments: nobody gains
 * by waiting for another call.
 * @throws CniError 101 that names what is missing or different
 */
export function checkFilter(kernel: Kernel, object: FilterObject): void {
  const lines = kernel.filter.differences(object.record);
  if (lines.length === 0) return;
  restoreFilter(kernel);
  const left = kernel.filter.differences(object.record);
  const more = lines.length <= SHOWN ? "" : `; and ${lines.length - SHOWN} more`;
  throw new CniError(
    CHECK_FAILED,
    `in the packet filter: ${lines.slice(0, SHOWN).join("; ")}${more}`,
    left.length === 0
      ? "somebody flushed or changed it; it has been put back, for all live attachments"
      : "somebody flushed or changed it, and it could not be put back; DEL and ADD the container to make it again",
  );
}
