/** DEL and GC: removes what an attachment owns, whatever is left of it, found by derived names and aliases alone. */

import { formatMac } from "../ip/mac.ts";
import { getLinkByIndex, getLinkByName, type Link, listLinks, writeDeleteLink } from "../netlink/link.ts";
import { hasClsact } from "../netlink/queueing.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { ENODEV } from "../sys/errno.ts";
import { type Kernel, kernelRefused } from "./kernel.ts";
import { removeFilters, removeLinks } from "./kinds/ifb.ts";
import { removeShaper } from "./kinds/shaper.ts";
import { removeHostLink, removeLink } from "./kinds/veth.ts";
import { type Attachment, aliasPrefix, attachmentNames, ifbName, networkMac, OWNER_MARK } from "./names.ts";
import type { Where } from "./objects.ts";

/**
 * Removes an attachment's links. Works without the container's namespace; where there is one, a link of the interface's
 * name that was made under another name on the host (by another CNI suite, before this one was installed) goes too.
 */
export function removeAttachment(kernel: Kernel, attachment: Attachment): void {
  const names = attachmentNames(attachment);
  try {
    if (removeHostLink(kernel, names.hostLink, names.alias) || kernel.namespace === null) return;
    const inside = getLinkByName(kernel.container, attachment.ifname);
    if (inside === null || inside.kind !== "veth" || isAnothers(kernel, inside, names.alias)) return;
    writeDeleteLink(kernel.container, inside.index);
    const errno = kernel.container.attempt();
    if (errno !== 0 && errno !== ENODEV) throw new NetlinkError(errno, "", 0);
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, `cannot remove ${attachment.ifname}`, "");
    throw error;
  }
}

/** Whether the other end says that the link is of another attachment: a DEL may come late, when the namespace has a new one. */
function isAnothers(kernel: Kernel, inside: Link, alias: string): boolean {
  const outside = getLinkByIndex(kernel.host, inside.peer);
  if (outside === null || outside.kind !== "veth" || outside.peer !== inside.index) return false;
  return outside.alias.startsWith(OWNER_MARK) && outside.alias !== alias;
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
