/**
 * What a reconciliation stood on: the link and address between the nodes, and the device as it was left. The stamp covers
 * it, so that a change of any of it is noticed by the next call, whatever that is.
 */
import { formatAddress, parseAddress } from "../ip/address.ts";
import { getLinkByName, type Link } from "../netlink/link.ts";
import { areLocal } from "../netlink/local.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Vxlan } from "../netlink/vxlan.ts";
import { deviceAlias, type OverlaySettings } from "./settings.ts";
import type { Underlay } from "./underlay.ts";

const VIA = " via ";

/** The device's alias, which says whose it is and what it stands on: "podwire-overlay pods via eth0 192.0.2.1". */
export function aliasVia(settings: OverlaySettings, lower: Link | null, underlay: Underlay): string {
  const via = lower === null ? "" : `${VIA}${lower.name} ${formatAddress(underlay.address)}`;
  return deviceAlias(settings) + via;
}

/** Whether a device with this alias is the settings' own. */
export function isOwnAlias(settings: OverlaySettings, alias: string): boolean {
  const own = deviceAlias(settings);
  return alias === own || alias.startsWith(own + VIA);
}

/** As a text that changes with it. @param mtu the device's */
export function footing(device: Vxlan, lower: Link | null, alias: string, mtu: number): string {
  return `${alias} ${lower === null ? "" : `${lower.index} ${lower.mtu}`} ${device.link.mac} ${mtu}`;
}

/** The same as it is now; "" if the link is gone or down, or the address is not this node's any more. */
export function presentFooting(socket: NetlinkSocket, settings: OverlaySettings, device: Vxlan): string {
  const { alias, mtu } = device.link;
  if (!isOwnAlias(settings, alias)) return "";
  const [name = "", text = ""] = alias.slice(deviceAlias(settings).length + VIA.length).split(" ");
  const address = parseAddress(text);
  const lower = name === "" ? null : getLinkByName(socket, name);
  if (address === null || lower === null || !lower.up || areLocal(socket, [address])[0] !== true) return "";
  return footing(device, lower, alias, mtu);
}
