/**
 * The kinds of object a plan is made of. A plan is data: what should exist for one attachment, in the order in which it
 * has to come into being. The engine (apply.ts, compare.ts, remove.ts) knows how to make it so, how to tell whether it is
 * so, and how to take it away; a plugin only describes.
 */
import type { HostPort } from "../filter/hostports.ts";
import type { FilterRecord } from "../filter/record.ts";
import type { Address, Family, Prefix } from "../ip/address.ts";
import type { FairQueue, TokenBucket } from "../netlink/queueing.ts";
import type { Route } from "../netlink/route.ts";
import type { Hook, TrafficFilter } from "../netlink/traffic-filter.ts";
import type { VlanRange } from "../netlink/vlan.ts";

/** Which of the two namespaces of a call an object lives in. */
export type Where = "host" | "container";

/** A bridge, shared by all attachments of the node: made (down) if it is missing, never removed. */
export interface BridgeObject {
  readonly kind: "bridge";
  readonly name: string;
  /** For a new bridge; 0 is the kernel's default. */
  readonly mtu: number;
  readonly vlanFiltering: boolean;
}

/** The veth pair of an attachment: the host end is a port of a bridge, the other end is in the container. */
export interface VethObject {
  readonly kind: "veth";
  readonly name: string;
  readonly mac: Uint8Array;
  readonly bridge: string;
  /** Whether the container may send tagged frames. */
  readonly trunk: boolean;
  /** Of both ends when they are made. */
  readonly mtu: number;
  readonly containerName: string;
  readonly containerMac: Uint8Array;
  /** What the container's end has by now: plugins behind this one may have changed it. */
  readonly containerMtu: number;
  readonly alias: string;
}

/** Nobody on the bridge but this attachment has an Ethernet address that was asked for. Behind the pair and before its port. */
export interface FreeMacObject {
  readonly kind: "free-mac";
  readonly mac: Uint8Array;
  readonly bridge: string;
  readonly port: string;
}

/** What makes the host end a good port: its options, its alias, up. */
export interface PortObject {
  readonly kind: "port";
  readonly name: string;
  readonly alias: string;
  readonly hairpin: boolean;
  readonly isolated: boolean;
  /** The port's VLANs; null leaves the bridge's default alone. */
  readonly vlans: readonly VlanRange[] | null;
  /** Whether VLAN 1, which every port of a filtering bridge begins with, is taken away. */
  readonly dropDefaultVlan: boolean;
}

/** A link of the host that 127.0.0.1 leads out of; the packet filter keeps others from coming in that way. Shared. */
export interface LocalnetObject {
  readonly kind: "localnet";
  readonly link: string;
  /** Whether a port is reached by nothing but 127.0.0.0/8, and so is of no use without it. */
  readonly required: boolean;
}

/** The gateway's own link where a VLAN is in use: a veth pair on the host with one end in the bridge. Shared, like the bridge. */
export interface VlanGatewayObject {
  readonly kind: "vlan-gateway";
  readonly name: string;
  readonly portName: string;
  readonly alias: string;
  readonly bridge: string;
  readonly mtu: number;
  readonly vlan: number;
}

/** A kernel setting below /proc/sys. Where it is missing or cannot be written an `optional` one is passed over. */
export interface SysctlObject {
  readonly kind: "sysctl";
  readonly where: Where;
  /** The path's parts: ["net", "ipv6", "conf", "eth0", "accept_ra"]. */
  readonly path: readonly string[];
  readonly value: string;
  readonly optional: boolean;
}

/** A link that is up, and promiscuous if that is asked for. */
export interface LinkUpObject {
  readonly kind: "up";
  readonly where: Where;
  readonly name: string;
  readonly promiscuous: boolean;
}

/** A link of the container that announces its IPv4 addresses when it comes up, or its Ethernet address is set. */
export interface ArpNotifyObject {
  readonly kind: "arp-notify";
  readonly link: string;
}

/** An address on a link of the container. */
export interface AddressObject {
  readonly kind: "address";
  readonly link: string;
  readonly address: Prefix;
  /** False: let the kernel look for duplicates first (IPv6 only). */
  readonly nodad: boolean;
}

