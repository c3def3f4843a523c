/** CHECK: reads the kernel and compares it with a plan, object by object. */
import { CHECK_FAILED, CniError } from "../errors.ts";
import { isTracing, trace } from "../host/trace.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { type Kernel, kernelRefused } from "./kernel.ts";
import type { Kind } from "./kind.ts";
import { type KernelObject, kindOf } from "./objects.ts";

/** @throws CniError 101 that names the first thing that is missing or different */
export function compare(kernel: Kernel, plan: readonly KernelObject[]): void {
  for (const object of plan) {
    try {
      compareOne(kernel, kindOf(object));
    } catch (error) {
      if (error instanceof NetlinkError) throw kernelRefused(error, "cannot read the kernel's state", "");
      throw error;
    }
  }
}

function compareOne(kernel: Kernel, kind: Kind): void {
  const difference = kind.difference(kernel);
  if (isTracing()) trace(`compare what it took to ${kind.describe()}: ${difference ?? "the same"}`);
  if (difference === null) return;
  const restored = kind.restore(kernel);
  throw new CniError(
    CHECK_FAILED,
    difference,
    restored
      ? "somebody changed or removed what ADD had made; it has been put back"
      : "somebody changed or removed what ADD had made; DEL and ADD the container to make it again",
  );
}
