/** Which addresses are the host's own, as the kernel's routing has it (include/uapi/linux/rtnetlink.h). */
import type { Address } from "../ip/address.ts";
import { socketFamily } from "./address.ts";
import { readU8 } from "./message-reader.ts";
import type { NetlinkSocket } from "./socket.ts";
import { RTA_DST, RTM_GETROUTE, RTN_LOCAL } from "./rtnetlink.ts";

/** So many questions are asked with one send. */
const AT_ONCE = 256;

/**
 * Tells for each address whether packets to it are for this host: what nftables calls `fib daddr type local`. That takes
 * in 127.0.0.0/8 and networks with a route of the type "local".
 * @param socket a NETLINK_ROUTE socket
 * @throws SystemError
 */
export function areLocal(socket: NetlinkSocket, addresses: readonly Address[]): boolean[] {
  const local: boolean[] = [];
  while (local.length < addresses.length) local.push(false);
  for (let from = 0; from < addresses.length; from += AT_ONCE) {
    for (const address of addresses.slice(from, from + AT_ONCE)) writeLookup(socket, address);
    /* An address without a route is refused, and not local. */
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
