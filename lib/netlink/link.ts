/** Links (network interfaces): adding, changing, reading (include/uapi/linux/if_link.h, rtnetlink.h). */
import { formatMac } from "../ip/mac.ts";
import { ENODEV } from "../sys/errno.ts";
import { decodeServesIpv4 } from "./link-settings.ts";
import { AttributeReader, readI32, readU32 } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import {
  AF_UNSPEC,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_AF_SPEC,
  IFLA_BRPORT_ISOLATED,
  IFLA_BRPORT_MODE,
  IFLA_EXT_MASK,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_LINK_NETNSID,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  RTEXT_FILTER_SKIP_STATS,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  RTM_SETLINK,
} from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const IFF_PROMISC = 0x100;

const IFLA_LINK = 5;
const IFLA_OPERSTATE = 16;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_NUM_TX_QUEUES = 31;
const IFLA_NUM_RX_QUEUES = 32;

const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BR_VLAN_PROTOCOL = 8;
const IFLA_BR_GROUP_FWD_MASK = 9;
const VETH_INFO_PEER = 1;

const IFLA_BRPORT_STATE = 1;

/** Operational states (RFC 2863; IF_OPER_* in linux/if.h). */
export const OPERSTATE_UNKNOWN = 0;
export const OPERSTATE_UP = 6;
export const OPERSTATE_NAMES: readonly string[] = [
  "unknown",
  "notpresent",
  "down",
  "lowerlayerdown",
  "testing",
  "dormant",
  "up",
];

/** The state and options of a bridge port. */
export interface BridgePort {
  /** 3 is forwarding (linux/if_bridge.h BR_STATE_*). */
  readonly state: number;
  readonly hairpin: boolean;
  readonly isolated: boolean;
}

/** A link as the kernel describes it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** "bridge", "veth", ...; "" for hardware and loopback. */
  readonly kind: string;
  /** "" if it has no Ethernet address. */
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly promiscuous: boolean;
  readonly operstate: number;
  /** Index of the bridge or other master, 0 for none. */
  readonly master: number;
  /** For a veth the index of its peer, which is unique only together with `peerNamespace`; 0 for none. */
  readonly peer: number;
  /** The number by which this link's namespace knows that of its peer; -1 if they are the same. */
  readonly peerNamespace: number;
  readonly alias: string;
  readonly port: BridgePort | null;
  /** Whether its own settings let it forward IPv4 packets and answer ARP requests; true if the kernel does not say. */
  readonly servesIpv4: boolean;
  /** Whether a bridge filters by VLAN; null if the link is not a bridge or the kernel cannot filter. */
  readonly vlanFiltering: boolean | null;
  /** Which link-local groups a bridge forwards: bit N is 01:80:c2:00:00:0N. 0 for other links. */
  readonly groupForwardMask: number;
}

/** The properties of a new bridge. 0 and false leave the kernel's default. */
export interface NewBridge {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly vlanFiltering: boolean;
  readonly groupForwardMask: number;
}

/** The properties of a new veth pair. The peer goes into the namespace `peerNamespaceFd`, or stays if that is negative. */
export interface NewVeth {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** The link group of this end, 0 for the default one. */
  readonly group: number;
  /** The bridge's index, 0 for none. */
  readonly master: number;
  readonly peerName: string;
  readonly peerMac: Uint8Array;
  readonly peerNamespaceFd: number;
}

/** Writes a request for `ip link add NAME address MAC type bridge`; refused with EEXIST if the name is taken. */
export function writeNewBridge(socket: NetlinkSocket, bridge: NewBridge): void {
  const writer = socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, bridge.name);
  writer.attributeBytes(IFLA_ADDRESS, bridge.mac);
  if (bridge.mtu > 0) writer.attributeU32(IFLA_MTU, bridge.mtu);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeText(IFLA_INFO_KIND, "bridge");
  if (bridge.vlanFiltering || bridge.groupForwardMask > 0) {
    const data = writer.beginNested(IFLA_INFO_DATA);
    if (bridge.vlanFiltering) writer.attributeU8(IFLA_BR_VLAN_FILTERING, 1);
    if (bridge.groupForwardMask > 0) writer.attributeU16(IFLA_BR_GROUP_FWD_MASK, bridge.groupForwardMask);
    writer.endNested(data);
  }
  writer.endNested(info);
  writer.end();
}

