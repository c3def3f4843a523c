/** The policies of bridges that are gone. A bridge that is there keeps its policy: other pods may rely on it. */
import type { Kernel } from "../kernel.ts";
import type { Attachment } from "../names.ts";
import { Owned, type Removal } from "../owned.ts";

export class GonePolicies extends Owned {
  override describe(): string {
    return "the policies of bridges that are gone";
  }

  override remove(kernel: Kernel, _removal: Removal): void {
    kernel.filter.dropGonePolicies();
  }

  override sweep(kernel: Kernel, _network: string, _keep: readonly Attachment[]): void {
    kernel.filter.dropGonePolicies();
  }

  override commands(kernel: Kernel, _removal: Removal): string[] {
    return kernel.filter.gonePolicyCommands();
  }

  override staleCommands(kernel: Kernel, _network: string, _keep: readonly Attachment[]): string[] {
    return kernel.filter.gonePolicyCommands();
  }
}
