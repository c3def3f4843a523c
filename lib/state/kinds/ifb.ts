/** The links that packets are sent through to be shaped, and the filters that send them there. */
import { CniError, CONFLICT } from "../../errors.ts";
import { writeNamedUp, writeNewIfb, writeNoAddress } from "../../netlink/ifb.ts";
import { getLinkByName, type Link, writeDeleteLink } from "../../netlink/link.ts";
import { getRoot, writeClsact } from "../../netlink/queueing.ts";
import { NetlinkError, type NetlinkSocket } from "../../netlink/socket.ts";
import {
  describeKeys,
  ETH_P_8021AD,
  ETH_P_8021Q,
  type Hook,
  listFilters,
  type TrafficFilter,
  writeDeleteFilters,
  writeMatchAll,
  writeU32,
} from "../../netlink/traffic-filter.ts";
import { EEXIST, ENODEV, ENOENT, EOPNOTSUPP } from "../../sys/errno.ts";
import type { Kernel } from "../kernel.ts";
import type { IfbObject, RedirectObject } from "../objects.ts";
import { differenceInRoot, missing, writeShaper } from "./shaper.ts";

/** The types of tag that the two last ranks of a `RedirectMatch` are for. */
const TAGS = [ETH_P_8021Q, ETH_P_8021AD];
const FIRST_TAG = 3;
const PRIORITIES = FIRST_TAG + TAGS.length;

/**
 * The first of the priorities of our filters: for IPv4 subnets, IPv6 subnets, all packets, and two for tagged ones. They are behind those
 * that others attach, and behind those that the kernel numbers (49152 and below): what comes back from an ifb is not shown
 * to filters again, so whoever decides about packets has to come first. The hooks have different ones, because the kernel
 * lists u32 filters of one priority with those of the other hook.
 */
export function firstPriority(hook: Hook): number {
  return hook === "ingress" ? 60_000 : 60_010;
}

function isOurs(hook: Hook, priority: number): boolean {
  return priority >= firstPriority(hook) && priority < firstPriority(hook) + PRIORITIES;
}

export function applyIfb(kernel: Kernel, object: IfbObject): void {
  const socket = kernel.socket(object.where);
  writeNewIfb(socket, object);
  let errno = 0;
  try {
    errno = socket.attempt();
  } catch (error) {
    /* The answer is lost: the link may be there. */
    takeBackIfb(kernel, object);
    throw error;
  }
  if (errno === EOPNOTSUPP) throw missingIfb();
  if (errno === EEXIST) throw taken(object.name);
  if (errno !== 0) throw new NetlinkError(errno, "", 0);
  try {
    const index = kernel.link(object.where, object.name).index;
    writeNoAddress(socket, index);
    writeNamedUp(socket, index, object.alias);
    const [, refused = 0] = socket.executeAll(() => {});
    if (refused !== 0) throw new NetlinkError(refused, "", 0);
    writeShaper(socket, index, object.bucket, object.queue);
  } catch (error) {
    takeBackIfb(kernel, object);
    throw error;
  }
}

export function missingIfb(): CniError {
  return missing("ifb links", "CONFIG_IFB (module ifb)");
}

