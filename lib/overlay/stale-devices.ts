/** Devices that this network had under other VNIs: the VNI was changed in the configuration, and the device is named after it. */
import { bits, type Prefix, sameAddress } from "../ip/address.ts";
import { listAddresses } from "../netlink/address.ts";
import { type Link, writeDeleteLink } from "../netlink/link.ts";
import { writeDeleteTable } from "../netlink/nftables/messages.ts";
import { NFPROTO_INET } from "../netlink/nftables/objects.ts";
import { NETLINK_NETFILTER, NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { listVxlans, type Vxlan } from "../netlink/vxlan.ts";
import { ENOENT, SystemError } from "../sys/errno.ts";
import { DEVICE_PREFIX, deviceAlias, deviceName, type OverlaySettings, TABLE_PREFIX } from "./settings.ts";

/** A stale device, and its table in the packet filter, which may not exist. */
export interface StaleDevice {
  readonly link: Link;
  readonly table: string;
}

/**
 * The stale devices: they have the addresses and routes that the new device needs. A second overlay of the network, for other
 * pods, has other addresses and stays.
 * @throws NetlinkError
 */
export function staleDevices(socket: NetlinkSocket, settings: OverlaySettings): StaleDevice[] {
  const stale: StaleDevice[] = [];
  for (const device of listVxlans(socket)) {
    const { name, alias } = device.link;
    /* The first two words of the alias are the owner: no network has a space in its name. */
    if (name === deviceName(settings) || alias.split(" ", 2).join(" ") !== deviceAlias(settings)) continue;
    if (!name.startsWith(DEVICE_PREFIX) || !hasOwnAddress(socket, device, settings.podCidrs)) continue;
    stale.push({ link: device.link, table: TABLE_PREFIX + name.slice(DEVICE_PREFIX.length) });
  }
  return stale;
}

/** Removes the stale devices with their tables. @throws NetlinkError */
export function removeStaleDevices(socket: NetlinkSocket, settings: OverlaySettings): void {
  for (const { link, table } of staleDevices(socket, settings)) {
    writeDeleteLink(socket, link.index);
    socket.run();
    removeTable(table);
  }
}

/** Whether a device has the first address of one of this node's networks. */
function hasOwnAddress(socket: NetlinkSocket, device: Vxlan, podCidrs: readonly Prefix[]): boolean {
  for (const { prefix } of listAddresses(socket, device.link.index)) {
    for (const { address } of podCidrs) {
      if (prefix.length === bits(address.family) && sameAddress(prefix.address, address)) return true;
    }
  }
  return false;
}

/** Removes a table, if it exists: `nft delete table inet NAME`. A kernel without nf_tables has none. @throws NetlinkError */
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
