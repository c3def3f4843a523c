/** Connections that began before ports were published: they go where they went then, for as long as they go on. */
import type { HostPort } from "../../filter/hostports.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** Connections to newly published ports that the kernel still treats as before: it forgets them. */
export interface FlowsObject {
  readonly kind: "flows";
  readonly ports: readonly HostPort[];
}

export class FlowsKind extends Kind {
  readonly #object: FlowsObject;

  constructor(object: FlowsObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return "forget connections to the published ports";
  }

  override commands(_netns: string): string[] {
    const lines: string[] = [];
    for (const { protocol, hostPort, pod } of this.#object.ports) {
      lines.push(
        `conntrack -D -f ipv${pod.family} -p ${protocol} --orig-port-dst ${hostPort} || true # none is no failure`,
      );
    }
    return lines;
  }

  override make(kernel: Kernel): void {
    kernel.filter.forgetConnections(this.#object.ports);
  }
}
