/** Which pods may reach those of a bridge. */
import { type IngressPolicy, policyRecord } from "../../filter/forwarding.ts";
import { recordCommands, recordRemovalCommands } from "../../filter/record-commands.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { restoreFilter } from "./filter.ts";

/** The policy of a bridge: shared by its pods, and there for as long as the bridge. */
export interface IngressPolicyObject {
  readonly kind: "ingress-policy";
  readonly bridge: string;
  readonly policy: IngressPolicy;
}

export class IngressPolicyKind extends Kind {
  readonly #object: IngressPolicyObject;

  constructor(object: IngressPolicyObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `give the bridge ${this.#object.bridge} the policy ${this.#object.policy}`;
  }

  override commands(_netns: string): string[] {
    const { bridge, policy } = this.#object;
    /* What another policy has goes first: an element with the same key cannot be added. All policies have the same keys. */
    const others = recordRemovalCommands(policyRecord(bridge, "isolated", 0));
    return [
      ...others.map((command) => `${command} 2>/dev/null || true`),
      ...recordCommands(policyRecord(bridge, policy, 0)),
    ];
  }

  override prerequisites(kernel: Kernel): string[][] {
    return this.#object.policy === "open" ? [] : [kernel.filter.tableCommands("firewall")];
  }

  override isThere(kernel: Kernel): boolean {
    return this.difference(kernel) === null;
  }

  override isMade(kernel: Kernel): boolean {
    const { bridge, policy } = this.#object;
    return kernel.filter.recordsPolicy(bridge, policy) && this.difference(kernel) === null;
  }

  override make(kernel: Kernel): void {
    kernel.filter.setPolicy(this.#object.bridge, this.#object.policy);
  }

  override difference(kernel: Kernel): string | null {
    const { bridge, policy } = this.#object;
    const [first] = kernel.filter.policyDifferences(bridge, policy);
    return first === undefined ? null : `in the packet filter: ${first}`;
  }

  override restore(kernel: Kernel): boolean {
    restoreFilter(kernel);
    return this.difference(kernel) === null;
  }
}
