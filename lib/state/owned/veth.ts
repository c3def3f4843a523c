/** The veth pair of an attachment. */
import { formatMac } from "../../ip/mac.ts";
import { getLinkByName, type Link, listLinks, writeDeleteLink } from "../../netlink/link.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { ENODEV } from "../../sys/errno.ts";
import { hostEndOf } from "../host-end.ts";
import type { Kernel } from "../kernel.ts";
import { removeHostLink, removeLink } from "../kinds/veth.ts";
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
    const { attachment } = removal;
    const { ifname } = attachment;
    const names = attachmentNames(attachment);
    if (removeHostLink(kernel, names.hostLink, names.alias) || kernel.namespace === null) return;
    const inside = getLinkByName(kernel.container, ifname);
    if (inside === null || inside.kind !== "veth") return;
    /* A DEL may come late, when the namespace has another attachment. */
    if (ownerOf(names, ifname, removal.previous(), inside, hostEndOf(kernel, inside)) === "other") return;
    writeDeleteLink(kernel.container, inside.index);
    const errno = kernel.container.attempt();
    if (errno !== 0 && errno !== ENODEV) throw new NetlinkError(errno, "", 0);
  }

  override sweep(kernel: Kernel, network: string, keep: readonly Attachment[]): void {
    const kept = keep.map((attachment) => attachmentNames(attachment).hostLink);
    for (const link of listLinks(kernel.host, "veth", 0)) {
      if (belongsTo(link, network) && !kept.includes(link.name)) removeLink(kernel, link);
    }
  }
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
