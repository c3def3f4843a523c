/** Who decides about forwarded packets on a node, beside our own tables. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import type { Family } from "../ip/address.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { findIptables } from "./iptables.ts";
import { hasForwardChain } from "./iptables-kernel.ts";

/**
 * The IP versions, of some, for which iptables has to be told to accept packets: where the node has its programs. A node
 * that has neither programs nor rules of iptables drops nothing there.
 * @throws CniError 100 if the kernel has rules of iptables, and the node lacks the programs
 */
export function judgedFamilies(socket: NetlinkSocket, families: readonly Family[]): Family[] {
  return families.filter((family) => {
    if (findIptables(family, "", "restore") !== null) return true;
    if (!hasForwardChain(socket, family)) return false;
    const program = family === 4 ? "iptables" : "ip6tables";
    throw new CniError(
      KERNEL_REFUSED,
      `forwarded packets pass rules of ${program}, and this node has no ${program}-restore`,
      "whether they drop pods' packets cannot be told: install iptables, so that the firewall plugin can have them accepted",
    );
  });
}
