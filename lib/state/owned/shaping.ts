/** What limits an attachment's rate: the shapers and filters on its links, and the ifb links that packets are sent through. */
import { getLinkByIndex, getLinkByName, type Link, listLinks } from "../../netlink/link.ts";
import { hasClsact } from "../../netlink/qdisc.ts";
import { listFilters, type TcHook } from "../../netlink/tc-filter.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import { hostEndOf } from "../host-end.ts";
import type { Kernel, Where } from "../kernel.ts";
import { removeLinks } from "../kinds/ifb.ts";
import { ownFilters, removeFilters } from "../kinds/redirect.ts";
import { hasShaper, removeShaper } from "../kinds/shaper.ts";
import { type Attachment, attachmentNames, ifbName } from "../names.ts";
import { Owned, type Removal } from "../owned.ts";
import { ownerOf } from "../ownership.ts";
import { belongsTo } from "./veth.ts";

/** A link that an attachment's packets pass, and the namespace it is in. */
export interface ShapedLink {
  readonly where: Where;
  readonly index: number;
}

export class OwnedShaping extends Owned {
  readonly #foreign: readonly string[];

  /** @param foreign further ifb links that are the attachment's, by names of other suites */
  constructor(foreign: readonly string[]) {
    super();
    this.#foreign = foreign;
  }

  override describe(): string {
    return "the rate limit";
  }

  /** Needs no limits in the configuration; what is left of the links on which packets were shaped is cleared, too. */
  override remove(kernel: Kernel, removal: Removal): void {
    removeShaping(kernel, removal.attachment, ownLinks(kernel, removal), this.#foreign);
  }

  override sweep(kernel: Kernel, network: string, keep: readonly Attachment[]): void {
    removeLinks(kernel.host, staleLinks(kernel, network, keep));
  }

  override commands(kernel: Kernel, removal: Removal): string[] {
    const { attachment } = removal;
    const lines: string[] = [];
    const own = ifbNames(attachment);
    const netns = kernel.namespace === null ? "" : kernel.namespace.path;
    for (const { where, index } of ownLinks(kernel, removal)) {
      const link = getLinkByIndex(kernel.socket(where), index);
      if (link === null) continue;
      for (const hook of ["ingress", "egress"] as TcHook[]) {
        for (const { priority } of ownFilters(kernel.socket(where), index, hook)) {
          lines.push(commandIn(where, netns, `tc filter delete dev ${shellWord(link.name)} ${hook} pref ${priority}`));
        }
      }
      if (hasShaper(kernel.socket(where), index)) {
        lines.push(commandIn(where, netns, `tc qdisc delete dev ${shellWord(link.name)} root`));
      }
    }
    for (const { name } of ifbLinks(kernel, "host", [...own, ...this.#foreign]))
      lines.push(`ip link delete ${shellWord(name)}`);
    if (kernel.namespace !== null) {
      for (const { name } of ifbLinks(kernel, "container", own)) {
        lines.push(commandIn("container", netns, `ip link delete ${shellWord(name)}`));
      }
    }
    return lines;
  }

  override staleCommands(kernel: Kernel, network: string, keep: readonly Attachment[]): string[] {
    return staleLinks(kernel, network, keep).map((link) => `ip link delete ${shellWord(link.name)}`);
  }
}

function staleLinks(kernel: Kernel, network: string, keep: readonly Attachment[]): Link[] {
  const kept: string[] = [];
  for (const attachment of keep) kept.push(...ifbNames(attachment));
  return listLinks(kernel.host, "ifb", 0).filter((link) => belongsTo(link, network) && !kept.includes(link.name));
}

/** The links on which the attachment's limits are, and not those of another one that the namespace may have by now. */
function ownLinks(kernel: Kernel, removal: Removal): ShapedLink[] {
  const { attachment } = removal;
  const names = attachmentNames(attachment);
  const inside = kernel.namespace === null ? null : getLinkByName(kernel.container, attachment.ifname);
  if (inside !== null) {
    const outside = hostEndOf(kernel, inside);
    const links: ShapedLink[] = [{ where: "container", index: inside.index }];
    if (outside !== null) links.push({ where: "host", index: outside.index });
    const owner = ownerOf(names, attachment.ifname, removal.previous(), inside, outside);
    /* In doubt they are not: their limits go with them, when the plugin that made them gets its DEL. */
    if (owner === "own") return links;
    if (owner === "unknown" && areShapedFor(kernel, attachment, links)) return links;
  }
  const outside = getLinkByName(kernel.host, names.hostLink);
  if (outside === null || outside.kind !== "veth" || outside.alias !== names.alias) return [];
  return [{ where: "host", index: outside.index }];
}

/**
 * Removes the shapers and filters on links as far as these are still known, and the ifb links, also those that `foreign`
 * names.
 */
export function removeShaping(
  kernel: Kernel,
  attachment: Attachment,
  shaped: readonly ShapedLink[],
  foreign: readonly string[],
): void {
  const own = ifbNames(attachment);
  const found = ifbLinks(kernel, "host", [...own, ...foreign]);
  for (const { where, index } of shaped) {
    const socket = kernel.socket(where);
    const inside = where === "container" ? ifbLinks(kernel, where, own) : [];
    /* Also without an ifb: packets that are sent through one that is gone go nowhere. */
    if (hasClsact(socket, index)) {
      removeFilters(socket, index, "ingress");
      removeFilters(socket, index, "egress");
    }
    removeShaper(socket, index);
    removeLinks(socket, inside);
  }
  const lookedInside = kernel.namespace === null || shaped.some(({ where }) => where === "container");
  if (!lookedInside) removeLinks(kernel.container, ifbLinks(kernel, "container", own));
  removeLinks(kernel.host, found);
}

function ifbNames(attachment: Attachment): string[] {
  const names = attachmentNames(attachment);
  return [ifbName(names, "egress"), ifbName(names, "ingress")];
}

function ifbLinks(kernel: Kernel, where: Where, names: readonly string[]): Link[] {
  const links: Link[] = [];
  for (const name of names) {
    const link = getLinkByName(kernel.socket(where), name);
    if (link !== null && link.kind === "ifb") links.push(link);
  }
  return links;
}

/** Whether packets of some of the links are sent through one of the attachment's ifb links. */
function areShapedFor(kernel: Kernel, attachment: Attachment, links: readonly ShapedLink[]): boolean {
  for (const link of links) {
    if (isShapedFor(kernel, attachment, link)) return true;
  }
  return false;
}

function isShapedFor(kernel: Kernel, attachment: Attachment, link: ShapedLink): boolean {
  const { where, index } = link;
  const ifbs: number[] = [];
  for (const ifb of ifbLinks(kernel, where, ifbNames(attachment))) ifbs.push(ifb.index);
  if (ifbs.length === 0) return false;
  const filters = listFilters(kernel.socket(where), index, "ingress");
  filters.push(...listFilters(kernel.socket(where), index, "egress"));
  return filters.some((filter) => ifbs.includes(filter.through));
}
