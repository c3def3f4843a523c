/** An address on a link of the attachment, of either end. It goes with its link. */
import { formatPrefix, type Prefix, sameAddress } from "../../ip/address.ts";
import { listAddresses, writeNewAddress } from "../../netlink/address.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import type { Kernel, Where } from "../kernel.ts";
import { type Batch, Kind } from "../kind.ts";

/** An address on a link. */
export interface AddressObject {
  readonly kind: "address";
  readonly where: Where;
  readonly link: string;
  readonly address: Prefix;
  /** False: let the kernel look for duplicates first (IPv6 only). */
  readonly nodad: boolean;
  /** Whether the kernel makes the route to the address's network. */
  readonly prefixRoute: boolean;
}

export class AddressKind extends Kind {
  readonly #object: AddressObject;

  constructor(object: AddressObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `add address ${formatPrefix(this.#object.address)} to ${this.#object.link}`;
  }

  override commands(netns: string): string[] {
    const { where, link, address, nodad, prefixRoute } = this.#object;
    const flags = `${nodad && address.address.family === 6 ? " nodad" : ""}${prefixRoute ? "" : " noprefixroute"}`;
    return [commandIn(where, netns, `ip address add ${formatPrefix(address)} dev ${shellWord(link)}${flags}`)];
  }

  override batch(): Batch {
    return this.#object.where === "host" ? "requests host" : "requests container";
  }

  override make(kernel: Kernel): void {
    const { where, link, address, nodad, prefixRoute } = this.#object;
    writeNewAddress(kernel.socket(where), kernel.index(where, link), address, nodad, 0, !prefixRoute);
  }

  override difference(kernel: Kernel): string | null {
    const { where, link, address: wanted } = this.#object;
    const others: string[] = [];
    for (const { prefix, failed } of listAddresses(kernel.socket(where), kernel.index(where, link))) {
      others.push(formatPrefix(prefix));
      if (prefix.length !== wanted.length || !sameAddress(prefix.address, wanted.address)) continue;
      return failed ? `${formatPrefix(prefix)} on ${link} is a duplicate: another host has it` : null;
    }
    const found = others.length === 0 ? "none" : others.join(" ");
    return `${link} lacks the address ${formatPrefix(wanted)}, it has: ${found}`;
  }
}
