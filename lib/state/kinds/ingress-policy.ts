/** Which pods may reach those of a bridge. */
import { type IngressPolicy, policyElements } from "../../filter/forwarding.ts";
import { formatElement } from "../../filter/record.ts";
import { shellWord } from "../../text.ts";
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
    return policyElements(bridge, policy).map((element) => `nft ${shellWord(`add element ${formatElement(element)}`)}`);
  }

  override prerequisites(kernel: Kernel): string[] {
    return this.#object.policy === "open" ? [] : kernel.filter.tableCommands("firewall");
  }

  override isThere(kernel: Kernel): boolean {
    return this.isMade(kernel);
  }

  override isMade(kernel: Kernel): boolean {
    return this.difference(kernel) === null;
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
