/** Hairpin mode of a bridge port. */
import { writeHairpin } from "../../netlink/bridge-port.ts";
import { getLinkByName } from "../../netlink/link.ts";
import { shellWord } from "../../text.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** Hairpin mode of a bridge port: what a pod sends to itself through the host comes back. */
export interface HairpinObject {
  readonly kind: "hairpin";
  readonly port: string;
}

export class HairpinKind extends Kind {
  readonly #object: HairpinObject;

  constructor(object: HairpinObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `turn hairpin mode of ${this.#object.port} on`;
  }

  override commands(_netns: string): string[] {
    return [`bridge link set dev ${shellWord(this.#object.port)} hairpin on`];
  }

  override make(kernel: Kernel): void {
    const { port } = this.#object;
    const link = kernel.seen("host", port) ?? kernel.link("host", port);
    if (link.port?.hairpin === true) return;
    writeHairpin(kernel.host, kernel.index("host", port));
    kernel.host.run();
  }

  override difference(kernel: Kernel): string | null {
    const port = getLinkByName(kernel.host, this.#object.port)?.port ?? null;
    return port === null || port.hairpin ? null : `${this.#object.port} has hairpin mode off, expected on`;
  }
}
