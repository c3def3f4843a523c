/** A link's root queueing discipline as a token bucket filter: what leaves by the link holds a rate. */

import { CniError, CONFLICT, KERNEL_REFUSED } from "../../errors.ts";
import {
  burstTicks,
  type FairQueue,
  getRoot,
  type Qdisc,
  SHAPER_HANDLE,
  type TokenBucket,
  writeDeleteRoot,
  writeFairQueue,
  writeTokenBucket,
} from "../../netlink/qdisc.ts";
import { NetlinkError, type NetlinkSocket } from "../../netlink/socket.ts";
import { EINVAL, ENODEV, ENOENT } from "../../sys/errno.ts";
import { commandIn, shaperCommands } from "../commands.ts";
import type { Kernel, Where } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** What leaves by a link holds a rate. */
export interface ShaperObject {
  readonly kind: "shaper";
  readonly where: Where;
  readonly link: string;
  readonly bucket: TokenBucket;
  readonly queue: FairQueue;
}

export class ShaperKind extends Kind {
  readonly #object: ShaperObject;

  constructor(object: ShaperObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `limit what leaves by ${this.#object.link}`;
  }

  override commands(netns: string): string[] {
    const { where, link, bucket, queue } = this.#object;
    return shaperCommands(link, bucket, queue).map((line) => commandIn(where, netns, line));
  }

  override make(kernel: Kernel): void {
    applyShaper(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInShaper(kernel, this.#object);
  }

  override undo(kernel: Kernel): void {
    removeShaper(kernel.socket(this.#object.where), kernel.index(this.#object.where, this.#object.link));
  }

  override undoneInDoubt(): boolean {
    return true;
  }
}

/** The kernel's arithmetic is rounded: what differs by less than a hundred thousandth is the same. */
const PRECISION = 1e-5;

function applyShaper(kernel: Kernel, object: ShaperObject): void {
  const socket = kernel.socket(object.where);
  const index = kernel.index(object.where, object.link);
  const root = getRoot(socket, index);
  if (root !== null && root.handle !== 0 && !isShaper(root)) throw taken(object.link, root);
  writeShaper(socket, index, object.bucket, object.queue);
}

/** Whether a root is one of ours, by its handle. */
function isShaper(root: Qdisc): boolean {
  return root.kind === "tbf" && root.handle === SHAPER_HANDLE;
}

/** Makes a token bucket filter a link's root, with a fair queue where the kernel has one, else with one for all bytes. */
export function writeShaper(socket: NetlinkSocket, index: number, bucket: TokenBucket, queue: FairQueue): void {
  writeTokenBucket(socket, index, bucket);
  writeFairQueue(socket, index, queue);
  for (const refusal of socket.exchange(() => {})) {
    const { errno, index: request } = refusal;
    if (request === 0 && errno === ENOENT) {
      throw missing("the queueing discipline tbf", "CONFIG_NET_SCH_TBF (module sch_tbf)");
    }
    if (request === 0) throw refusal.copy();
    if (errno !== ENOENT) throw new NetlinkError(errno, "fq_codel", 1);
  }
}

/** Whether a link's root is one of ours. */
export function hasShaper(socket: NetlinkSocket, index: number): boolean {
  const root = getRoot(socket, index);
  return root !== null && isShaper(root);
}

/** Gives a link its default root back if the one it has is a shaper. */
export function removeShaper(socket: NetlinkSocket, index: number): void {
  if (!hasShaper(socket, index)) return;
  writeDeleteRoot(socket, index);
  const errno = socket.attempt();
  if (errno !== 0 && errno !== ENOENT && errno !== EINVAL && errno !== ENODEV) throw new NetlinkError(errno, "", 0);
}

function differenceInShaper(kernel: Kernel, object: ShaperObject): string | null {
  const index = kernel.index(object.where, object.link);
  return differenceInRoot(getRoot(kernel.socket(object.where), index), object.link, object.bucket);
}

/** What is different about a link's root; null if nothing is. */
export function differenceInRoot(root: Qdisc | null, link: string, wanted: TokenBucket): string | null {
  const bucket = root?.bucket ?? null;
  if (bucket === null) {
    return `${link} has no rate limit: its queueing discipline is ${root === null ? "missing" : root.kind}, expected tbf`;
  }
  if (!same(bucket.rateBytesPerSecond, wanted.rateBytesPerSecond)) {
    return differs(link, "rate", wanted.rateBytesPerSecond, bucket.rateBytesPerSecond, "bytes a second");
  }
  const ticks = burstTicks(wanted);
  if (!same(bucket.burstTicks, ticks)) return differs(link, "burst", ticks, bucket.burstTicks, "ticks");
  if (!same(bucket.queueBytes, wanted.queueBytes)) {
    return differs(link, "queue (latency)", wanted.queueBytes, bucket.queueBytes, "bytes");
  }
  return null;
}

function same(a: number, b: number): boolean {
  return Math.abs(a - b) <= 2 + PRECISION * b;
}

function differs(link: string, what: string, expected: number, found: number, unit: string): string {
  return `${link} has a ${what} of ${found} ${unit}, expected ${expected}`;
}

function taken(link: string, root: Qdisc): CniError {
  return new CniError(
    CONFLICT,
    `${link} has a queueing discipline of somebody else's: ${root.kind}`,
    `it would have to go for the rate limit; look at it with: tc qdisc show dev ${link}`,
  );
}

/** The error for something that the kernel was built without. */
export function missing(what: string, option: string): CniError {
  return new CniError(
    KERNEL_REFUSED,
    `this kernel lacks ${what}`,
    `bandwidth limits need it: ${option}; load the module, or use a kernel that has it`,
  );
}
