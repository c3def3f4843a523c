/**
 * The stamp: what the kernel holds was made from this configuration and this list of peers. It is kept where it cannot
 * outlive what it speaks of: a route on the VXLAN device, which goes with the device, with its being set down and with a
 * reboot. It is put last and taken away first, so that a call killed in between leaves none.
 *
 * The route leads to an address of 240.0.0.0/4, which nobody has and nobody is sent to (RFC 1112 section 4). Pure.
 */
import { createHash } from "node:crypto";
import type { TunnelRoute } from "../netlink/entry-table.ts";
import { PROTOCOL } from "./entries.ts";

/** The stamp of a configuration and a list's identity, as a route on a device: 28 bits in the address, 31 in the metric. */
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

/** Whether a route is somebody's stamp, of whichever state. */
export function isStamp(route: TunnelRoute): boolean {
  return route.dst.address.family === 4 && route.dst.length === 32 && (route.dst.address.bytes[0] ?? 0) >= 0xf0;
}

/** Whether a route that the kernel has found for the stamp's address is the stamp. */
export function isSameStamp(stamp: TunnelRoute, found: TunnelRoute | null): boolean {
  return found !== null && isStamp(found) && found.link === stamp.link && found.priority === stamp.priority;
}
