/** The MTU of an overlay. Pure. */
import type { Family } from "../ip/address.ts";

/** "classic" carries Ethernet frames; "gpe" carries IP packets as they are (VXLAN-GPE, draft-ietf-nvo3-vxlan-gpe). */
export type Datapath = "classic" | "gpe";

/** UDP's header and VXLAN's. */
const UDP_AND_VXLAN = 8 + 8;
const ETHERNET = 14;
const IPV4 = 20;
const IPV6 = 40;

/** The lowest MTU of a link with IPv6 (RFC 8200 section 5), and with IPv4 (RFC 791). */
export const MIN_MTU_IPV6 = 1280;
export const MIN_MTU_IPV4 = 68;

/** The bytes that are added to a pod's packet between nodes whose addresses are of a family. */
export function overhead(datapath: Datapath, underlay: Family): number {
  return UDP_AND_VXLAN + (underlay === 4 ? IPV4 : IPV6) + (datapath === "classic" ? ETHERNET : 0);
}

/** The path to a node: its MTU, 0 if that is not known, and the IP version of the outer packets. */
export interface PathMtu {
  readonly mtu: number;
  readonly underlay: Family;
}

/**
 * The MTU of the overlay's device and of all pods' links: what fits on every path.
 * @param linkMtu the MTU of the link between the nodes
 * @param paths to the other nodes, each once
 * @param configured a lower MTU that the configuration asks for; 0 for none. One that does not fit is ignored
 */
export function overlayMtu(
  datapath: Datapath,
  underlay: Family,
  linkMtu: number,
  paths: readonly PathMtu[],
  configured: number,
): number {
  let mtu = linkMtu - overhead(datapath, underlay);
  for (const path of paths) {
    const limit = path.mtu > 0 ? Math.min(path.mtu, linkMtu) : linkMtu;
    mtu = Math.min(mtu, limit - overhead(datapath, path.underlay));
  }
  return configured > 0 ? Math.min(mtu, configured) : mtu;
}
