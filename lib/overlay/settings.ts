/** What the configuration of an overlay says, complete and checked: the plugin reads it, everything else here uses it. */
import type { Prefix } from "../ip/address.ts";
import type { Datapath } from "./mtu.ts";
import type { PeerList } from "./peers.ts";

/** Where the peers are told: one of the three. */
export interface PeerSource {
  readonly inline: PeerList | null;
  /** A file as `parsePeersFile` reads it; "" for none. */
  readonly file: string;
  /** A directory with a file for each peer, which holds one JSON object; "" for none. */
  readonly directory: string;
}

export interface OverlaySettings {
  /** The network's name: whose the device is. */
  readonly network: string;
  readonly vni: number;
  readonly port: number;
  readonly datapath: Datapath;
  /** The link or address that this node is reached by, as text; "" leaves it to the peers and the routes. */
  readonly underlay: string;
  /** The networks of this node's own pods. */
  readonly podCidrs: readonly Prefix[];
  readonly source: PeerSource;
  /** Peers on the same segment are reached without a tunnel. */
  readonly directRouting: boolean;
  /** The most that the device's MTU may be; 0 for what fits. */
  readonly mtu: number;
  /** Whether the device is to leave checksums to the links below; null for what the kernel does. */
  readonly checksumOffload: boolean | null;
  /** Whether pods learn of narrow paths by ICMP, instead of the outer packets being cut. */
  readonly pathMtuDiscovery: boolean;
  /** Whether VXLAN packets from hosts that are no peers are dropped. */
  readonly peersOnly: boolean;
  /** Whether VXLAN packets are kept out of connection tracking. */
  readonly notrack: boolean;
  /** Whether other people's firewalls that drop what pods send or get are opened for it. */
  readonly firewall: boolean;
  /** Whether what pods send out of the cluster gets the node's address. */
  readonly masquerade: boolean;
  /** Where pods are seen by their own addresses: the networks of all pods, and what is configured besides. */
  readonly exempt: readonly Prefix[];
  /** All of the above but the peers of a file or directory, as a text that changes with it. */
  readonly text: string;
  /** The configuration without what only one call is about, as JSON. */
  readonly record: string;
}

/** What the names of devices and of their tables in the packet filter begin with; the VNI follows. */
export const DEVICE_PREFIX = "overlay";
export const TABLE_PREFIX = "podwire_overlay";

/** The name of an overlay's device. */
export function deviceName(settings: OverlaySettings): string {
  return `${DEVICE_PREFIX}${settings.vni}`;
}

/** What the alias begins with that says whose the device is; `ip link` shows it. */
export function deviceAlias(settings: OverlaySettings): string {
  return `podwire-overlay ${settings.network}`;
}
