/** What an overlay left under another VNI: the configuration has changed, and the device is named after it. */
import { bits, type Prefix, sameAddress } from "../ip/address.ts";
import { listAddresses } from "../netlink/address.ts";
import { writeDeleteLink } from "../netlink/link.ts";
import { writeDeleteTable } from "../netlink/nftables/messages.ts";
import { NFPROTO_INET } from "../netlink/nftables/objects.ts";
import { NETLINK_NETFILTER, NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { listVxlans, type Vxlan } from "../netlink/vxlan.ts";
import { ENOENT, SystemError } from "../sys/errno.ts";
import { DEVICE_PREFIX, deviceAlias, deviceName, type OverlaySettings, TABLE_PREFIX } from "./settings.ts";

/**
 * Removes the devices that this network had under other VNIs, with their tables: they have the addresses and the routes
 * that the new device is to have. A second overlay of the network, for other pods, has neither.
 * @throws NetlinkError
 */
export function removeFormer(socket: NetlinkSocket, settings: OverlaySettings): void {
  for (const device of listVxlans(socket)) {
    const { name, alias, index } = device.link;
    /* No network has a space in its name; what follows one in the alias is of no concern here. */
    if (name === deviceName(settings) || alias.split(" ", 2).join(" ") !== deviceAlias(settings)) continue;
    if (!name.startsWith(DEVICE_PREFIX) || !hasOurs(socket, device, settings.podCidrs)) continue;
    writeDeleteLink(socket, index);
    socket.run();
    removeTable(TABLE_PREFIX + name.slice(DEVICE_PREFIX.length));
  }
}

/** Whether a device has the first address of one of our networks. */
function hasOurs(socket: NetlinkSocket, device: Vxlan, podCidrs: readonly Prefix[]): boolean {
  for (const { prefix } of listAddresses(socket, device.link.index)) {
    for (const { address } of podCidrs) {
      if (prefix.length === bits(address.family) && sameAddress(prefix.address, address)) return true;
    }
  }
  return false;
}

/** Removes a table of an overlay's, if it is there; without nf_tables it is not. @throws NetlinkError */
export function removeTable(name: string): void {
  let socket: NetlinkSocket | null = null;
  try {
    socket = new NetlinkSocket(NETLINK_NETFILTER);
    const batch = socket.batch();
    writeDeleteTable(batch, NFPROTO_INET, name);
    batch.commit();
  } catch (error) {
    if (error instanceof SystemError) return;
    if (!(error instanceof NetlinkError) || error.errno !== ENOENT) throw error;
  } finally {
    socket?.abandon();
  }
}
