/** Whether kube-proxy translates connections to Services here, and whether traffic on bridges passes its rules. */
import { readSysctl } from "../host/sysctl.ts";
import type { Family } from "../ip/address.ts";
import { writeGetChain, writeGetTable } from "../netlink/nftables/queries.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";

/* enum in linux/netfilter.h */
const NFPROTO_IPV4 = 2;
const NFPROTO_IPV6 = 10;

/** Whether traffic on the bridges of this namespace passes the IP packet filter (br_netfilter). */
export function bridgedTrafficIsFiltered(family: Family): boolean {
  return readSysctl(["net", "bridge", bridgeSetting(family)]) === "1";
}

function bridgeSetting(family: Family): string {
  return family === 4 ? "bridge-nf-call-iptables" : "bridge-nf-call-ip6tables";
}

/**
 * A warning about Services that do not answer, else "": kube-proxy translates their addresses, but replies between
 * neighbours on a bridge do not pass its rules. kube-proxy is recognised by its chain (iptables and IPVS mode) or its table.
 * @param socket a NETLINK_NETFILTER socket
 */
export function serviceNote(socket: NetlinkSocket): string {
  for (const family of [4, 6] as Family[]) {
    const protocol = family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
    if (bridgedTrafficIsFiltered(family)) continue;
    writeGetChain(socket, protocol, "nat", "KUBE-SERVICES");
    writeGetTable(socket, protocol, "kube-proxy");
    if (socket.exchange(() => {}).length === 2) continue;
    return (
      `kube-proxy is at work, but net.bridge.${bridgeSetting(family)} is not 1: a Service does not answer whenever its ` +
      "endpoint is on the caller's own node; load br_netfilter and set it to 1"
    );
  }
  return "";
}
