/** The links that packets are sent through to hold a rate. */
import { CniError, CONFLICT } from "../../errors.ts";
import { quietly } from "../../host/io.ts";
import { formatMac } from "../../ip/mac.ts";
import { writeNamedUp, writeNewIfb, writeNoAddress } from "../../netlink/ifb.ts";
import { getLinkByName, type Link, writeDeleteLink } from "../../netlink/link.ts";
import { type FairQueue, getRoot, type TokenBucket } from "../../netlink/qdisc.ts";
import { NetlinkError, type NetlinkSocket } from "../../netlink/socket.ts";
import { EEXIST, ENODEV, EOPNOTSUPP } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import { commandIn, shaperCommands } from "../commands.ts";
import type { Kernel, Where } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { differenceInRoot, missing, writeShaper } from "./shaper.ts";

/** A link that an attachment's packets are sent through to hold a rate; see `redirect`. */
export interface IfbObject {
  readonly kind: "ifb";
  readonly where: Where;
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly alias: string;
  readonly bucket: TokenBucket;
  readonly queue: FairQueue;
}

export class IfbKind extends Kind {
  readonly #object: IfbObject;

  constructor(object: IfbObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `make ifb link ${this.#object.name}`;
  }

  override commands(netns: string): string[] {
    const { where, name, mac, mtu, alias, bucket, queue } = this.#object;
    const lines = [
      `ip link add ${shellWord(name)} address ${formatMac(mac)} mtu ${mtu} type ifb`,
      `ip link set ${shellWord(name)} up alias ${shellWord(alias)}`,
      ...shaperCommands(name, bucket, queue),
    ];
    return lines.map((line) => commandIn(where, netns, line));
  }

  override make(kernel: Kernel): void {
    applyIfb(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInIfb(kernel, this.#object);
  }

  override undo(kernel: Kernel): void {
    removeIfb(kernel, this.#object);
  }
}

function applyIfb(kernel: Kernel, object: IfbObject): void {
  const socket = kernel.socket(object.where);
  writeNewIfb(socket, object);
  let errno = 0;
  try {
    errno = socket.attempt();
  } catch (error) {
    /* The answer is lost: the link may be there. */
    quietly(`remove ${object.name}`, () => removeIfb(kernel, object));
    throw error;
  }
  if (errno === EOPNOTSUPP) throw missingIfb();
  if (errno === EEXIST) throw taken(object.name);
  if (errno !== 0) throw new NetlinkError(errno, "", 0);
  try {
    const index = kernel.link(object.where, object.name).index;
    writeNoAddress(socket, index);
    writeNamedUp(socket, index, object.alias);
    for (const refusal of socket.exchange(() => {})) if (refusal.index === 1) throw refusal.copy();
    writeShaper(socket, index, object.bucket, object.queue);
  } catch (error) {
    quietly(`remove ${object.name}`, () => removeIfb(kernel, object));
    throw error;
  }
}

function missingIfb(): CniError {
  return missing("ifb links", "CONFIG_IFB (module ifb)");
}

function differenceInIfb(kernel: Kernel, object: IfbObject): string | null {
  const socket = kernel.socket(object.where);
  const link = getLinkByName(socket, object.name);
  if (link === null) return `${object.name}, through which the container's packets are shaped, is missing`;
  if (link.kind !== "ifb") return `${object.name} is a ${link.kind}, not an ifb`;
  if (!link.up) return `${object.name} is down`;
  kernel.note(object.where, link);
  return differenceInRoot(getRoot(socket, link.index), object.name, object.bucket);
}

function taken(name: string): CniError {
  return new CniError(
    CONFLICT,
    `link ${name} exists and is not this attachment's`,
    `look at it with: ip -details link show ${name}`,
  );
}

function removeIfb(kernel: Kernel, object: IfbObject): void {
  const link = getLinkByName(kernel.socket(object.where), object.name);
  if (link !== null && link.kind === "ifb") removeLinks(kernel.socket(object.where), [link]);
}

/** Removes links, all in one send; those that are gone already are fine. */
export function removeLinks(socket: NetlinkSocket, links: readonly Link[]): void {
  for (const link of links) writeDeleteLink(socket, link.index);
  for (const { errno } of socket.exchange(() => {})) {
    if (errno !== ENODEV) throw new NetlinkError(errno, "remove an ifb link", 0);
  }
}
