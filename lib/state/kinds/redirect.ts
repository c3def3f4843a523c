/** The filters that send a link's packets through an ifb. */
import type { CniError } from "../../errors.ts";
import { quietly } from "../../host/io.ts";
import type { Prefix } from "../../ip/address.ts";
import { formatPrefix } from "../../ip/address.ts";
import { writeClsact } from "../../netlink/qdisc.ts";
import { NetlinkError, type NetlinkSocket } from "../../netlink/socket.ts";
import {
  describeKeys,
  ETH_P_8021AD,
  ETH_P_8021Q,
  type FoundTcFilter,
  listFilters,
  type TcFilter,
  type TcHook,
  writeDeleteFilters,
  writeMatchAll,
  writeU32,
} from "../../netlink/tc-filter.ts";
import { EEXIST, ENOENT } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import type { Kernel, Where } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { missing } from "./shaper.ts";

/** A link's packets, or those of some subnets, take the way through an ifb as they come in or go out. */
export interface RedirectObject {
  readonly kind: "redirect";
  readonly where: Where;
  readonly link: string;
  readonly ifb: string;
  readonly hook: TcHook;
  readonly matches: readonly RedirectMatch[];
}

/** One filter of a `redirect`; what no filter says anything about passes. */
export interface RedirectMatch {
  /** 0 for an IPv4 subnet, 1 for an IPv6 one, 2 for all packets, 3 and 4 for tagged ones: the kernel asks in this order. */
  readonly rank: 0 | 1 | 2 | 3 | 4;
  readonly subnet: Prefix | null;
  readonly end: TcFilter["end"];
  readonly shaped: boolean;
}

/** The types of tag that the two last ranks of a `RedirectMatch` are for. */
const TAGS = [ETH_P_8021Q, ETH_P_8021AD];
/** The protocols of the ranks, as tc names them. */
const PROTOCOLS: readonly string[] = ["ip", "ipv6", "all", "802.1Q", "802.1ad"];
const FIRST_TAG = 3;
const PRIORITIES = FIRST_TAG + TAGS.length;

/**
 * The first of the priorities of our filters: for IPv4 subnets, IPv6 subnets, all packets, and two for tagged ones. They are behind those
 * that others attach, and behind those that the kernel numbers (49152 and below): what comes back from an ifb is not shown
 * to filters again, so whoever decides about packets has to come first. The hooks have different ones, because the kernel
 * lists u32 filters of one priority with those of the other hook.
 */
function firstPriority(hook: TcHook): number {
  return hook === "ingress" ? 60_000 : 60_010;
}

function isOurs(hook: TcHook, priority: number): boolean {
  return priority >= firstPriority(hook) && priority < firstPriority(hook) + PRIORITIES;
}

export class RedirectKind extends Kind {
  readonly #object: RedirectObject;

  constructor(object: RedirectObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `send packets of ${this.#object.link} through ${this.#object.ifb}`;
  }

  override commands(netns: string): string[] {
    const { where, link, ifb, hook, matches } = this.#object;
    const command = (line: string): string => commandIn(where, netns, line);
    const lines = [command(`tc qdisc add dev ${shellWord(link)} clsact`)];
    for (const { rank, subnet, end, shaped } of matches) {
      const filter = `tc filter add dev ${shellWord(link)} ${hook} pref ${firstPriority(hook) + rank} protocol ${PROTOCOLS[rank] ?? ""}`;
      const action = shaped ? `action mirred egress redirect dev ${shellWord(ifb)}` : "classid 1:1";
      if (subnet === null) {
        /* As ADD does where the kernel has no matchall. */
        const everything = command(`${filter} u32 match u32 0 0 ${action}`);
        lines.push(`${command(`${filter} matchall ${action}`)} || ${everything}`);
        continue;
      }
      const ip = subnet.address.family === 6 ? "ip6" : "ip";
      const match = `match ${ip} ${end === "source" ? "src" : "dst"} ${formatPrefix(subnet)}`;
      lines.push(command(`${filter} u32 ${match} ${action}`));
    }
    return lines;
  }

  override make(kernel: Kernel): void {
    applyRedirect(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInRedirect(kernel, this.#object);
  }

  override undo(kernel: Kernel): void {
    removeRedirect(kernel, this.#object);
  }

  override undoneInDoubt(): boolean {
    return true;
  }
}

function applyRedirect(kernel: Kernel, object: RedirectObject): void {
  const socket = kernel.socket(object.where);
  const index = kernel.index(object.where, object.link);
  writeClsact(socket, index);
  const errno = socket.attempt();
  if (errno === ENOENT) throw missingClsact();
  if (errno !== 0 && errno !== EEXIST) throw new NetlinkError(errno, "", 0);
  try {
    writeFilters(socket, index, filtersOf(kernel, object));
  } catch (error) {
    quietly(`detach filters of ${object.link}`, () => removeRedirect(kernel, object));
    throw error;
  }
}

function missingClsact(): CniError {
  return missing("the queueing discipline clsact", "CONFIG_NET_SCH_INGRESS (module sch_ingress)");
}

/** Attaches filters; those for all packets are matchall where the kernel has it, else u32 that matches anything. */
function writeFilters(socket: NetlinkSocket, index: number, filters: readonly TcFilter[]): void {
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

function removeRedirect(kernel: Kernel, object: RedirectObject): void {
  removeFilters(kernel.socket(object.where), kernel.index(object.where, object.link), object.hook);
}

/** Detaches our filters from a hook; none there is fine. The place for filters stays, since others may be using it. */
export function removeFilters(socket: NetlinkSocket, index: number, hook: TcHook): void {
  for (let i = 0; i < PRIORITIES; i += 1) writeDeleteFilters(socket, index, hook, firstPriority(hook) + i);
  socket.exchange(() => {});
}

function filtersOf(kernel: Kernel, object: RedirectObject): TcFilter[] {
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

function differenceInRedirect(kernel: Kernel, object: RedirectObject): string | null {
  const socket = kernel.socket(object.where);
  const ours = ownFilters(socket, kernel.index(object.where, object.link), object.hook);
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

/** The filters of a hook that are ours. */
export function ownFilters(socket: NetlinkSocket, index: number, hook: TcHook): FoundTcFilter[] {
  return listFilters(socket, index, hook).filter((filter) => isOurs(hook, filter.priority));
}

function linkName(index: number): string {
  return index === 0 ? "no other link" : `link ${index}`;
}
