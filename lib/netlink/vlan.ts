/** VLANs of bridge ports (include/uapi/linux/if_bridge.h). */

import { writeLinkHeader } from "./link.ts";
import { AttributeReader, readI32 } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { AF_BRIDGE, IFLA_AF_SPEC, IFLA_EXT_MASK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK } from "./rtnetlink.ts";
import type { NetlinkSocket } from "./socket.ts";

const IFLA_BRIDGE_VLAN_INFO = 2;
const RTEXT_FILTER_BRVLAN = 1 << 1;
const BRIDGE_VLAN_INFO_PVID = 1 << 1;
const BRIDGE_VLAN_INFO_UNTAGGED = 1 << 2;
const BRIDGE_VLAN_INFO_RANGE_BEGIN = 1 << 3;
const BRIDGE_VLAN_INFO_RANGE_END = 1 << 4;

/** The VLAN IDs `first` to `last` of a bridge port. */
export interface VlanRange {
  readonly first: number;
  readonly last: number;
  readonly pvid: boolean;
  readonly untagged: boolean;
}

/** The VLAN that each new port of a VLAN-filtering bridge is in. */
export const DEFAULT_VLAN: VlanRange = { first: 1, last: 1, pvid: false, untagged: false };

/** Writes a request for `bridge vlan add|del dev LINK vid FIRST-LAST [pvid] [untagged]`. */
export function writePortVlans(socket: NetlinkSocket, index: number, vlans: readonly VlanRange[], add: boolean): void {
  const writer = socket.request(add ? RTM_SETLINK : RTM_DELLINK, 0);
  writeLinkHeader(writer, AF_BRIDGE, index, 0, 0);
  const spec = writer.beginNested(IFLA_AF_SPEC);
  for (const vlan of vlans) {
    const flags = (vlan.pvid ? BRIDGE_VLAN_INFO_PVID : 0) | (vlan.untagged ? BRIDGE_VLAN_INFO_UNTAGGED : 0);
    if (vlan.first === vlan.last) {
      writeVlan(writer, flags, vlan.first);
    } else {
      writeVlan(writer, flags | BRIDGE_VLAN_INFO_RANGE_BEGIN, vlan.first);
      writeVlan(writer, flags | BRIDGE_VLAN_INFO_RANGE_END, vlan.last);
    }
  }
  writer.endNested(spec);
  writer.end();
}

/** `bridge vlan show dev LINK`: one entry for each ID. @throws NetlinkError */
export function listPortVlans(socket: NetlinkSocket, index: number): VlanRange[] {
  const writer = socket.dump(RTM_GETLINK);
  writeLinkHeader(writer, AF_BRIDGE, 0, 0, 0);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
  writer.end();
  let vlans: VlanRange[] = [];
  for (const { body } of socket.list()) {
    if (readI32(body, 4) === index) vlans = decodePortVlans(body);
  }
  return vlans;
}

/** Reads the VLANs from the body of an AF_BRIDGE RTM_NEWLINK message. @throws NetlinkFormatError */
export function decodePortVlans(body: Uint8Array): VlanRange[] {
  const vlans: VlanRange[] = [];
  const attributes = new AttributeReader(body, 16);
  while (attributes.next()) {
    if (attributes.type !== IFLA_AF_SPEC) continue;
    const spec = attributes.nested();
    while (spec.next()) {
      if (spec.type !== IFLA_BRIDGE_VLAN_INFO) continue;
      const word = spec.u32();
      const id = word >>> 16;
      vlans.push({
        first: id,
        last: id,
        pvid: (word & BRIDGE_VLAN_INFO_PVID) !== 0,
        untagged: (word & BRIDGE_VLAN_INFO_UNTAGGED) !== 0,
      });
    }
  }
  return vlans;
}

/** struct bridge_vlan_info: flags, VLAN ID. */
function writeVlan(writer: MessageWriter, flags: number, id: number): void {
  writer.attributeU32(IFLA_BRIDGE_VLAN_INFO, flags | (id << 16));
}
