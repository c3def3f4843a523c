/** The gateways' addresses on a link of the host. */
import { CniError, CONFLICT } from "../../errors.ts";
import { formatPrefix, holdsPrefix, overlap, type Prefix, sameAddress } from "../../ip/address.ts";
import {
  type LinkAddress,
  listAddresses,
  PROTOCOL_PODWIRE,
  writeDeleteAddress,
  writeNewAddress,
} from "../../netlink/address.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { EADDRNOTAVAIL, EEXIST } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { keepMac } from "./bridge.ts";
import { describeUsers, isLinkLocal, isOurs, usersOf } from "./stale-gateways.ts";

/** The gateways' addresses on a link of the host. Shared: made if they are missing, never removed. */
export interface GatewaysObject {
  readonly kind: "gateways";
  readonly link: string;
  readonly addresses: readonly Prefix[];
  /** The bridge whose ports the gateways are for, and which of them is the attachment's own ("" for none yet). */
  readonly bridge: string;
  readonly port: string;
  /** Whether addresses in their way are removed instead of being an error. */
  readonly force: boolean;
}

export class GatewaysKind extends Kind {
  readonly #object: GatewaysObject;

  constructor(object: GatewaysObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `give ${this.#object.link} the gateway's address`;
  }

  override commands(_netns: string): string[] {
    const { addresses, link } = this.#object;
    return addresses.map((address) => {
      const nodad = address.address.family === 6 ? " nodad" : "";
      /* The protocol that marks it as ours needs an `ip` of 2023: without it the address works all the same. */
      return `ip address replace ${formatPrefix(address)} dev ${shellWord(link)}${nodad}`;
    });
  }