/** Writes a request for `ip link set BRIDGE type bridge group_fwd_mask MASK`. */
export function writeGroupForwardMask(socket: NetlinkSocket, index: number, mask: number): void {
  const writer = socket.request(RTM_NEWLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeText(IFLA_INFO_KIND, "bridge");
  const data = writer.beginNested(IFLA_INFO_DATA);
  writer.attributeU16(IFLA_BR_GROUP_FWD_MASK, mask);
  writer.endNested(data);
  writer.endNested(info);
  writer.end();
}

/** Writes a request for `ip link add NAME type veth peer name PEER netns POD`, both ends down; refused with EEXIST if either name is taken. */
export function writeNewVeth(socket: NetlinkSocket, veth: NewVeth): void {
  const writer = socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, veth.name);
  writer.attributeBytes(IFLA_ADDRESS, veth.mac);
  if (veth.mtu > 0) writer.attributeU32(IFLA_MTU, veth.mtu);
  if (veth.group > 0) writer.attributeU32(IFLA_GROUP, veth.group);
  writeOneQueue(writer);
  if (veth.master > 0) writer.attributeU32(IFLA_MASTER, veth.master);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeText(IFLA_INFO_KIND, "veth");
  const data = writer.beginNested(IFLA_INFO_DATA);
  const peer = writer.beginNested(VETH_INFO_PEER);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, veth.peerName);
  writer.attributeBytes(IFLA_ADDRESS, veth.peerMac);
  if (veth.mtu > 0) writer.attributeU32(IFLA_MTU, veth.mtu);
  writeOneQueue(writer);
  if (veth.peerNamespaceFd >= 0) writer.attributeU32(IFLA_NET_NS_FD, veth.peerNamespaceFd);
  writer.endNested(peer);
  writer.endNested(data);
  writer.endNested(info);
  writer.end();
}

/** Writes a request for `ip link set LINK up|down [promisc on] [alias ALIAS]`. */
export function writeLinkUp(socket: NetlinkSocket, index: number, up: boolean, promiscuous: boolean, alias = ""): void {
  const flags = (up ? IFF_UP : 0) | (promiscuous ? IFF_PROMISC : 0);
  const writer = socket.request(RTM_NEWLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, flags, IFF_UP | (promiscuous ? IFF_PROMISC : 0));
  if (alias !== "") writer.attributeText(IFLA_IFALIAS, alias);
  writer.end();
}

/**
 * Writes a request for `ip link set LINK address MAC`. To set the address that the link has changes nothing, but with arp_notify
 * and ndisc_notify the kernel announces the link's IP addresses.
 */
