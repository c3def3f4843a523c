/** The configuration of an overlay, checked and with defaults: the plugin reads it, and all else here uses it. */
import { formatPrefixes, type Prefix } from "../ip/address.ts";
import type { Datapath } from "./mtu.ts";
import type { PeerSource } from "./sources/source.ts";

/** What the configuration says. */
export interface OverlayOptions {
  /** The network's name: the owner of the device. */
  readonly network: string;
  readonly vni: number;
  readonly port: number;
  readonly datapath: Datapath;
  /** The link or address that this node is reached by, as text; "" to choose it by the peers and the routes. */
  readonly underlay: string;
  /** The networks of this node's own pods. */
  readonly podCidrs: readonly Prefix[];
  readonly source: PeerSource;
  /** Peers on the same segment are reached without a tunnel. */
  readonly directRouting: boolean;
  /** The most that the device's MTU may be; 0 for what fits. */
  readonly mtu: number;
  /** Whether the device leaves checksums to the links below; null for the kernel's default. */
  readonly checksumOffload: boolean | null;
  /** Whether pods learn of narrow paths by ICMP; else the outer packets are fragmented. */
  readonly pathMtuDiscovery: boolean;
  /** Whether VXLAN packets from hosts that are no peers are dropped. */
  readonly peersOnly: boolean;
  /** Whether VXLAN packets are kept out of connection tracking. */
  readonly notrack: boolean;
  /** Whether firewalls of other programs that drop packets of pods get an accepting rule. */
  readonly firewall: boolean;
  /** Whether packets of pods that leave the cluster get the node's address. */
  readonly masquerade: boolean;
  /** Destinations of packets that keep the pods' addresses: the networks of all pods, and others that are configured. */
  readonly exempt: readonly Prefix[];
}

export interface OverlaySettings extends OverlayOptions {
  /** The configuration without what is about one call only, as JSON on one line: `repair` reads it again. */
  readonly record: string;
}

/** The options in the order in which the stamp's text has them; config.test.ts asks for all of them. */
const STAMPED: readonly (keyof OverlayOptions)[] = [
  "network",
  "vni",
  "port",
  "datapath",
  "underlay",
  "directRouting",
  "mtu",
  "pathMtuDiscovery",
  "source",
  "peersOnly",
  "notrack",
  "firewall",
  "masquerade",
  "checksumOffload",
  "podCidrs",
  "exempt",
];

/**
 * The options as a text for the stamp: it changes with every option. Nodes that run have stamps of this text: the lines of the
 * options that there are must stay as they are, and a new option must add no line for its default. A node whose stamp does not
 * match loses nothing: its entries are compared once, and the stamp is put again.
 */
export function optionsText(options: OverlayOptions): string {
  const lines: string[] = [];
  for (const option of STAMPED) lines.push(...linesOf(option, options));
  const { source, podCidrs, exempt } = options;
  return [...lines, sourceLine(source), ...boundaryLine(podCidrs, exempt)].join("\n");
}

/** The compiler asks for a new option here. */
function linesOf(option: keyof OverlayOptions, options: OverlayOptions): string[] {
  const { checksumOffload, source } = options;
  switch (option) {
    case "network":
      return [options.network];
    case "vni":
      return [`${options.vni}`];
    case "port":
      return [`${options.port}`];
    case "datapath":
      return [options.datapath];
    case "underlay":
      return [options.underlay];
    case "directRouting":
      return [`${options.directRouting}`];
    case "mtu":
      return [`${options.mtu}`];
    case "pathMtuDiscovery":
      return [`${options.pathMtuDiscovery}`];
    case "source":
      return [source.option === "peersFile" ? source.value : "", source.option === "peersDir" ? source.value : ""];
    case "peersOnly":
      return [`${options.peersOnly}`];
    case "notrack":
      return [`${options.notrack}`];
    case "firewall":
      return [`${options.firewall}`];
    case "masquerade":
      return [`${options.masquerade}`];
    case "checksumOffload":
      return [checksumOffload === null ? "" : `${checksumOffload}`];
    case "podCidrs":
      return formatPrefixes(options.podCidrs);
    case "exempt":
      return formatPrefixes(options.exempt);
  }
}

/** What the text has of a source that is neither a file nor a directory. */
function sourceLine({ option, value }: PeerSource): string {
  if (option === "peersFile" || option === "peersDir") return "";
  return option === "peers" ? value : `${option} ${value}`;
}

/** Says where `podCidrs` end and `exempt` begins, unless it is the usual case: one network of pods of each IP version. */
function boundaryLine(podCidrs: readonly Prefix[], exempt: readonly Prefix[]): string[] {
  const [first, second] = [...podCidrs, ...exempt].map((prefix) => prefix.address.family);
  const usual = second === undefined || first === second ? 1 : 2;
  return podCidrs.length === usual ? [] : [`${podCidrs.length}`];
}

/** What the names of devices and of their tables in the packet filter begin with; the VNI follows. */
export const DEVICE_PREFIX = "overlay";
export const TABLE_PREFIX = "podwire_overlay";

/** The name of an overlay's device. */
export function deviceName(settings: OverlaySettings): string {
  return `${DEVICE_PREFIX}${settings.vni}`;
}

/** The beginning of the device's alias, which says whose the device is: `ip link` shows it. */
export function deviceAlias(settings: OverlaySettings): string {
  return `podwire-overlay ${settings.network}`;
}
