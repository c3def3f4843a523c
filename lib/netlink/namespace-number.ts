/** Numbers of network namespaces: how one namespace refers to another, where the other end of a link is (include/uapi/linux/net_namespace.h). */
import { ENODEV } from "../sys/errno.ts";
import { decodeLink, type Link, writeGetLink } from "./link.ts";
import { AttributeReader, readI32 } from "./message-reader.ts";
import { RTM_GETLINK, RTM_NEWLINK } from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const RTM_NEWNSID = 88;
const RTM_GETNSID = 90;
const NETNSA_NSID = 1;
const NETNSA_FD = 3;

/** A link, and the number by which the socket's namespace knows another namespace. */
export interface LinkAndNamespace {
  readonly link: Link | null;
  /** -1 if it has none, or none that is known. */
  readonly number: number;
}

/**
 * A link by its index, and the number of a namespace by its descriptor, in one send: `ip link show`, `ip netns list-id`. The
 * kernel gives a namespace a number at the latest when it describes a link whose other end is there.
 * @throws SystemError
 */
export function getLinkAndNamespace(socket: NetlinkSocket, index: number, namespaceFd: number): LinkAndNamespace {
  writeGetLink(socket.query(RTM_GETLINK), index);
  const writer = socket.query(RTM_GETNSID);
  writer.u32(0);
  writer.attributeU32(NETNSA_FD, namespaceFd);
  writer.end();
  let link: Link | null = null;
  let number = -1;
  const refusals = socket.exchange((message) => {
    if (message.type === RTM_NEWLINK) link = decodeLink(message.body);
    else if (message.type === RTM_NEWNSID) number = decodeNamespaceNumber(message.body);
  });
  for (const refusal of refusals) {
    if (refusal.index === 0 && refusal.errno !== ENODEV) throw refusal.copy();
  }
  return { link, number };
}

/** struct rtgenmsg, padded, then the number. */
function decodeNamespaceNumber(body: Uint8Array): number {
  const attributes = new AttributeReader(body, 4);
  while (attributes.next()) {
    if (attributes.type === NETNSA_NSID) return readI32(attributes.bytes(), 0);
  }
  return -1;
}
