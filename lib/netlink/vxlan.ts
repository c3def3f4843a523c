/** VXLAN devices (include/uapi/linux/if_link.h IFLA_VXLAN_*, if_tunnel.h). */
import { type Address, addressOf } from "../ip/address.ts";
import { ENODEV } from "../sys/errno.ts";
import { decodeLink, type Link, writeLinkHeader } from "./link.ts";
import { AttributeReader } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import {
  AF_BRIDGE,
  AF_UNSPEC,
  IFLA_ADDRESS,
  IFLA_EXT_MASK,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_MTU,
  RTEXT_FILTER_SKIP_STATS,
  RTM_GETLINK,
  RTM_NEWLINK,
} from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const RTM_NEWTUNNEL = 120;

const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_LOCAL6 = 17;
const IFLA_VXLAN_COLLECT_METADATA = 25;
const IFLA_VXLAN_GPE = 27;
const IFLA_VXLAN_DF = 29;
const IFLA_VXLAN_VNIFILTER = 30;

const VXLAN_VNIFILTER_ENTRY = 1;
const VXLAN_VNIFILTER_ENTRY_START = 1;

const VXLAN_DF_INHERIT = 2;

/** The properties of a new VXLAN device. It is not bound to a lower link, so it stays if that is deleted and created again. */
export interface NewVxlan {
  readonly name: string;
  readonly mtu: number;
  readonly port: number;
  /** Whether the outer packet gets the "don't fragment" bit of the inner one. */
  readonly inheritDf: boolean;
  /** Its VNI and addresses; null for an "external" device, whose routes give the destination and the VNI. */
  readonly tunnel: VxlanTunnel | null;
  /** For an "external" device: whether it takes only the VNIs that `writeVni` names. */
  readonly vniFilter: boolean;
}

/** A device with one VNI that carries Ethernet frames. Its forwarding entries give the node of an Ethernet address. */
export interface VxlanTunnel {
  readonly vni: number;
  readonly mac: Uint8Array;
  readonly local: Address;
}

/** A VXLAN device as the kernel describes it. */
export interface Vxlan {
  readonly link: Link;
  readonly vni: number;
  readonly port: number;
  /** Its source address; null if the kernel chooses it. */
  readonly local: Address | null;
  readonly learning: boolean;
  readonly external: boolean;
  readonly gpe: boolean;
  readonly vniFilter: boolean;
  readonly inheritDf: boolean;
  /** The index of the lower link that it is bound to; 0 for none. */
  readonly lower: number;
}

/**
 * Writes a request for `ip link add NAME type vxlan id VNI local ADDRESS dstport PORT nolearning`, or `external gpe`: IP packets
 * without Ethernet. Refused with EEXIST if the name, or port and VNI, are taken; with EOPNOTSUPP, or EINVAL for an option, if
 * the kernel lacks it.
 */
export function writeNewVxlan(socket: NetlinkSocket, device: NewVxlan): void {
  const writer = socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, device.name);
  /* Set at creation: a later change would delete even permanent neighbours. */
  if (device.tunnel !== null) writer.attributeBytes(IFLA_ADDRESS, device.tunnel.mac);
  writer.attributeU32(IFLA_MTU, device.mtu);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeText(IFLA_INFO_KIND, "vxlan");
  const data = writer.beginNested(IFLA_INFO_DATA);
  if (device.tunnel === null) writeExternal(writer, device);
  else writeTunnel(writer, device.tunnel);
  writer.attributeU8(IFLA_VXLAN_LEARNING, 0);
  if (device.inheritDf) writer.attributeU8(IFLA_VXLAN_DF, VXLAN_DF_INHERIT);
  writer.attributeBe16(IFLA_VXLAN_PORT, device.port);
  writer.endNested(data);
  writer.endNested(info);
  writer.end();
}

function writeTunnel(writer: MessageWriter, tunnel: VxlanTunnel): void {
  writer.attributeU32(IFLA_VXLAN_ID, tunnel.vni);
  writer.attributeBytes(tunnel.local.family === 4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, tunnel.local.bytes);
}

function writeExternal(writer: MessageWriter, device: NewVxlan): void {
  writer.attributeU8(IFLA_VXLAN_COLLECT_METADATA, 1);
  if (device.vniFilter) writer.attributeU8(IFLA_VXLAN_VNIFILTER, 1);
  writer.attributeBytes(IFLA_VXLAN_GPE, new Uint8Array(0));
}

