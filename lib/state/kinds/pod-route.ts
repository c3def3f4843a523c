/** The host's route to an address of a container whose link is no port of a bridge. */
import { CniError, CONFLICT } from "../../errors.ts";
import { type Address, bits, formatAddress } from "../../ip/address.ts";
import { getLinkByIndex } from "../../netlink/link.ts";
import { getRouteLink, type Route, writeOnlyRoute } from "../../netlink/route.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { EEXIST } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { OWNER_MARK } from "../names.ts";

/** The host sends what is for an address through a link of its own. The route goes with the link. */
export interface PodRouteObject {
  readonly kind: "pod-route";
  readonly link: string;
  readonly address: Address;
}

export class PodRouteKind extends Kind {
  readonly #object: PodRouteObject;

  constructor(object: PodRouteObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `add the host's route to ${formatAddress(this.#object.address)} through ${this.#object.link}`;
  }

  override commands(_netns: string): string[] {
    const { link, address } = this.#object;
    const scope = address.family === 4 ? " scope host" : "";
    return [`ip route add ${formatAddress(address)} dev ${shellWord(link)} proto static${scope}`];
  }

  override make(kernel: Kernel): void {
    const { link, address } = this.#object;
    const index = kernel.index("host", link);
    writeOnlyRoute(kernel.host, index, routeTo(address));
    const errno = kernel.host.attempt();
    if (errno === 0) return;
    const other = errno === EEXIST ? getRouteLink(kernel.host, address) : 0;
    if (other === index) return;
    if (errno !== EEXIST) throw new NetlinkError(errno, `add a route through ${link}`, 0);
    throw taken(kernel, address, other);
  }

  override difference(kernel: Kernel): string | null {
    const { link, address } = this.#object;
    const found = getRouteLink(kernel.host, address);
    if (found === kernel.index("host", link)) return null;
    const place = found === 0 ? "nowhere" : `to ${describeLink(kernel, found)}`;
    return `the host's route to ${formatAddress(address)} leads ${place}, expected ${link}`;
  }
}

/* RT_SCOPE_HOST, as in the reference suite: programs that look for pods' routes compare it. */
const SCOPE_HOST = 254;

function routeTo(address: Address): Route {
  const length = bits(address.family);
  return {
    dst: { address, length },
    gateway: null,
    mtu: 0,
    advmss: 0,
    priority: 0,
    table: null,
    scope: address.family === 4 ? SCOPE_HOST : 0,
    onlink: false,
    source: null,
  };
}

/** The other one would be cut off, or this one: one address, one link. */
function taken(kernel: Kernel, address: Address, link: number): CniError {
  const place = link === 0 ? "" : ` through ${describeLink(kernel, link)}`;
  return new CniError(
    CONFLICT,
    `the host has a route to ${formatAddress(address)} already${place}`,
    `look at it with: ip route get ${formatAddress(address)}; DEL the container that has the address, or ask for another one`,
  );
}

function describeLink(kernel: Kernel, index: number): string {
  const link = getLinkByIndex(kernel.host, index);
  if (link === null) return `link ${index}`;
  const owner = link.alias.startsWith(OWNER_MARK) ? ` (${link.alias.slice(OWNER_MARK.length)})` : "";
  return `${link.name}${owner}`;
}
