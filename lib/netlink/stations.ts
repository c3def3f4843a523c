/** Who is on a bridge: its ports, the links behind them in whatever namespace, and what it has learned of an Ethernet address. */
import { formatMac } from "../ip/mac.ts";
import { itemAt, numberAt, textAt } from "../lists.ts";
import { AttributeReader, readI32, readU8 } from "./codec.ts";
import { decodeLink, IFLA_EXT_MASK, type Link, RTM_GETLINK, writeLinkHeader } from "./link.ts";
import { RTM_GETNEIGH } from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const AF_UNSPEC = 0;
const AF_BRIDGE = 7;
const RTM_NEWLINK = 16;
const IFLA_MASTER = 10;
const IFLA_LINK_NETNSID = 37;
const IFLA_TARGET_NETNSID = 46;
const RTEXT_FILTER_SKIP_STATS = 1 << 3;
const NDA_LLADDR = 2;
const NDA_MASTER = 9;
const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;

/** How many questions are sent at once: their answers have to find room in the socket. */
const QUESTIONS = 32;

/** A port of a bridge. */
export interface Station {
  readonly link: Link;
  /** The MAC of the link at the other end of a veth, wherever that is; "" if there is none or it cannot be seen. */
  readonly peerMac: string;
}

/** An entry of a bridge's table that has the Ethernet address in question. */
export interface ForwardingEntry {
  readonly port: number;
  /** Whether somebody has put it down for good, the kernel for its own addresses; otherwise it was learned from a frame. */
  readonly permanent: boolean;
}

/** The ports of a bridge with what is behind them. @throws NetlinkError */
export function listStations(socket: NetlinkSocket, bridge: number): Station[] {
  let ports: Port[] = [];
  socket.dump(
    RTM_GETLINK,
    (writer) => {
      writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
      writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
      writer.attributeU32(IFLA_MASTER, bridge);
      writer.end();
    },
    (message) => {
      const link = decodeLink(message.body);
      /* Kernels without strict checking list everything. */
      if (link.master === bridge) ports.push({ link, namespace: namespaceOfPeer(message.body) });
    },
    () => {
      ports = [];
    },
  );
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
    /* Of one that goes meanwhile there is no answer. */
    socket.executeAll((message, index) => {
      if (message.type !== RTM_NEWLINK || index >= asked.length) return;
      macs[numberAt(asked, index)] = decodeLink(message.body).mac;
    });
  }
  return macs;
}

/** The entries that a bridge has for an Ethernet address. @throws NetlinkError */
export function listForwarding(socket: NetlinkSocket, bridge: number, mac: string): ForwardingEntry[] {
  let entries: ForwardingEntry[] = [];
  socket.dump(
    RTM_GETNEIGH,
    (writer) => {
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
    },
    (message) => {
      const state = readU8(message.body, 8);
      let master = 0;
      let found = "";
      const attributes = new AttributeReader(message.body, 12);
      while (attributes.next()) {
        if (attributes.type === NDA_LLADDR) found = formatMac(attributes.bytes());
        else if (attributes.type === NDA_MASTER) master = attributes.u32();
      }
      const port = readI32(message.body, 4);
      if (found !== mac || (master !== bridge && port !== bridge)) return;
      entries.push({ port, permanent: (state & (NUD_PERMANENT | NUD_NOARP)) !== 0 });
    },
    () => {
      entries = [];
    },
  );
  return entries;
}