/** Writes a request for `bridge vni add vni VNI dev LINK`, for a device with a VNI filter. To add it twice succeeds. */
export function writeVni(socket: NetlinkSocket, link: number, vni: number): void {
  const writer = socket.request(RTM_NEWTUNNEL, 0);
  writer.u8(AF_BRIDGE);
  writer.u8(0);
  writer.u16(0);
  writer.u32(link);
  const entry = writer.beginNested(VXLAN_VNIFILTER_ENTRY);
  writer.attributeU32(VXLAN_VNIFILTER_ENTRY_START, vni);
  writer.endNested(entry);
  writer.end();
}

/** Writes a request for `ip link set LINK mtu MTU`. */
export function writeLinkMtu(socket: NetlinkSocket, link: number, mtu: number): void {
  const writer = socket.request(RTM_NEWLINK, 0);
  writeLinkHeader(writer, AF_UNSPEC, link, 0, 0);
  writer.attributeU32(IFLA_MTU, mtu);
  writer.end();
}

/** The VXLAN device of a name; null if there is no link of that name, or one of another kind. @throws NetlinkError */
export function getVxlan(socket: NetlinkSocket, name: string): Vxlan | null {
  const writer = socket.query(RTM_GETLINK);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeText(IFLA_IFNAME, name);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.end();
  const body = socket.answer([ENODEV]);
  return body === null ? null : decodeVxlan(body);
}

/** All VXLAN devices of the namespace. @throws NetlinkError */
export function listVxlans(socket: NetlinkSocket): Vxlan[] {
  const writer = socket.dump(RTM_GETLINK);
  writeLinkHeader(writer, AF_UNSPEC, 0, 0, 0);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  const info = writer.beginNested(IFLA_LINKINFO);
  writer.attributeText(IFLA_INFO_KIND, "vxlan");
  writer.endNested(info);
  writer.end();
  const devices: Vxlan[] = [];
  for (const { body } of socket.list()) {
    const device = decodeVxlan(body);
    if (device !== null) devices.push(device);
  }
  return devices;
}

/** Reads the body of an RTM_NEWLINK message; null if it is about a link of another kind. @throws NetlinkFormatError */
export function decodeVxlan(body: Uint8Array): Vxlan | null {
  const attributes = new AttributeReader(body, 16);
  while (attributes.next()) {
    if (attributes.type !== IFLA_LINKINFO) continue;
    const info = attributes.nested();
    let kind = "";
    while (info.next()) {
      if (info.type === IFLA_INFO_KIND) kind = info.text();
      else if (info.type === IFLA_INFO_DATA && kind === "vxlan") return decodeData(decodeLink(body), info.nested());
    }
  }
  return null;
}

function decodeData(link: Link, data: AttributeReader): Vxlan {
  let vni = 0;
  let port = 0;
  let lower = 0;
  let local: Address | null = null;
  let learning = false;
  let external = false;
  let gpe = false;
  let vniFilter = false;
  let inheritDf = false;
  while (data.next()) {
    const type = data.type;
    if (type === IFLA_VXLAN_ID) vni = data.u32();
    else if (type === IFLA_VXLAN_LINK) lower = data.u32();
    else if (type === IFLA_VXLAN_LOCAL || type === IFLA_VXLAN_LOCAL6) local = givenAddress(data.bytes());
    else if (type === IFLA_VXLAN_LEARNING) learning = data.u8() !== 0;
    else if (type === IFLA_VXLAN_PORT) port = data.be16();
    else if (type === IFLA_VXLAN_COLLECT_METADATA) external = data.u8() !== 0;
    else if (type === IFLA_VXLAN_GPE) gpe = true;
    else if (type === IFLA_VXLAN_VNIFILTER) vniFilter = data.u8() !== 0;
    else if (type === IFLA_VXLAN_DF) inheritDf = data.u8() === VXLAN_DF_INHERIT;
  }
  return { link, vni, port, local, learning, external, gpe, vniFilter, inheritDf, lower };
}

/** An address; null for the wildcard address. */
function givenAddress(bytes: Uint8Array): Address | null {
  if (bytes.length !== 4 && bytes.length !== 16) return null;
  for (const byte of bytes) {
    if (byte !== 0) return addressOf(bytes);
  }
  return null;
}
