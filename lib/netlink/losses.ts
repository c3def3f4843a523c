/** What a notification of the kernel says has been taken away, as far as anybody here has to do with it. */
import { AttributeReader, type Message, readU8, readU32 } from "./message-reader.ts";
import {
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELTABLE,
  NFTA_TABLE_NAME,
} from "./nftables/attributes.ts";
import { IFF_UP, IFLA_IFNAME, RTM_DELLINK, RTM_DELROUTE, RTM_NEWLINK } from "./rtnetlink.ts";

export type LossKind = "link" | "link-down" | "route" | "table";

export interface Loss {
  readonly kind: LossKind;
  /** The link, or the table of nf_tables that has lost something, or was lost; "" of a route. */
  readonly name: string;
  /** Who had made a route (RTPROT_*). */
  readonly protocol: number;
}

/** struct ifinfomsg: the flags, and its length. */
const LINK_FLAGS = 8;
const LINK_BYTES = 16;
/** struct rtmsg: the protocol. */
const ROUTE_PROTOCOL = 5;
/** struct nfgenmsg. */
const NFGEN_BYTES = 4;

/** Null if nothing was taken away. @throws NetlinkFormatError */
export function lossIn({ type, body }: Message): Loss | null {
  if (type === RTM_DELLINK) return { kind: "link", name: nameIn(body, LINK_BYTES, IFLA_IFNAME), protocol: 0 };
  if (type === RTM_NEWLINK) {
    if ((readU32(body, LINK_FLAGS) & IFF_UP) !== 0) return null;
    return { kind: "link-down", name: nameIn(body, LINK_BYTES, IFLA_IFNAME), protocol: 0 };
  }
  if (type === RTM_DELROUTE) return { kind: "route", name: "", protocol: readU8(body, ROUTE_PROTOCOL) };
  /* The table's name is the first attribute of all of these. */
  if (type === NFT_MSG_DELTABLE || type === NFT_MSG_DELCHAIN || type === NFT_MSG_DELRULE || type === NFT_MSG_DELSET) {
    return { kind: "table", name: nameIn(body, NFGEN_BYTES, NFTA_TABLE_NAME), protocol: 0 };
  }
  return null;
}

function nameIn(body: Uint8Array, offset: number, type: number): string {
  const attributes = new AttributeReader(body, offset);
  while (attributes.next()) if (attributes.type === type) return attributes.text();
  return "";
}