/** A route through a link of the container. */
export interface RouteObject {
  readonly kind: "route";
  readonly link: string;
  readonly route: Route;
}

/** The gateways' addresses on a link of the host. Shared: made if they are missing, never removed. */
export interface GatewaysObject {
  readonly kind: "gateways";
  readonly link: string;
  readonly addresses: readonly Prefix[];
  /** The bridge whose ports the gateways are for, and which of them is the attachment's own ("" for none yet). */
  readonly bridge: string;
  readonly port: string;
  /** Whether addresses in their way are removed instead of being an error. */
  readonly force: boolean;
}

/** The host forwards packets of a family. Shared. */
export interface ForwardingObject {
  readonly kind: "forwarding";
  readonly family: Family;
  /** The link of the host that pods' packets come in by; "" leaves its own settings alone. */
  readonly link: string;
}

/** No neighbour of this address is remembered on a link of the host: an earlier holder's Ethernet address must not be used. */
export interface ForgottenNeighbourObject {
  readonly kind: "forgotten-neighbour";
  readonly link: string;
  readonly address: Address;
}

/** The port carries traffic, and the bridge's other hosts have been told where the container's addresses are. */
export interface AnnouncementObject {
  readonly kind: "announcement";
  readonly port: string;
  readonly containerLink: string;
  readonly containerMac: Uint8Array;
}

/** What the attachment has in the packet filter: all of it in one transaction. */
export interface FilterObject {
  readonly kind: "filter";
  readonly record: FilterRecord;
  /** Whether host ports that live attachments hold are taken over instead of being refused. */
  readonly lastWins: boolean;
}

/** The packet filter's rules for all pods' links, router advertisements above all. Shared; a kernel may be without. */
export interface GuardObject {
  readonly kind: "guard";
}

/** Hairpin mode of a bridge port: what a pod sends to itself through the host comes back. */
export interface HairpinObject {
  readonly kind: "hairpin";
  readonly port: string;
}

/** Connections to newly published ports that the kernel still treats as before: it forgets them. */
export interface FlowsObject {
  readonly kind: "flows";
  readonly ports: readonly HostPort[];
}

/** What leaves by a link holds a rate. */
export interface ShaperObject {
  readonly kind: "shaper";
  readonly where: Where;
  readonly link: string;
  readonly bucket: TokenBucket;
  readonly queue: FairQueue;
}

/** A link that an attachment's packets are sent through to hold a rate; see `redirect`. */
export interface IfbObject {
  readonly kind: "ifb";
  readonly where: Where;
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly alias: string;
  readonly bucket: TokenBucket;
  readonly queue: FairQueue;
}

/** A link's packets, or those of some subnets, take the way through an ifb as they come in or go out. */
export interface RedirectObject {
  readonly kind: "redirect";
  readonly where: Where;
  readonly link: string;
  readonly ifb: string;
  readonly hook: Hook;
  readonly matches: readonly RedirectMatch[];
}

/** One filter of a `redirect`; what no filter says anything about passes. */
export interface RedirectMatch {
  /** 0 for an IPv4 subnet, 1 for an IPv6 one, 2 for all packets, 3 and 4 for tagged ones: the kernel asks in this order. */
  readonly rank: 0 | 1 | 2 | 3 | 4;
  readonly subnet: Prefix | null;
  readonly end: TrafficFilter["end"];
  readonly shaped: boolean;
}

export type KernelObject =
  | BridgeObject
  | VethObject
  | FreeMacObject
  | PortObject
  | VlanGatewayObject
  | SysctlObject
  | LinkUpObject
  | ArpNotifyObject
  | AddressObject
  | RouteObject
  | GatewaysObject
  | ForwardingObject
  | ForgottenNeighbourObject
  | AnnouncementObject
  | FilterObject
  | GuardObject
  | HairpinObject
  | LocalnetObject
  | FlowsObject
  | ShaperObject
  | IfbObject
  | RedirectObject;
