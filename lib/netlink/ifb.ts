/** Intermediate functional blocks: links whose queue other links' incoming packets are sent through (drivers/net/ifb.c). */
import { NLM_F_CREATE, NLM_F_EXCL } from "./codec.ts";
import { IFF_UP, RTM_SETLINK, writeLinkHeader } from "./link.ts";
import type { NetlinkSocket } from "./socket.ts";

const RTM_NEWLINK = 16;
const AF_UNSPEC = 0;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_INFO_KIND = 1;

/** What a new block is made with. */
export interface NewIfb {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
}

/**
 * Writes a request for a new block, down; refused with EEXIST if the name is taken, with EOPNOTSUPP if the kernel has no
 * such links. With a multicast address nothing is made: EADDRNOTAVAIL says that the kernel has them.
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

/** Writes a request that gives a link its alias and brings it up. */
export function writeNamedUp(socket: NetlinkSocket, index: number, alias: string): void {
  const writer = socket.request(RTM_SETLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, IFF_UP, IFF_UP);
  writer.attributeText(IFLA_IFALIAS, alias);
  writer.end();
}
