/** An address of the container. It goes with its link. */
import { formatPrefix, type Prefix, sameAddress } from "../../ip/address.ts";
import { listAddresses, writeNewAddress } from "../../netlink/address.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import type { Kernel } from "../kernel.ts";
import { type Batch, Kind } from "../kind.ts";

/** An address on a link of the container. */
export interface AddressObject {
  readonly kind: "address";
  readonly link: string;
  readonly address: Prefix;
  /** False: let the kernel look for duplicates first (IPv6 only). */
  readonly nodad: boolean;
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
    const { link, address, nodad } = this.#object;
    const line = `ip address add ${formatPrefix(address)} dev ${shellWord(link)}${nodad && address.address.family === 6 ? " nodad" : ""}`;
    return [commandIn("container", netns, line)];
  }

  override batch(): Batch {
    return "requests container";
  }

  override make(kernel: Kernel): void {
    const { link, address, nodad } = this.#object;
    writeNewAddress(kernel.container, kernel.index("container", link), address, nodad);
  }

  override difference(kernel: Kernel): string | null {
    const { link, address: wanted } = this.#object;
    const others: string[] = [];
    for (const { prefix, failed } of listAddresses(kernel.container, kernel.index("container", link))) {
      others.push(formatPrefix(prefix));
      if (prefix.length !== wanted.length || !sameAddress(prefix.address, wanted.address)) continue;
      return failed ? `${formatPrefix(prefix)} on ${link} is a duplicate: another host has it` : null;
    }
    const found = others.length === 0 ? "none" : others.join(" ");
    return `${link} lacks the address ${formatPrefix(wanted)}, it has: ${found}`;
  }
}