export function writeLinkAddress(socket: NetlinkSocket, index: number, mac: Uint8Array): void {
  const writer = socket.request(RTM_SETLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  writer.attributeBytes(IFLA_ADDRESS, mac);
  writer.end();
}

/** Writes a request for `ip link delete LINK`, which also deletes the other end of a veth. */
export function writeDeleteLink(socket: NetlinkSocket, index: number): void {
  const writer = socket.request(RTM_DELLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  writer.end();
}

/** The link of a name; null if there is none. @throws NetlinkError */
export function getLinkByName(socket: NetlinkSocket, name: string): Link | null {
  /* The kernel refuses longer names (IFNAMSIZ, with a NUL); a result of another plugin may have one. */
  if (new TextEncoder().encode(name).length > 15) return null;
  const writer = socket.query(RTM_GETLINK);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, name);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.end();
  return oneLink(socket);
}

/** The link of an index; null if there is none. @throws NetlinkError */
export function getLinkByIndex(socket: NetlinkSocket, index: number): Link | null {
  writeGetLink(socket.query(RTM_GETLINK), index);
  return oneLink(socket);
}

/** Completes a request for the link of an index. */
export function writeGetLink(writer: MessageWriter, index: number): void {
  writeLinkHeader(writer, AF_UNSPEC, index, 0, 0);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.end();
}

/** All links of a kind ("": any), or with a master (0: any). @throws NetlinkError */
export function listLinks(socket: NetlinkSocket, kind: string, master: number): Link[] {
  const writer = socket.dump(RTM_GETLINK);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  if (master > 0) writer.attributeU32(IFLA_MASTER, master);
  if (kind !== "") {
    const info = writer.beginNested(IFLA_LINKINFO);
    writer.attributeText(IFLA_INFO_KIND, kind);
    writer.endNested(info);
  }
  writer.end();
  const links: Link[] = [];
  for (const { body } of socket.list()) {
    const link = decodeLink(body);
    /* Kernels without strict checking list all links. */
    if ((kind === "" || link.kind === kind) && (master === 0 || link.master === master)) links.push(link);
  }
  return links;
}

/** Reads the body of an RTM_NEWLINK message. @throws NetlinkFormatError */
export function decodeLink(body: Uint8Array): Link {
  const flags = readU32(body, 8);
  let name = "";
  let mac = "";
  let mtu = 0;
  let master = 0;
  let peer = 0;
  let peerNamespace = -1;
  let alias = "";
  let operstate = OPERSTATE_UNKNOWN;
  let servesIpv4 = true;
  let info: LinkInfo = { kind: "", bridge: NO_BRIDGE, port: null };
  const attributes = new AttributeReader(body, 16);
  while (attributes.next()) {
    const type = attributes.type;
    if (type === IFLA_IFNAME) name = attributes.text();
    else if (type === IFLA_ADDRESS) mac = formatMac(attributes.bytes());
    else if (type === IFLA_MTU) mtu = attributes.u32();
    else if (type === IFLA_MASTER) master = attributes.u32();
    else if (type === IFLA_LINK) peer = attributes.u32();
    else if (type === IFLA_LINK_NETNSID) peerNamespace = readI32(attributes.bytes(), 0);
    else if (type === IFLA_IFALIAS) alias = attributes.text();
    else if (type === IFLA_AF_SPEC) servesIpv4 = decodeServesIpv4(attributes.nested());
    else if (type === IFLA_OPERSTATE) operstate = attributes.u8();
    else if (type === IFLA_LINKINFO) info = decodeLinkInfo(attributes.nested());
  }
  return {
    index: readI32(body, 4),
    name,
    kind: info.kind,
    mac,
    mtu,
    up: (flags & IFF_UP) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    operstate,
    master,
    peer,
    peerNamespace,
    alias,
    port: info.port,
    servesIpv4,
    vlanFiltering: info.bridge.vlanFiltering,
    groupForwardMask: info.bridge.groupForwardMask,
  };
}

/** The options of a bridge. */
interface BridgeInfo {
  readonly vlanFiltering: boolean | null;
  readonly groupForwardMask: number;
}

const NO_BRIDGE: BridgeInfo = { vlanFiltering: null, groupForwardMask: 0 };

interface LinkInfo {
  readonly kind: string;
  readonly bridge: BridgeInfo;
  readonly port: BridgePort | null;
}

function decodeLinkInfo(attributes: AttributeReader): LinkInfo {
  let kind = "";
  let slaveKind = "";
  let bridge = NO_BRIDGE;
  let port: BridgePort | null = null;
  while (attributes.next()) {
    const type = attributes.type;
    if (type === IFLA_INFO_KIND) kind = attributes.text();
    else if (type === IFLA_INFO_SLAVE_KIND) slaveKind = attributes.text();
    else if (type === IFLA_INFO_DATA && kind === "bridge") bridge = decodeBridge(attributes.nested());
    else if (type === IFLA_INFO_SLAVE_DATA && slaveKind === "bridge") port = decodePort(attributes.nested());
  }
  return { kind, bridge, port };
}

/** A kernel that cannot filter also says "off", but lacks the attribute for the VLAN protocol. */
function decodeBridge(attributes: AttributeReader): BridgeInfo {
  let on = false;
  let capable = false;
  let groupForwardMask = 0;
  while (attributes.next()) {
    const type = attributes.type;
    if (type === IFLA_BR_VLAN_FILTERING) on = attributes.u8() !== 0;
    else if (type === IFLA_BR_VLAN_PROTOCOL) capable = true;
    else if (type === IFLA_BR_GROUP_FWD_MASK) groupForwardMask = attributes.u16();
  }
  return { vlanFiltering: capable ? on : null, groupForwardMask };
}

function decodePort(attributes: AttributeReader): BridgePort {
  let state = 0;
  let hairpin = false;
  let isolated = false;
  while (attributes.next()) {
    if (attributes.type === IFLA_BRPORT_STATE) state = attributes.u8();
    else if (attributes.type === IFLA_BRPORT_MODE) hairpin = attributes.u8() !== 0;
    else if (attributes.type === IFLA_BRPORT_ISOLATED) isolated = attributes.u8() !== 0;
  }
  return { state, hairpin, isolated };
}

function oneLink(socket: NetlinkSocket): Link | null {
  const body = socket.answer([ENODEV]);
  return body === null ? null : decodeLink(body);
}

/**
 * One queue, which is what a veth uses. By default the kernel creates one for each CPU, registers them, and removes all but one:
 * a third of the cost of a pair on two CPUs, and more on more.
 */
function writeOneQueue(writer: MessageWriter): void {
  writer.attributeU32(IFLA_NUM_TX_QUEUES, 1);
  writer.attributeU32(IFLA_NUM_RX_QUEUES, 1);
}

/** Writes the fixed part of a message about links, struct ifinfomsg: family, padding, type, index, flags, change mask. */
export function writeLinkHeader(
  writer: MessageWriter,
  family: number,
  index: number,
  flags: number,
  change: number,
): void {
  writer.u8(family);
  writer.u8(0);
  writer.u16(0);
  writer.u32(index);
  writer.u32(flags);
  writer.u32(change);
}
