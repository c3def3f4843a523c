/** Who decides about forwarded packets on a node, beside our own tables. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import type { Family } from "../ip/address.ts";
import { NFPROTO_INET } from "../netlink/nftables/objects.ts";
import { writeGetTable } from "../netlink/nftables/queries.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { findIptables } from "./iptables.ts";
import { hasForwardChain } from "./iptables-kernel.ts";

/** The table that firewalld makes, unless it is set to use iptables. */
const FIREWALLD_TABLE = "firewalld";

/**
 * Makes sure that the packets that iptables accepts are not judged by firewalld as well: only firewalld itself lets anything
 * through its own table.
 * @param wanted the backend that the configuration names; "" for none
 * @throws CniError 100 if it is firewalld's to decide
 */
export function refuseFirewalld(socket: NetlinkSocket, wanted: string): void {
  if (wanted === "iptables" || (wanted === "" && !hasTable(socket, NFPROTO_INET, FIREWALLD_TABLE))) return;
  throw new CniError(
    KERNEL_REFUSED,
    wanted === "" ? "firewalld decides about forwarded packets on this node" : "the backend firewalld is not supported",
    'Podwire does not speak to firewalld. Let its zone have the pods\' subnet (firewall-cmd --permanent --zone=trusted --add-source=SUBNET; firewall-cmd --reload), and set "backend": "iptables" for the firewall plugin',
  );
}

function hasTable(socket: NetlinkSocket, family: number, table: string): boolean {
  writeGetTable(socket, family, table);
  return socket.exchange(() => {}).length === 0;
}

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
