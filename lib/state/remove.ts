/** DEL and GC: removes what an attachment owns, whatever is left of it, found by derived names and aliases alone. */
import type { Result } from "../cni/result.ts";
import { formatMac } from "../ip/mac.ts";
import { getLinkByName, type Link, listLinks, writeDeleteLink } from "../netlink/link.ts";
import { hasClsact } from "../netlink/queueing.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { listFilters } from "../netlink/traffic-filter.ts";
import { ENODEV } from "../sys/errno.ts";
import { hostEndOf } from "./host-end.ts";
import { type Kernel, kernelRefused } from "./kernel.ts";
import { removeFilters, removeLinks } from "./kinds/ifb.ts";
import { removeShaper } from "./kinds/shaper.ts";
import { removeHostLink, removeLink } from "./kinds/veth.ts";
import { type Attachment, aliasPrefix, attachmentNames, ifbName, networkMac } from "./names.ts";
import type { Where } from "./objects.ts";
import { ownerOf } from "./ownership.ts";

/**
 * Removes an attachment's links. Works without the container's namespace; where there is one, a link of the interface's
 * name that was made under another name on the host (by another CNI suite, before this one was installed) goes too.
 * @param previous the attachment's previous result, asked for only if its link is not found by name; null without one
 */
export function removeAttachment(kernel: Kernel, attachment: Attachment, previous: () => Result | null): void {
  const names = attachmentNames(attachment);
  const { ifname } = attachment;
  try {
    if (removeHostLink(kernel, names.hostLink, names.alias) || kernel.namespace === null) return;
    const inside = getLinkByName(kernel.container, ifname);
    if (inside === null || inside.kind !== "veth") return;
    /* A DEL may come late, when the namespace has another attachment. */
    if (ownerOf(names, ifname, previous(), inside, hostEndOf(kernel, inside)) === "other") return;
    writeDeleteLink(kernel.container, inside.index);
    const errno = kernel.container.attempt();
    if (errno !== 0 && errno !== ENODEV) throw new NetlinkError(errno, "", 0);
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, `cannot remove ${ifname}`, "");
    throw error;
  }
}

/** Removes the links of a network's attachments other than the valid ones. */
export function removeStaleAttachments(kernel: Kernel, network: string, valid: readonly Attachment[]): void {
  const keep = valid.map((attachment) => attachmentNames(attachment).hostLink);
  try {
    for (const link of listLinks(kernel.host, "veth", 0)) {
      if (belongsTo(link, network) && !keep.includes(link.name)) removeLink(kernel, link);
    }
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, `cannot clean up network ${network}`, "");
    throw error;
  }
}

/** A link that an attachment's packets pass, and the namespace it is in. */
export interface ShapedLink {
  readonly where: Where;
  readonly index: number;
}

/**
 * Removes what limits an attachment's rate: the shapers and filters on its links as far as these are still known, and the
 * ifb links, also those that `foreign` names.
 */
export function removeShaping(
  kernel: Kernel,
  attachment: Attachment,
  shaped: readonly ShapedLink[],
  foreign: readonly string[],
): void {
  const names = attachmentNames(attachment);
  const own = [ifbName(names, "egress"), ifbName(names, "ingress")];
  try {
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
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, "cannot remove the rate limit", "");
    throw error;
  }
}

function ifbLinks(kernel: Kernel, where: Where, names: readonly string[]): Link[] {
  const links: Link[] = [];
  for (const name of names) {
    const link = getLinkByName(kernel.socket(where), name);
    if (link !== null && link.kind === "ifb") links.push(link);
  }
  return links;
}

/** Whether a link's packets are sent through one of the attachment's ifb links. */
export function isShapedFor(kernel: Kernel, attachment: Attachment, link: ShapedLink): boolean {
  const { where, index } = link;
  const names = attachmentNames(attachment);
  const ifbs: number[] = [];
  for (const ifb of ifbLinks(kernel, where, [ifbName(names, "egress"), ifbName(names, "ingress")])) {
    ifbs.push(ifb.index);
  }
  if (ifbs.length === 0) return false;
  const filters = listFilters(kernel.socket(where), index, "ingress");
  filters.push(...listFilters(kernel.socket(where), index, "egress"));
  return filters.some((filter) => ifbs.includes(filter.through));
}

/** Removes the ifb links of a network's attachments other than the valid ones. */
export function removeStaleShaping(kernel: Kernel, network: string, valid: readonly Attachment[]): void {
  const keep: string[] = [];
  for (const attachment of valid) {
    const names = attachmentNames(attachment);
    keep.push(ifbName(names, "egress"), ifbName(names, "ingress"));
  }
  try {
    const stale = listLinks(kernel.host, "ifb", 0).filter(
      (link) => belongsTo(link, network) && !keep.includes(link.name),
    );
    removeLinks(kernel.host, stale);
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, `cannot clean up network ${network}`, "");
    throw error;
  }
}

/** By its alias; a link that was never given one, because its ADD was killed, by the network's half of its MAC. */
function belongsTo(link: Link, network: string): boolean {
  if (link.alias !== "") return link.alias.startsWith(aliasPrefix(network));
  const isOurs = link.name.startsWith(link.kind === "ifb" ? "ifb" : "veth") && link.name.length === 15;
  return isOurs && link.mac.startsWith(macPrefix(network));
}

function macPrefix(network: string): string {
  return formatMac(networkMac(network)).slice(0, 9);
}
