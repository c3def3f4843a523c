/** Which addresses are local, according to the routing tables (include/uapi/linux/rtnetlink.h). */
import type { Address } from "../ip/address.ts";
import { socketFamily } from "./address.ts";
import { readU8 } from "./message-reader.ts";
import { RTA_DST, RTM_GETROUTE, RTN_LOCAL } from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

/** How many queries are sent at once. */
const AT_ONCE = 256;

/**
 * Whether packets to each address are for this host: `fib daddr type local` in nftables. This includes 127.0.0.0/8 and
 * networks with a route of type "local".
 * @param socket a NETLINK_ROUTE socket
 * @throws SystemError
 */
export function areLocal(socket: NetlinkSocket, addresses: readonly Address[]): boolean[] {
  const local: boolean[] = [];
  while (local.length < addresses.length) local.push(false);
  for (let from = 0; from < addresses.length; from += AT_ONCE) {
    for (const address of addresses.slice(from, from + AT_ONCE)) writeLookup(socket, address);
    /* The kernel refuses the query for an address without a route, which is not local. */
    socket.exchange((message, index) => {
      local[from + index] = readU8(message.body, 7) === RTN_LOCAL;
    });
  }
  return local;
}

/** struct rtmsg: family, destination length, source length, TOS, table, protocol, scope, type, flags. */
function writeLookup(socket: NetlinkSocket, address: Address): void {
  const writer = socket.query(RTM_GETROUTE);
  writer.u8(socketFamily(address));
  writer.u8(address.bytes.length * 8);
  for (let i = 0; i < 10; i += 1) writer.u8(0);
  writer.attributeBytes(RTA_DST, address.bytes);
  writer.end();
}
