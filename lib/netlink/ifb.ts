/** Intermediate functional blocks: links to which filters redirect packets, to shape them there (drivers/net/ifb.c). */

import { writeLinkHeader } from "./link.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import {
  AF_INET6,
  AF_UNSPEC,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_AF_SPEC,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_MTU,
  RTM_NEWLINK,
  RTM_SETLINK,
} from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;

/** The properties of a new ifb link. */
export interface NewIfb {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
}

/**
 * Writes a request for `ip link add NAME address MAC mtu MTU type ifb`. Refused with EEXIST if the name is taken, with
 * EOPNOTSUPP if the kernel has no ifb. A multicast MAC is refused with EADDRNOTAVAIL if the kernel has ifb: a test that
 * makes nothing.
 */
export function writeNewIfb(socket: NetlinkSocket, ifb: NewIfb): void {
  const writer = socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, ifb.name);
  writer.attributeBytes(IFLA_ADDRESS, ifb.mac);
  writer.attributeU32(IFLA_MTU, ifb.mtu);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeText(IFLA_INFO_KIND, "ifb");
  writer.endNested(info);
  writer.end();
}

/** Writes a request for `ip link set LINK alias ALIAS up`. */
export function writeNamedUp(socket: NetlinkSocket, index: number, alias: string): void {
  const writer = socket.request(RTM_SETLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, IFF_UP, IFF_UP);
  writer.attributeText(IFLA_IFALIAS, alias);
  writer.end();
}

/**
 * Writes a request for `ip link set LINK addrgenmode none`: no link-local IPv6 address. Refused without IPv6. A link that had
 * such an address takes twice as long to delete.
 */
export function writeNoAddress(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_SETLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  const families = writer.beginNested(IFLA_AF_SPEC);
  const ipv6 = writer.beginNested(AF_INET6);
  writer.attributeU8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  writer.endNested(ipv6);
  writer.endNested(families);
  writer.end();
}