  override make(kernel: Kernel): void {
    applyGateways(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInGateways(kernel, this.#object);
  }
}

/** What has to go from a link for a set of gateways, and what they are to replace. */
interface Removals {
  /** Before the new ones are added: nobody uses them, or it was asked for. */
  readonly first: readonly LinkAddress[];
  /** Afterwards: the same address stands in a larger network, so it has been there all the time. */
  readonly last: readonly LinkAddress[];
}

/**
 * Gives the link the gateways' addresses. One that another ADD adds at the same moment is as good. Ours of networks that
 * nobody uses any more go.
 */
function applyGateways(kernel: Kernel, object: GatewaysObject): void {
  const index = kernel.index("host", object.link);
  const present = listAddresses(kernel.host, index);
  const missing = object.addresses.filter((wanted) => !present.some((entry) => samePrefix(entry.prefix, wanted)));
  if (missing.length === 0 && !present.some((entry) => mayBeStale(object, entry))) return;
  const removals = removalsFor(kernel, object, present, missing);
  if (missing.length > 0)
    keepMac(
      kernel,
      object.link,
      present.some((entry) => !isLinkLocal(entry.prefix)),
    );
  for (const entry of removals.first) {
    removeAddress(kernel, index, entry.prefix);
    keepIfUsed(kernel, object, entry);
  }
  for (const wanted of missing) addGateway(kernel, object, index, wanted);
  for (const entry of removals.last) removeAddress(kernel, index, entry.prefix);
}

/**
 * Which addresses of the link go.
 * @throws CniError 102 if one is in the way that is not ours or that somebody uses
 */
function removalsFor(
  kernel: Kernel,
  object: GatewaysObject,
  present: readonly LinkAddress[],
  missing: readonly Prefix[],
): Removals {
  const first: LinkAddress[] = [];
  const last: LinkAddress[] = [];
  for (const entry of present) {
    const { prefix } = entry;
    const obstructed = missing.find((wanted) => inTheWay(prefix, wanted, object.addresses));
    const stale = mayBeStale(object, entry) && isOurs(kernel, object.bridge, entry);
    if (obstructed === undefined && !stale) continue;
    if (stale && object.addresses.some((wanted) => takesIn(wanted, prefix))) {
      /* IPv6 does not take an address twice. */
      if (prefix.address.family === 4) last.push(entry);
      else first.push(entry);
      continue;
    }
    const users = stale ? usersOf(kernel, object.bridge, prefix, object.port) : [];
    if (stale && users.length === 0) first.push(entry);
    else if (obstructed !== undefined && object.force) first.push(entry);
    else if (obstructed !== undefined) throw conflict(object.link, prefix, obstructed, users);
  }
  return { first, last };
}

/**
 * Whether every ADD would be refused for an address in the way of its gateway.
 * @param object all gateways that an ADD may have
 * @param certain those of them that every ADD has
 * @throws CniError 102
 */
export function checkGateways(kernel: Kernel, object: GatewaysObject, certain: readonly Prefix[]): void {
  const present = listAddresses(kernel.host, kernel.index("host", object.link));
  const missing = certain.filter((wanted) => !present.some((entry) => samePrefix(entry.prefix, wanted)));
  if (missing.length > 0) removalsFor(kernel, object, present, missing);
}

/** Whether an address could be a gateway of before: it is of a family that the gateways are of, and none of them. */
function mayBeStale(object: GatewaysObject, { prefix, protocol }: LinkAddress): boolean {
  if (protocol !== 0 && protocol !== PROTOCOL_PODWIRE) return false;
  if (holdsPrefix(object.addresses, prefix) || isLinkLocal(prefix)) return false;
  return object.addresses.some((wanted) => wanted.address.family === prefix.address.family);
}

/** An attachment that was made meanwhile may have found its gateway in place. */
function keepIfUsed(kernel: Kernel, object: GatewaysObject, { prefix, protocol }: LinkAddress): void {
  if (object.force || object.addresses.some((wanted) => takesIn(wanted, prefix))) return;
  const users = usersOf(kernel, object.bridge, prefix, object.port);
  if (users.length === 0) return;
  writeNewAddress(kernel.host, kernel.index("host", object.link), prefix, true, protocol);
  const errno = kernel.host.attempt();
  if (errno !== 0 && errno !== EEXIST) throw new NetlinkError(errno, `put ${formatPrefix(prefix)} back`, 0);
  const obstructed = object.addresses.find((wanted) => inTheWay(prefix, wanted, object.addresses));
  if (obstructed !== undefined) throw conflict(object.link, prefix, obstructed, users);
}

function addGateway(kernel: Kernel, object: GatewaysObject, index: number, wanted: Prefix): void {
  writeNewAddress(kernel.host, index, wanted, true, PROTOCOL_PODWIRE);
  const errno = kernel.host.attempt();
  if (errno !== 0 && errno !== EEXIST) {
    throw new NetlinkError(errno, `add ${formatPrefix(wanted)} to ${object.link}`, 0);
  }
}

function removeAddress(kernel: Kernel, index: number, prefix: Prefix): void {
  writeDeleteAddress(kernel.host, index, prefix);
  const errno = kernel.host.attempt();
  if (errno !== 0 && errno !== EADDRNOTAVAIL) throw new NetlinkError(errno, `remove ${formatPrefix(prefix)}`, 0);
}

/** What is different about the gateways; null if nothing is. A network that has grown around one serves as well. */
function differenceInGateways(kernel: Kernel, object: GatewaysObject): string | null {
  const present = listAddresses(kernel.host, kernel.index("host", object.link));
  for (const wanted of object.addresses) {
    if (present.some((entry) => takesIn(entry.prefix, wanted))) continue;
    return `${object.link} lacks the gateway's address ${formatPrefix(wanted)}`;
  }
  return null;
}

function samePrefix(a: Prefix, b: Prefix): boolean {
  return a.length === b.length && sameAddress(a.address, b.address);
}

/** Whether a gateway is another one in the same or a larger network. */
function takesIn(larger: Prefix, smaller: Prefix): boolean {
  return larger.length <= smaller.length && sameAddress(larger.address, smaller.address);
}

/**
 * Whether an address that a bridge has excludes a new gateway address: for IPv4 any other one, for IPv6 one of the same
 * subnet, as in the reference suite; other gateways of the same attachment never do.
 */
export function inTheWay(present: Prefix, wanted: Prefix, all: readonly Prefix[]): boolean {
  if (present.address.family !== wanted.address.family) return false;
  if (holdsPrefix(all, present)) return false;
  return wanted.address.family === 4 || overlap(present, wanted);
}

function conflict(link: string, found: Prefix, wanted: Prefix, users: readonly string[]): CniError {
  const reason =
    users.length === 0
      ? "the subnet was changed while the bridge was in use, or two networks share the bridge"
      : `it serves ${describeUsers(users)}; it goes by itself when they are gone`;
  return new CniError(
    CONFLICT,
    `failed to set bridge addr: "${link}" already has an IP address different from ${formatPrefix(wanted)}`,
    `it has ${formatPrefix(found)}: ${reason}; ` +
      `remove it with "ip address delete ${formatPrefix(found)} dev ${link}", name another bridge, or set "forceAddress": true`,
  );
}
