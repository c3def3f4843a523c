/** ADD: makes a plan's objects exist. */
import type { Kernel } from "./kernel.ts";
import type { Kind } from "./kind.ts";
import { makeAll, undoAll } from "./make.ts";
import { type KernelObject, kindOf } from "./objects.ts";

/**
 * Applies a plan.
 * @throws CniError of the first object that could not be made, after what the attachment owns has been removed again
 */
export function apply(kernel: Kernel, plan: readonly KernelObject[]): void {
  makeAll(kernel, kindsOf(plan));
}

/** Undoes a plan that was applied, after a failure of what came behind it. */
export function undo(kernel: Kernel, plan: readonly KernelObject[]): void {
  undoAll(kernel, kindsOf(plan));
}

function kindsOf(plan: readonly KernelObject[]): Kind[] {
  const kinds: Kind[] = [];
  for (const object of plan) kinds.push(kindOf(object));
  return kinds;
}
