/** The veth pair of an attachment. */
import { CniError, CONFLICT, KERNEL_REFUSED } from "../../errors.ts";
import { POD_LINK_GROUP, TRUNK_LINK_GROUP } from "../../filter/ruleset.ts";
import { quietly } from "../../host/io.ts";
import { formatMac } from "../../ip/mac.ts";
import { getLinkByName, type Link, writeDeleteLink, writeNewVeth } from "../../netlink/link.ts";
import { unknownKind } from "../../netlink/link-kind.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { EEXIST, ENODEV, EXFULL } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import { hostEndOf } from "../host-end.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** The veth pair of an attachment: one end on the host, as a port of a bridge or by itself, the other in the container. */
export interface VethObject {
  readonly kind: "veth";
  readonly name: string;
  readonly mac: Uint8Array;
  /** The bridge that the host end is a port of; "" for none. */
  readonly bridge: string;
  /** Whether the container may send tagged frames. */
  readonly trunk: boolean;
  /** Of both ends when they are made. */
  readonly mtu: number;
  readonly containerName: string;
  readonly containerMac: Uint8Array;
  /** What the container's end has by now: plugins behind this one may have changed it. */
  readonly containerMtu: number;
  readonly alias: string;
}

export class VethKind extends Kind {
  readonly #object: VethObject;

  constructor(object: VethObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `make veth pair ${this.#object.name} with ${this.#object.containerName} in the container`;
  }

  override commands(netns: string): string[] {
    const { name, mac, mtu, bridge, trunk, containerName, containerMac } = this.#object;
    const size = mtu > 0 ? ` mtu ${mtu}` : "";
    return [
      `ip link add ${shellWord(name)} address ${formatMac(mac)}${size} group ${trunk ? TRUNK_LINK_GROUP : POD_LINK_GROUP}${bridge === "" ? "" : ` master ${shellWord(bridge)}`}` +
        ` type veth peer name ${shellWord(containerName)} address ${formatMac(containerMac)}${size} netns ${shellWord(netns)}`,
    ];
  }

  override make(kernel: Kernel): void {
    applyVeth(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInVeth(kernel, this.#object);
  }

  override undo(kernel: Kernel): void {
    removeHostLink(kernel, this.#object.name, this.#object.alias);
  }
}

/** Makes the pair, both ends down. The namespace takes its end with it when it goes. */
function applyVeth(kernel: Kernel, object: VethObject): void {
  try {
    create(kernel, object);
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    if (error.errno === EXFULL) throw bridgeFull(object.bridge);
    const unknown = unknownKind(error, "veth pairs", "CONFIG_VETH (module veth)");
    if (unknown !== null) throw unknown;
    if (error.errno !== EEXIST) throw error;
    removeStale(kernel, object);
    create(kernel, object);
  }
}

/** Only a refusal by the kernel means that there is no pair; after any other failure it has to be looked for and removed. */
function create(kernel: Kernel, object: VethObject): void {
  let made = false;
  try {
    writeNewVeth(kernel.host, {
      name: object.name,
      mac: object.mac,
      mtu: object.mtu,
      group: object.trunk ? TRUNK_LINK_GROUP : POD_LINK_GROUP,
      master: object.bridge === "" ? 0 : kernel.index("host", object.bridge),
      peerName: object.containerName,
      peerMac: object.containerMac,
      peerNamespaceFd: kernel.namespace === null ? -1 : kernel.namespace.fd,
    });
    kernel.host.run();
    made = true;
    kernel.remember("container", object.containerName, kernel.link("host", object.name).peer);
  } catch (error) {
    if (made || !(error instanceof NetlinkError)) {
      quietly(`remove ${object.name}`, () => removeHostLink(kernel, object.name, object.alias));
    }
    throw error;
  }
}

/**
 * One of the names is taken. In the container that is an error. On the host the name is derived from the attachment, so
 * the link is what an earlier ADD of the same attachment left: its namespace was replaced, or the call was killed.
 */
function removeStale(kernel: Kernel, object: VethObject): void {
  if (getLinkByName(kernel.container, object.containerName) !== null) {
    throw new CniError(
      CONFLICT,
      `container veth name ("${object.containerName}") peer provided ("${object.name}") already exists`,
      `the namespace has a link ${object.containerName} already; DEL the attachment before adding it again`,
    );
  }
  if (removeHostLink(kernel, object.name, object.alias)) return;
  throw new CniError(
    CONFLICT,
    `host link ${object.name} exists and is not this attachment's`,
    `look at it with: ip -details link show ${object.name}`,
  );
}

/** Removes the host end of an attachment if it is there, and with it the container's end. False if it is not ours or not there. */
export function removeHostLink(kernel: Kernel, name: string, alias: string): boolean {
  const link = findHostLink(kernel, name, alias);
  if (link === null) return false;
  removeLink(kernel, link);
  return true;
}

/** The host end of an attachment; null if it is not there or not ours. */
export function findHostLink(kernel: Kernel, name: string, alias: string): Link | null {
  const link = getLinkByName(kernel.host, name);
  if (link === null || link.kind !== "veth") return null;
  /* A call killed between making the link and naming its owner leaves no alias; the name is evidence enough. */
  return link.alias === alias || link.alias === "" ? link : null;
}

/** Removes a link of the host; gone already is fine. */
export function removeLink(kernel: Kernel, link: Link): void {
  writeDeleteLink(kernel.host, link.index);
  const errno = kernel.host.attempt();
  if (errno !== 0 && errno !== ENODEV) throw new NetlinkError(errno, `remove link ${link.name}`, 0);
}

/** What is different about the pair; null if nothing is. Empty Ethernet addresses and an MTU of 0 are not compared. */
function differenceInVeth(kernel: Kernel, object: VethObject): string | null {
  const inside = getLinkByName(kernel.container, object.containerName);
  if (inside === null) return `${object.containerName} is missing in the container`;
  if (inside.kind !== "veth") return `${object.containerName} in the container is a ${inside.kind}, not a veth`;
  const different = differenceInEnd(inside, object.containerMac, object.containerMtu);
  if (different !== null) return different;
  const outside = hostEndOf(kernel, inside);
  if (outside === null) return `the host end of ${object.containerName} is missing`;
  if (object.name !== "" && outside.name !== object.name) {
    return `the host end of ${object.containerName} is ${outside.name}, expected ${object.name}`;
  }
  kernel.remember("container", object.containerName, inside.index);
  if (object.bridge === "" && outside.master !== 0) return `${outside.name} has become a port of another link`;
  if (object.bridge !== "" && outside.master !== kernel.index("host", object.bridge)) {
    return `${outside.name} is no port of bridge ${object.bridge}${outside.master === 0 ? "" : " but of another link"}`;
  }
  return differenceInEnd(outside, object.mac, object.mtu);
}

function differenceInEnd(link: Link, wantedMac: Uint8Array, mtu: number): string | null {
  const mac = formatMac(wantedMac);
  if (mac !== "" && link.mac !== mac) return differs(link.name, "MAC", mac, link.mac);
  return mtu > 0 && link.mtu !== mtu ? differs(link.name, "MTU", `${mtu}`, `${link.mtu}`) : null;
}

function differs(link: string, what: string, expected: string, found: string): string {
  return `${link} has ${what} ${found}, expected ${expected}`;
}

function bridgeFull(bridge: string): CniError {
  return new CniError(
    KERNEL_REFUSED,
    `bridge ${bridge} is full`,
    "the kernel allows 1024 ports a bridge (BR_MAX_PORTS); use a second network with another bridge, or fewer pods a node",
  );
}
