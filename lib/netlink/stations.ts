/** The ports of a bridge, the peers of its veth ports in any namespace, and its forwarding entries for an Ethernet address. */
import { formatMac } from "../ip/mac.ts";
import { itemAt, numberAt, textAt } from "../lists.ts";
import { decodeLink, type Link, writeLinkHeader } from "./link.ts";
import { AttributeReader, readI32, readU8 } from "./message-reader.ts";
import {
  AF_BRIDGE,
  AF_UNSPEC,
  IFLA_EXT_MASK,
  IFLA_LINK_NETNSID,
  IFLA_MASTER,
  NDA_LLADDR,
  NUD_NOARP,
  NUD_PERMANENT,
  RTEXT_FILTER_SKIP_STATS,
  RTM_GETLINK,
  RTM_GETNEIGH,
  RTM_NEWLINK,
} from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const IFLA_TARGET_NETNSID = 46;
const NDA_MASTER = 9;

/** How many queries are sent at once: the receive buffer must hold their answers. */
const QUESTIONS = 32;

/** A port of a bridge. */
export interface Station {
  readonly link: Link;
  /** The MAC of the peer of a veth, in any namespace; "" if there is none or it is not visible. */
  readonly peerMac: string;
}

/** A forwarding entry of a bridge for the Ethernet address that was asked for. */
export interface ForwardingEntry {
  readonly port: number;
  /** Whether it is permanent, as those for the ports' own addresses are; otherwise it was learned from a frame. */
  readonly permanent: boolean;
}

/** The ports of a bridge with the MACs of their peers: `ip link show master BRIDGE`. @throws NetlinkError */
export function listStations(socket: NetlinkSocket, bridge: number): Station[] {
  const writer = socket.dump(RTM_GETLINK);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.attributeU32(IFLA_MASTER, bridge);
  writer.end();
  const ports: Port[] = [];
  for (const { body } of socket.list()) {
    const link = decodeLink(body);
    /* Kernels without strict checking list all links. */
    if (link.master === bridge) ports.push({ link, namespace: namespaceOfPeer(body) });
  }
  const macs = peerMacs(socket, ports);
  return ports.map(({ link }, i) => ({ link, peerMac: textAt(macs, i) }));
}

interface Port {
  readonly link: Link;
  /** Where the other end of a veth is: the namespace's number, -1 if it is this one. */
  readonly namespace: number;
}

/** The number of the namespace that the other end of a veth is in; -1 if it is the same one. */
function namespaceOfPeer(body: Uint8Array): number {
  const attributes = new AttributeReader(body, 16);
  while (attributes.next()) {
    if (attributes.type === IFLA_LINK_NETNSID) return readI32(attributes.bytes(), 0);
  }
  return -1;
}

function peerMacs(socket: NetlinkSocket, ports: readonly Port[]): string[] {
  const macs: string[] = ports.map(() => "");
  for (let from = 0; from < ports.length; from += QUESTIONS) {
    const asked: number[] = [];
    for (let i = from; i < Math.min(from + QUESTIONS, ports.length); i += 1) {
      const port = itemAt(ports, i);
      if (port === null || port.link.kind !== "veth" || port.link.peer === 0) continue;
      asked.push(i);
      const writer = socket.query(RTM_GETLINK);
      writeLinkHeader(writer, AF_UNSPEC, port.link.peer, 0, 0);
      writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
      if (port.namespace >= 0) writer.attributeU32(IFLA_TARGET_NETNSID, port.namespace);
      writer.end();
    }
    if (asked.length === 0) continue;
    /* The query for a link that has been deleted is refused. */
    socket.exchange((message, index) => {
      if (message.type !== RTM_NEWLINK || index >= asked.length) return;
      macs[numberAt(asked, index)] = decodeLink(message.body).mac;
    });
  }
  return macs;
}

/** The entries of a bridge for an Ethernet address: `bridge fdb show br BRIDGE`. @throws NetlinkError */
export function listForwarding(socket: NetlinkSocket, bridge: number, mac: string): ForwardingEntry[] {
  const writer = socket.dump(RTM_GETNEIGH);
  /* struct ndmsg: family, padding, index, state, flags, type. */
  writer.u8(AF_BRIDGE);
  writer.u8(0);
  writer.u16(0);
  writer.u32(0);
  writer.u16(0);
  writer.u8(0);
  writer.u8(0);
  writer.attributeU32(NDA_MASTER, bridge);
  writer.end();
  const entries: ForwardingEntry[] = [];
  for (const { body } of socket.list()) {
    const state = readU8(body, 8);
    let master = 0;
    let found = "";
    const attributes = new AttributeReader(body, 12);
    while (attributes.next()) {
      if (attributes.type === NDA_LLADDR) found = formatMac(attributes.bytes());
      else if (attributes.type === NDA_MASTER) master = attributes.u32();
    }
    const port = readI32(body, 4);
    if (found !== mac || (master !== bridge && port !== bridge)) continue;
    entries.push({ port, permanent: (state & (NUD_PERMANENT | NUD_NOARP)) !== 0 });
  }
  return entries;
}
