/**
 * The underlay's state as a text: the link and the address between the nodes, and what the device was made with. The stamp
 * contains it, so that the next call notices any change of it. The link and the address are remembered in the device's alias.
 */
import { type Address, formatAddress, parseAddress } from "../ip/address.ts";
import { getLinkByName, type Link } from "../netlink/link.ts";
import { areLocal } from "../netlink/local.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Vxlan } from "../netlink/vxlan.ts";
import { deviceAlias, type OverlaySettings } from "./settings.ts";

const VIA = " via ";

/**
 * The device's alias: whose it is, and the link and address between the nodes. "podwire-overlay pods via eth0 192.0.2.1"
 * @param lower the link between the nodes, null if it is gone
 */
export function aliasVia(settings: OverlaySettings, lower: Link | null, address: Address): string {
  const via = lower === null ? "" : `${VIA}${lower.name} ${formatAddress(address)}`;
  return deviceAlias(settings) + via;
}

/** Whether a device with this alias is the settings' own. */
export function isOwnAlias(settings: OverlaySettings, alias: string): boolean {
  const own = deviceAlias(settings);
  return alias === own || alias.startsWith(own + VIA);
}

/** The state. @param mtu the device's */
export function underlayState(device: Vxlan, lower: Link | null, alias: string, mtu: number): string {
  return `${alias} ${lower === null ? "" : `${lower.index} ${lower.mtu}`} ${device.link.mac} ${mtu}`;
}

/** The state as it is now; "" if the link is gone or down, or the address is no longer this node's. */
export function currentUnderlayState(socket: NetlinkSocket, settings: OverlaySettings, device: Vxlan): string {
  const { alias, mtu } = device.link;
  if (!isOwnAlias(settings, alias)) return "";
  const [name = "", text = ""] = alias.slice(deviceAlias(settings).length + VIA.length).split(" ");
  const address = parseAddress(text);
  const lower = name === "" ? null : getLinkByName(socket, name);
  if (address === null || lower === null || !lower.up || areLocal(socket, [address])[0] !== true) return "";
  return underlayState(device, lower, alias, mtu);
}
