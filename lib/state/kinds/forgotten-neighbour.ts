/** What the host remembers of earlier holders of an address. */
import type { Address } from "../../ip/address.ts";
import { formatAddress } from "../../ip/address.ts";
import { writeDeleteNeighbour } from "../../netlink/route.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { ENOENT } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** No neighbour of this address is remembered on a link of the host: an earlier holder's Ethernet address must not be used. */
export interface ForgottenNeighbourObject {
  readonly kind: "forgotten-neighbour";
  readonly link: string;
  readonly address: Address;
}

export class ForgottenNeighbourKind extends Kind {
  readonly #object: ForgottenNeighbourObject;

  constructor(object: ForgottenNeighbourObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `forget the neighbour ${formatAddress(this.#object.address)} on ${this.#object.link}`;
  }

  override commands(_netns: string): string[] {
    return [`ip neighbour flush to ${formatAddress(this.#object.address)} dev ${shellWord(this.#object.link)}`];
  }

  override make(kernel: Kernel): void {
    const { link, address } = this.#object;
    writeDeleteNeighbour(kernel.host, kernel.index("host", link), address);
    const errno = kernel.host.attempt();
    if (errno !== 0 && errno !== ENOENT) throw new NetlinkError(errno, `forget a neighbour on ${link}`, 0);
  }
}
