/** Offloads: what links leave to the hardware or to the links below them (include/uapi/linux/ethtool_netlink.h, genetlink.h). */
import { ENOENT } from "../sys/errno.ts";
import { AttributeReader } from "./message-reader.ts";
import { NETLINK_GENERIC } from "./netlink.ts";
import { NetlinkSocket } from "./socket.ts";

const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;

const ETHTOOL_MSG_FEATURES_SET = 12;
const ETHTOOL_A_FEATURES_HEADER = 1;
const ETHTOOL_A_FEATURES_WANTED = 3;
const ETHTOOL_A_HEADER_DEV_INDEX = 1;
const ETHTOOL_A_HEADER_FLAGS = 3;
const ETHTOOL_FLAG_OMIT_REPLY = 2;
const ETHTOOL_A_BITSET_BITS = 3;
const ETHTOOL_A_BITSET_BITS_BIT = 1;
const ETHTOOL_A_BITSET_BIT_NAME = 2;
const ETHTOOL_A_BITSET_BIT_VALUE = 3;

/**
 * `ethtool -K LINK FEATURE on|off`. To set what is set already succeeds.
 * @param link its index in the network namespace that the process is in
 * @param feature as ethtool -k lists it: "tx-checksum-ip-generic"
 * @returns the error number with which the kernel refused, 0 if it did not; ENOENT if it has no such interface (before 5.7)
 * @throws SystemError
 */
export function setFeature(link: number, feature: string, on: boolean): number {
  const socket = new NetlinkSocket(NETLINK_GENERIC);
  try {
    const family = familyOf(socket, "ethtool");
    if (family === 0) return ENOENT;
    const writer = socket.request(family, 0);
    writer.u8(ETHTOOL_MSG_FEATURES_SET);
    writer.u8(1);
    writer.u16(0);
    const header = writer.beginNested(ETHTOOL_A_FEATURES_HEADER);
    writer.attributeU32(ETHTOOL_A_HEADER_DEV_INDEX, link);
    writer.attributeU32(ETHTOOL_A_HEADER_FLAGS, ETHTOOL_FLAG_OMIT_REPLY);
    writer.endNested(header);
    const wanted = writer.beginNested(ETHTOOL_A_FEATURES_WANTED);
    const bits = writer.beginNested(ETHTOOL_A_BITSET_BITS);
    const bit = writer.beginNested(ETHTOOL_A_BITSET_BITS_BIT);
    writer.attributeText(ETHTOOL_A_BITSET_BIT_NAME, feature);
    if (on) writer.attributeBytes(ETHTOOL_A_BITSET_BIT_VALUE, new Uint8Array(0));
    writer.endNested(bit);
    writer.endNested(bits);
    writer.endNested(wanted);
    writer.end();
    return socket.attempt();
  } finally {
    socket.close();
  }
}

/** The number of a generic netlink family; 0 if the kernel has none of that name. */
function familyOf(socket: NetlinkSocket, name: string): number {
  const writer = socket.query(GENL_ID_CTRL);
  writer.u8(CTRL_CMD_GETFAMILY);
  writer.u8(1);
  writer.u16(0);
  writer.attributeText(CTRL_ATTR_FAMILY_NAME, name);
  writer.end();
  let family = 0;
  socket.exchange((message) => {
    const attributes = new AttributeReader(message.body, 4);
    while (attributes.next()) {
      if (attributes.type === CTRL_ATTR_FAMILY_ID) family = attributes.u16();
    }
  });
  return family;
}
