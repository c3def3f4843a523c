/** The veth pair of an attachment. */
import { formatMac } from "../../ip/mac.ts";
import { getLinkByName, type Link, listLinks, writeDeleteLink } from "../../netlink/link.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { ENODEV } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import { hostEndOf } from "../host-end.ts";
import type { Kernel } from "../kernel.ts";
import { findHostLink, removeHostLink, removeLink } from "../kinds/veth.ts";
import { type Attachment, aliasPrefix, attachmentNames, networkMac } from "../names.ts";
import { Owned, type Removal } from "../owned.ts";
import { ownerOf } from "../ownership.ts";

export class OwnedVeth extends Owned {
  override describe(): string {
    return "the container's interface";
  }

  /**
   * Works without the container's namespace; where there is one, a link of the interface's name that was made under another
   * name on the host (by another CNI suite, before this one was installed) goes too.
   */
  override remove(kernel: Kernel, removal: Removal): void {
    const names = attachmentNames(removal.attachment);
    if (removeHostLink(kernel, names.hostLink, names.alias)) return;
    const inside = ownLinkInside(kernel, removal);
    if (inside === null) return;
    writeDeleteLink(kernel.container, inside.index);
    const errno = kernel.container.attempt();
    if (errno !== 0 && errno !== ENODEV) throw new NetlinkError(errno, "", 0);
  }

  override sweep(kernel: Kernel, network: string, keep: readonly Attachment[]): void {
    for (const link of staleLinks(kernel, network, keep)) removeLink(kernel, link);
  }

  override commands(kernel: Kernel, removal: Removal): string[] {
    const names = attachmentNames(removal.attachment);
    const outside = findHostLink(kernel, names.hostLink, names.alias);
    if (outside !== null) return [`ip link delete ${shellWord(outside.name)}`];
    const inside = ownLinkInside(kernel, removal);
    if (inside === null || kernel.namespace === null) return [];
    return [commandIn("container", kernel.namespace.path, `ip link delete ${shellWord(inside.name)}`)];
  }

  override staleCommands(kernel: Kernel, network: string, keep: readonly Attachment[]): string[] {
    return staleLinks(kernel, network, keep).map((link) => `ip link delete ${shellWord(link.name)}`);
  }
}

/** The interface in the container's namespace, where it is this attachment's: a DEL may come late, and find another's. */
function ownLinkInside(kernel: Kernel, removal: Removal): Link | null {
  if (kernel.namespace === null) return null;
  const { ifname } = removal.attachment;
  const inside = getLinkByName(kernel.container, ifname);
  if (inside === null || inside.kind !== "veth") return null;
  const names = attachmentNames(removal.attachment);
  return ownerOf(names, ifname, removal.previous(), inside, hostEndOf(kernel, inside)) === "other" ? null : inside;
}

function staleLinks(kernel: Kernel, network: string, keep: readonly Attachment[]): Link[] {
  const kept = keep.map((attachment) => attachmentNames(attachment).hostLink);
  return listLinks(kernel.host, "veth", 0).filter((link) => belongsTo(link, network) && !kept.includes(link.name));
}

/**
 * Whether a link is of a network's attachments: by its alias; one that was never given any, because its ADD was killed, by
 * the network's half of its MAC.
 */
export function belongsTo(link: Link, network: string): boolean {
  if (link.alias !== "") return link.alias.startsWith(aliasPrefix(network));
  const isOurs = link.name.startsWith(link.kind === "ifb" ? "ifb" : "veth") && link.name.length === 15;
  return isOurs && link.mac.startsWith(formatMac(networkMac(network)).slice(0, 9));
}
