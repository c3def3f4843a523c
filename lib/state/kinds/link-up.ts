/** A link that is up. */
import { getLinkByName, writeLinkUp } from "../../netlink/link.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import type { Kernel, Where } from "../kernel.ts";
import { type Batch, Kind } from "../kind.ts";

/** A link that is up, and promiscuous if that is asked for. */
export interface LinkUpObject {
  readonly kind: "up";
  readonly where: Where;
  readonly name: string;
  readonly promiscuous: boolean;
  /** Says whose link it is; "" leaves it without. */
  readonly alias: string;
}

export class LinkUpKind extends Kind {
  readonly #object: LinkUpObject;

  constructor(object: LinkUpObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `bring ${this.#object.name} up`;
  }

  override commands(netns: string): string[] {
    const { where, name, promiscuous, alias } = this.#object;
    const more = `${promiscuous ? " promisc on" : ""}${alias === "" ? "" : ` alias ${shellWord(alias)}`}`;
    return [commandIn(where, netns, `ip link set ${shellWord(name)} up${more}`)];
  }

  override batch(): Batch {
    return this.#object.where === "host" ? "requests host" : "requests container";
  }

  /** A bridge that was there before mostly is up. */
  override isMade(kernel: Kernel): boolean {
    const link = kernel.seen(this.#object.where, this.#object.name);
    const { promiscuous, alias } = this.#object;
    return link?.up === true && (link.promiscuous || !promiscuous) && (alias === "" || link.alias === alias);
  }

  override make(kernel: Kernel): void {
    const { where, name, promiscuous, alias } = this.#object;
    writeLinkUp(kernel.socket(where), kernel.index(where, name), true, promiscuous, alias);
  }

  override difference(kernel: Kernel): string | null {
    const { where, name, promiscuous } = this.#object;
    const link = getLinkByName(kernel.socket(where), name);
    if (link === null) return `${name} is missing`;
    if (!link.up) return `${name} is down`;
    return promiscuous && !link.promiscuous ? `${name} is not promiscuous` : null;
  }
}
