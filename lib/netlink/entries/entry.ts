/** Entries that lead to other nodes, as values: for messages and for a single one. EntryTable has them by the thousand. */
import type { Address, Prefix } from "../../ip/address.ts";

export type Entry = FdbEntry | NeighbourEntry | RouteEntry;

/** Behind which node a MAC is: `bridge fdb add MAC dev LINK dst HOST self`. */
export interface FdbEntry {
  readonly kind: "fdb";
  readonly mac: string;
  readonly host: Address;
  readonly permanent: boolean;
}

/** Which MAC an IP address has: `ip neigh add ADDRESS lladdr MAC dev LINK`. */
export interface NeighbourEntry {
  readonly kind: "neighbour";
  readonly address: Address;
  /** All zero if it is not known. */
  readonly mac: string;
  readonly permanent: boolean;
}

export interface RouteEntry {
  readonly kind: "route";
  readonly route: TunnelRoute;
}

/** The protocol of routes that the kernel makes itself: those of a link's addresses (linux/rtnetlink.h). */
export const RTPROT_KERNEL = 2;

/** A route into a tunnel: `encap ip id VNI dst HOST`. */
export interface Encapsulation {
  readonly vni: number;
  /** The other end of the tunnel. */
  readonly host: Address;
}

/** A route of the main table. It has a gateway, a tunnel, or neither. */
export interface TunnelRoute {
  readonly dst: Prefix;
  /** The index of the link. */
  readonly link: number;
  /** Who made it (RTPROT_*). */
  readonly protocol: number;
  /** The metric: of the routes to one prefix the one with the lowest is used. */
  readonly priority: number;
  readonly gateway: Address | null;
  /** The gateway is on the link although no address of the link says so. */
  readonly onlink: boolean;
  readonly tunnel: Encapsulation | null;
}
