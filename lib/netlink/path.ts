/** Route lookups: how the kernel sends to an address, according to all rules and tables (include/uapi/linux/rtnetlink.h). */
import type { Address } from "../ip/address.ts";
import { EHOSTUNREACH, ENETUNREACH } from "../sys/errno.ts";
import { ipAddress, socketFamily } from "./address.ts";
import type { TunnelRoute } from "./entries/entry.ts";
import { decodeRoute } from "./entries/routes.ts";
import { EntryTable } from "./entries/table.ts";
import { AttributeReader, readU8 } from "./message-reader.ts";
import { wordsOf } from "./rows.ts";
import {
  RTA_DST,
  RTA_GATEWAY,
  RTA_METRICS,
  RTA_OIF,
  RTAX_MTU,
  RTM_GETROUTE,
  RTN_LOCAL,
  RTN_UNICAST,
} from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const RTM_F_FIB_MATCH = 0x2000;

const RTA_PREFSRC = 7;
/** How many queries are sent at once. */
const AT_ONCE = 256;

/** The result of a lookup. */
export interface Path {
  /** The index of the link that packets leave by. */
  readonly link: number;
  /** Their source address; null if the kernel does not say. */
  readonly source: Address | null;
  /** The gateway; null if the address is on the link. */
  readonly gateway: Address | null;
  /** The MTU of the route, or the path MTU that was discovered; 0 for that of the link. */
  readonly mtu: number;
  /** The address is one of this host. */
  readonly local: boolean;
}

/** `ip route get` for each address; null if there is no route. @throws SystemError, NetlinkFormatError */
export function findPaths(socket: NetlinkSocket, addresses: readonly Address[]): (Path | null)[] {
  const paths: (Path | null)[] = [];
  while (paths.length < addresses.length) paths.push(null);
  for (let from = 0; from < addresses.length; from += AT_ONCE) {
    for (const address of addresses.slice(from, from + AT_ONCE)) writeLookup(socket, address, 0);
    /* The kernel refuses the lookup of an address without a route. */
    socket.exchange((message, index) => {
      paths[from + index] = decodePath(message.body);
    });
  }
  return paths;
}

/** `ip route get fibmatch ADDRESS`: the route that matches; null if there is none. @throws NetlinkError */
export function matchingRoute(socket: NetlinkSocket, address: Address): TunnelRoute | null {
  writeLookup(socket, address, RTM_F_FIB_MATCH);
  const found = new EntryTable(1);
  const body = socket.answer([ENETUNREACH, EHOSTUNREACH]);
  if (body === null) return null;
  const words = wordsOf(body);
  decodeRoute(words, 0, words.length, found);
  return found.count === 0 ? null : found.route(0);
}

/** struct rtmsg: family, destination length, source length, TOS, table, protocol, scope, type, flags. */
function writeLookup(socket: NetlinkSocket, address: Address, flags: number): void {
  const writer = socket.query(RTM_GETROUTE);
  writer.u8(socketFamily(address));
  writer.u8(address.bytes.length * 8);
  for (let i = 0; i < 6; i += 1) writer.u8(0);
  writer.u32(flags);
  writer.attributeBytes(RTA_DST, address.bytes);
  writer.end();
}

/** Reads the body of the RTM_NEWROUTE message that answers a lookup; null if packets would be refused. @throws NetlinkFormatError */
export function decodePath(body: Uint8Array): Path | null {
  const type = readU8(body, 7);
  if (type !== RTN_UNICAST && type !== RTN_LOCAL) return null;
  let link = 0;
  let mtu = 0;
  let source: Address | null = null;
  let gateway: Address | null = null;
  const attributes = new AttributeReader(body, 12);
  while (attributes.next()) {
    if (attributes.type === RTA_OIF) link = attributes.u32();
    else if (attributes.type === RTA_GATEWAY) gateway = ipAddress(attributes.bytes());
    else if (attributes.type === RTA_PREFSRC) source = ipAddress(attributes.bytes());
    else if (attributes.type === RTA_METRICS) {
      const metrics = attributes.nested();
      while (metrics.next()) {
        if (metrics.type === RTAX_MTU) mtu = metrics.u32();
      }
    }
  }
  return { link, source, gateway, mtu, local: type === RTN_LOCAL };
}
