/** The packet filter's rules for the links of all pods. */
import { CniError, KERNEL_REFUSED } from "../../errors.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** The packet filter's rules for all pods' links, router advertisements above all. Shared; a kernel may be without. */
export interface GuardObject {
  readonly kind: "guard";
}

export class GuardKind extends Kind {
  override describe(): string {
    return "make the packet filter's rules for pods' links";
  }

  override commands(_netns: string): string[] {
    return [];
  }

  override prerequisites(kernel: Kernel): string[][] {
    return [kernel.filter.tableCommands("bridge")];
  }

  override make(kernel: Kernel): void {
    applyGuard(kernel);
  }
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
