/** Options of bridge ports (include/uapi/linux/if_link.h IFLA_BRPORT_*). Their VLANs are in vlan.ts. */
import { writeLinkHeader } from "./link.ts";
import {
  AF_UNSPEC,
  IFF_UP,
  IFLA_BRPORT_ISOLATED,
  IFLA_BRPORT_MODE,
  IFLA_IFALIAS,
  IFLA_INFO_SLAVE_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_LINKINFO,
  RTM_NEWLINK,
} from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

/** Writes a request for `ip link set LINK alias ALIAS up type bridge_slave hairpin on|off isolated on|off`. */
export function writePort(
  socket: NetlinkSocket,
  index: number,
  alias: string,
  hairpin: boolean,
  isolated: boolean,
): void {
  const writer = socket.request(RTM_NEWLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, IFF_UP, IFF_UP);
  writer.attributeText(IFLA_IFALIAS, alias);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeText(IFLA_INFO_SLAVE_KIND, "bridge");
  const data = writer.beginNested(IFLA_INFO_SLAVE_DATA);
  writer.attributeU8(IFLA_BRPORT_MODE, hairpin ? 1 : 0);
  writer.attributeU8(IFLA_BRPORT_ISOLATED, isolated ? 1 : 0);
  writer.endNested(data);
  writer.endNested(info);
  writer.end();
}

/** Writes a request for `bridge link set dev LINK hairpin on`. */
export function writeHairpin(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_NEWLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeText(IFLA_INFO_SLAVE_KIND, "bridge");
  const data = writer.beginNested(IFLA_INFO_SLAVE_DATA);
  writer.attributeU8(IFLA_BRPORT_MODE, 1);
  writer.endNested(data);
  writer.endNested(info);
  writer.end();
}
