/**
 * The stamp: a route that says from which configuration and list of peers the entries were made. If it is right, a call has
 * nothing to do. It is a route on the VXLAN device, so the kernel removes it whenever the entries may have gone: with the device,
 * when the device is set down, and with a reboot. It is added after all entries and removed before any change, so that a call
 * that is killed leaves none.
 *
 * The route leads to an address of 240.0.0.0/4, which is reserved and used by nobody (RFC 1112 section 4). Pure.
 */
import { createHash } from "node:crypto";
import { sameAddress } from "../ip/address.ts";
import type { TunnelRoute } from "../netlink/entries/entry.ts";
import { PROTOCOL } from "./ownership.ts";

/**
 * The stamp of a configuration and of a list's identity: 28 bits of their digest are in the address, 31 in the metric.
 * @param link the index of the device
 */
export function stampRoute(link: number, configuration: string, identity: string): TunnelRoute {
  const digest = createHash("sha256").update(`${configuration}\n${identity}`).digest();
  const bytes = digest.slice(0, 4);
  bytes[0] = 0xf0 | ((bytes[0] ?? 0) & 0x0f);
  const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
  return {
    dst: { address: { family: 4, bytes }, length: 32 },
    link,
    protocol: PROTOCOL,
    priority: (view.getUint32(4, true) >>> 1) + 1,
    gateway: null,
    onlink: false,
    tunnel: null,
  };
}

/** Whether a route that the kernel has found for the stamp's address is the stamp. */
export function isSameStamp(stamp: TunnelRoute, found: TunnelRoute | null): boolean {
  if (found === null || found.dst.length !== stamp.dst.length) return false;
  if (!sameAddress(found.dst.address, stamp.dst.address)) return false;
  return found.link === stamp.link && found.priority === stamp.priority;
}
