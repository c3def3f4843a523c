/** What people tune of a link: Ethernet address, MTU, send queue, and which frames it takes in (linux/if_link.h, linux/if.h). */
import { formatMac } from "../ip/mac.ts";
import { ENODEV } from "../sys/errno.ts";
import { writeLinkHeader } from "./link.ts";
import { AttributeReader, readI32, readU32 } from "./message-reader.ts";
import {
  AF_UNSPEC,
  IFLA_ADDRESS,
  IFLA_EXT_MASK,
  IFLA_IFNAME,
  IFLA_MTU,
  RTEXT_FILTER_SKIP_STATS,
  RTM_GETLINK,
  RTM_NEWLINK,
} from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const IFF_PROMISC = 0x100;
const IFF_ALLMULTI = 0x200;
const IFLA_TXQLEN = 13;

/**
 * The attributes of a link. Both flags are what was asked for by request. Who captures packets makes a link promiscuous too, but
 * not by this flag: the kernel counts that (IFLA_PROMISCUITY).
 */
export interface LinkAttributes {
  readonly index: number;
  /** "" if it has no Ethernet address. */
  readonly mac: string;
  /** Bytes. */
  readonly mtu: number;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
  /** Packets that wait to be sent. */
  readonly transmitQueue: number;
}

/** A flag of a link that can be set and cleared. */
export type LinkFlag = "promisc" | "allmulticast";

/** The attributes of the link of a name; null if there is none. @throws NetlinkError */
export function getLinkAttributes(socket: NetlinkSocket, name: string): LinkAttributes | null {
  const writer = socket.query(RTM_GETLINK);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, name);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.end();
  const body = socket.answer([ENODEV]);
  return body === null ? null : decodeLinkAttributes(body);
}

/** Reads the body of an RTM_NEWLINK message. @throws NetlinkFormatError */
export function decodeLinkAttributes(body: Uint8Array): LinkAttributes {
  const flags = readU32(body, 8);
  let mac = "";
  let mtu = 0;
  let transmitQueue = 0;
  const attributes = new AttributeReader(body, 16);
  while (attributes.next()) {
    const type = attributes.type;
    if (type === IFLA_ADDRESS) mac = formatMac(attributes.bytes());
    else if (type === IFLA_MTU) mtu = attributes.u32();
    else if (type === IFLA_TXQLEN) transmitQueue = attributes.u32();
  }
  return {
    index: readI32(body, 4),
    mac,
    mtu,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    allMulticast: (flags & IFF_ALLMULTI) !== 0,
    transmitQueue,
  };
}

/** Writes a request for `ip link set LINK mtu BYTES`. */
export function writeLinkMtu(socket: NetlinkSocket, index: number, mtu: number): void {
  const writer = socket.request(RTM_NEWLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  writer.attributeU32(IFLA_MTU, mtu);
  writer.end();
}

/** Writes a request for `ip link set LINK txqueuelen PACKETS`. */
export function writeTransmitQueue(socket: NetlinkSocket, index: number, packets: number): void {
  const writer = socket.request(RTM_NEWLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  writer.attributeU32(IFLA_TXQLEN, packets);
  writer.end();
}

/** Writes a request for `ip link set LINK promisc|allmulticast on|off`. */
export function writeLinkFlag(socket: NetlinkSocket, index: number, flag: LinkFlag, on: boolean): void {
  const bit = flag === "promisc" ? IFF_PROMISC : IFF_ALLMULTI;
  const writer = socket.request(RTM_NEWLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, on ? bit : 0, bit);
  writer.end();
}
