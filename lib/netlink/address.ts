/** Addresses of links (include/uapi/linux/if_addr.h). */
import { type Address, addressOf, lastOf, type Prefix } from "../ip/address.ts";
import { writeLinkHeader } from "./link.ts";
import { IPV4_DEVCONF_ARP_NOTIFY, SERVE_IPV4, writeIpv4Settings } from "./link-settings.ts";
import { AttributeReader, readU8, readU32 } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import { AF_INET, AF_INET6, AF_UNSPEC, RTM_SETLINK } from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
const IFA_TARGET_NETNSID = 10;
const IFA_PROTO = 11;

const IFA_F_NODAD = 0x02;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_DADFAILED = 0x08;
const IFA_F_NOPREFIXROUTE = 0x200;

/** The origin of an address that Podwire puts on a link (`ip address show`: "proto"). Kernels before 5.18 do not keep it. */
export const PROTOCOL_PODWIRE = 0x70;

/** An address on a link, with the result of duplicate address detection. */
export interface LinkAddress {
  readonly prefix: Prefix;
  readonly tentative: boolean;
  readonly failed: boolean;
  /** Its origin: PROTOCOL_PODWIRE, another number, 0 if the kernel does not know it. */
  readonly protocol: number;
}

/** The socket family of an address. */
export function socketFamily(address: Address): number {
  return address.family === 4 ? AF_INET : AF_INET6;
}

/**
 * Writes a request for a new address on a link: `ip address add PREFIX dev LINK [nodad] [noprefixroute] [proto NUMBER]`.
 * Refused with EEXIST if it is there.
 * @param protocol its origin; 0 for none
 * @param noPrefixRoute whether the kernel makes no route to the address's network
 */
export function writeNewAddress(
  socket: NetlinkSocket,
  index: number,
  prefix: Prefix,
  nodad: boolean,
  protocol = 0,
  noPrefixRoute = false,
): void {
  const writer = socket.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  writeHeader(writer, socketFamily(prefix.address), prefix.length, index);
  writer.attributeBytes(IFA_LOCAL, prefix.address.bytes);
  writer.attributeBytes(IFA_ADDRESS, prefix.address.bytes);
  const isIpv4 = prefix.address.family === 4;
  if (isIpv4 && prefix.length < 31) writer.attributeBytes(IFA_BROADCAST, lastOf(prefix).bytes);
  const flags = (nodad && !isIpv4 ? IFA_F_NODAD : 0) | (noPrefixRoute ? IFA_F_NOPREFIXROUTE : 0);
  if (flags !== 0) writer.attributeU32(IFA_FLAGS, flags);
  if (protocol !== 0) writer.attributeU8(IFA_PROTO, protocol);
  writer.end();
}

/**
 * Writes a request for `sysctl net.ipv4.conf.LINK.arp_notify=1`: the link announces its IPv4 addresses, by gratuitous ARP, when
 * it comes up or its Ethernet address is set. To look its file up below /proc/sys in a new namespace would take 0.1 ms.
 */
export function writeArpNotify(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_SETLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  writeIpv4Settings(writer, [[IPV4_DEVCONF_ARP_NOTIFY, 1]]);
}

/** Writes a request for `sysctl net.ipv4.conf.LINK.forwarding=1 net.ipv4.conf.LINK.arp_ignore=0`. */
export function writeServeIpv4(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_SETLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  writeIpv4Settings(writer, SERVE_IPV4);
}

/** Writes a request for `ip address del PREFIX dev LINK`; refused with EADDRNOTAVAIL if it is not there. */
export function writeDeleteAddress(socket: NetlinkSocket, index: number, prefix: Prefix): void {
  const writer = socket.request(RTM_DELADDR, 0);
  writeHeader(writer, socketFamily(prefix.address), prefix.length, index);
  writer.attributeBytes(IFA_LOCAL, prefix.address.bytes);
  writer.end();
}

/**
 * The addresses of a link, both families.
 * @param namespace the number by which the socket's namespace knows that of the link, as `Link.peerNamespace`; -1 if they are
 *   the same. No addresses are found if there is no such number.
 * @throws NetlinkError
 */
export function listAddresses(socket: NetlinkSocket, index: number, namespace = -1): LinkAddress[] {
  const writer = socket.dump(RTM_GETADDR);
  writeHeader(writer, 0, 0, index);
  if (namespace >= 0) writer.attributeU32(IFA_TARGET_NETNSID, namespace);
  writer.end();
  const addresses: LinkAddress[] = [];
  for (const { body } of socket.list()) {
    /* Kernels without strict checking list the addresses of all links. */
    if (readU32(body, 4) !== index) continue;
    const address = decodeAddress(body);
    if (address !== null) addresses.push(address);
  }
  return addresses;
}

/** An address and the index of the link that it is on. */
export interface PlacedAddress {
  readonly link: number;
  readonly prefix: Prefix;
}

/** The addresses of all links, both families. @throws NetlinkError */
export function listAllAddresses(socket: NetlinkSocket): PlacedAddress[] {
  const writer = socket.dump(RTM_GETADDR);
  writeHeader(writer, 0, 0, 0);
  writer.end();
  const addresses: PlacedAddress[] = [];
  for (const { body } of socket.list()) {
    const address = decodeAddress(body);
    if (address !== null) addresses.push({ link: readU32(body, 4), prefix: address.prefix });
  }
  return addresses;
}

/** Reads the body of an RTM_NEWADDR message; null if it holds no IP address. @throws NetlinkFormatError */
export function decodeAddress(body: Uint8Array): LinkAddress | null {
  const length = readU8(body, 1);
  let flags = readU8(body, 2);
  let local: Address | null = null;
  let address: Address | null = null;
  let protocol = 0;
  const attributes = new AttributeReader(body, 8);
  while (attributes.next()) {
    if (attributes.type === IFA_LOCAL) local = ipAddress(attributes.bytes());
    else if (attributes.type === IFA_ADDRESS) address = ipAddress(attributes.bytes());
    else if (attributes.type === IFA_FLAGS) flags = attributes.u32();
    else if (attributes.type === IFA_PROTO) protocol = attributes.u8();
  }
  /* On a point-to-point link IFA_ADDRESS is the address of the other end. On other links IPv6 has no IFA_LOCAL. */
  const own = local ?? address;
  if (own === null) return null;
  return {
    prefix: { address: own, length },
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    failed: (flags & IFA_F_DADFAILED) !== 0,
    protocol,
  };
}

/** Bytes from an attribute as an address; null if they are not 4 or 16. */
export function ipAddress(bytes: Uint8Array): Address | null {
  return bytes.length === 4 || bytes.length === 16 ? addressOf(bytes) : null;
}

/** struct ifaddrmsg: family, prefix length, flags, scope, index. */
function writeHeader(writer: MessageWriter, family: number, length: number, index: number): void {
  writer.u8(family);
  writer.u8(length);
  writer.u8(0);
  writer.u8(0);
  writer.u32(index);
}