/** Removes the link after a failure. What fails here must not hide the first cause. */
export function takeBackIfb(kernel: Kernel, object: IfbObject): void {
  try {
    const link = getLinkByName(kernel.socket(object.where), object.name);
    if (link !== null && link.kind === "ifb") removeLinks(kernel.socket(object.where), [link]);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}

export function differenceInIfb(kernel: Kernel, object: IfbObject): string | null {
  const socket = kernel.socket(object.where);
  const link = getLinkByName(socket, object.name);
  if (link === null) return `${object.name}, through which the container's packets are shaped, is missing`;
  if (link.kind !== "ifb") return `${object.name} is a ${link.kind}, not an ifb`;
  if (!link.up) return `${object.name} is down`;
  kernel.note(object.where, link);
  return differenceInRoot(getRoot(socket, link.index), object.name, object.bucket);
}

export function applyRedirect(kernel: Kernel, object: RedirectObject): void {
  const socket = kernel.socket(object.where);
  const index = kernel.index(object.where, object.link);
  writeClsact(socket, index);
  const errno = socket.attempt();
  if (errno === ENOENT) throw missingClsact();
  if (errno !== 0 && errno !== EEXIST) throw new NetlinkError(errno, "", 0);
  try {
    writeFilters(socket, index, filtersOf(kernel, object));
  } catch (error) {
    takeBackRedirect(kernel, object);
    throw error;
  }
}

export function missingClsact(): CniError {
  return missing("the queueing discipline clsact", "CONFIG_NET_SCH_INGRESS (module sch_ingress)");
}

/** Attaches filters; those for all packets are matchall where the kernel has it, else u32 that matches anything. */
export function writeFilters(socket: NetlinkSocket, index: number, filters: readonly TrafficFilter[]): void {
  let refused: NetlinkError | null = null;
  for (const filter of filters) {
    if (filter.subnet === null) {
      writeMatchAll(socket, index, filter);
      refused = attempt(socket);
      if (refused === null) continue;
      if (refused.errno !== ENOENT || refused.text.includes("action")) break;
    }
    writeU32(socket, index, filter);
    refused = attempt(socket);
    if (refused !== null) break;
  }
  if (refused === null) return;
  if (refused.errno !== ENOENT) throw refused;
  /* The kernel says "Failed to load TC action module" or "TC classifier not found". */
  if (refused.text.includes("action")) throw missing("the action mirred", "CONFIG_NET_ACT_MIRRED (module act_mirred)");
  throw missing("filters of kind u32", "CONFIG_NET_CLS_U32 (module cls_u32); without subnets matchall will do, too");
}

function attempt(socket: NetlinkSocket): NetlinkError | null {
  try {
    socket.run();
    return null;
  } catch (error) {
    if (error instanceof NetlinkError) return error;
    throw error;
  }
}

/** Detaches the filters after a failure. What fails here must not hide the first cause. */
export function takeBackRedirect(kernel: Kernel, object: RedirectObject): void {
  try {
    removeFilters(kernel.socket(object.where), kernel.index(object.where, object.link), object.hook);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}

/** Detaches our filters from a hook; none there is fine. The place for filters stays, since others may be using it. */
export function removeFilters(socket: NetlinkSocket, index: number, hook: Hook): void {
  for (let i = 0; i < PRIORITIES; i += 1) writeDeleteFilters(socket, index, hook, firstPriority(hook) + i);
  socket.executeAll(() => {});
}

function filtersOf(kernel: Kernel, object: RedirectObject): TrafficFilter[] {
  const through = kernel.index(object.where, object.ifb);
  return object.matches.map((match) => ({
    hook: object.hook,
    priority: firstPriority(object.hook) + match.rank,
    subnet: match.subnet,
    tag: match.rank < FIRST_TAG ? 0 : (TAGS[match.rank - FIRST_TAG] ?? 0),
    end: match.end,
    through: match.shaped ? through : 0,
  }));
}

export function differenceInRedirect(kernel: Kernel, object: RedirectObject): string | null {
  const socket = kernel.socket(object.where);
  const found = listFilters(socket, kernel.index(object.where, object.link), object.hook);
  const ours = found.filter((filter) => isOurs(object.hook, filter.priority));
  for (const wanted of filtersOf(kernel, object)) {
    const keys = describeKeys(wanted);
    const filter = ours.find((other) => other.priority === wanted.priority && other.keys === keys);
    if (filter === undefined) return `${object.link} lacks the filter that sends its packets through ${object.ifb}`;
    if (filter.through !== wanted.through) {
      return `a filter of ${object.link} sends packets through ${linkName(filter.through)}, expected ${linkName(wanted.through)} (${object.ifb})`;
    }
  }
  return ours.length > object.matches.length ? `${object.link} has more filters than it was given` : null;
}

function linkName(index: number): string {
  return index === 0 ? "no other link" : `link ${index}`;
}

function taken(name: string): CniError {
  return new CniError(
    CONFLICT,
    `link ${name} exists and is not this attachment's`,
    `look at it with: ip -details link show ${name}`,
  );
}

/** Removes links, all in one send; those that are gone already are fine. */
export function removeLinks(socket: NetlinkSocket, links: readonly Link[]): void {
  for (const link of links) writeDeleteLink(socket, link.index);
  for (const errno of socket.executeAll(() => {})) {
    if (errno !== 0 && errno !== ENODEV) throw new NetlinkError(errno, "remove an ifb link", 0);
  }
}
