/** What keeps pods of different nodes apart although every entry is as it should be: a person has to correct it. Pure. */
import { formatAddress, formatPrefix } from "../ip/address.ts";
import { PrefixList } from "../ip/columns.ts";
import { itemAt } from "../lists.ts";
import type { EntryTable } from "../netlink/entries/table.ts";
import { describeEntry } from "./entries.ts";
import { FOREIGN, metricOf, type Overlay } from "./ownership.ts";
import type { PeerTable } from "./peer-table.ts";
import { THIS_NODE } from "./pod-networks.ts";
import type { OverlaySettings } from "./settings.ts";
import type { Underlay } from "./underlay.ts";
import type { ValidPeers } from "./valid-peers.ts";

/** How many warnings of each kind are reported. */
const MAX_REPORTED = 3;

/** What is doubtful about a list for this node, a sentence each. */
export function warningsOf(settings: OverlaySettings, valid: ValidPeers, underlay: Underlay): string[] {
  return [...ownRecordWarnings(settings, valid, underlay), ...masqueradeWarnings(settings, valid)];
}

function ownRecordWarnings(settings: OverlaySettings, { peers, ownRow }: ValidPeers, underlay: Underlay): string[] {
  const { source } = settings;
  const own = formatAddress(underlay.address);
  if (ownRow < 0) {
    /* Peers in the configuration may be the other nodes only. */
    if (peers.count === 0 || source.name() === "") return [];
    return [
      `${source.name()} has no record of this node (${own}): if the others have the same list, none reaches its pods`,
    ];
  }
  const listed = formatAddress(peers.host(ownRow));
  /* A configuration that names the underlay is made for the translation. */
  if (listed === own || settings.underlay !== "") return [];
  return [
    `${peers.place(ownRow)} has this node's networks under ${listed}, which no link has: right if the others reach ${own} by that address (NAT), else correct it`,
  ];
}

/** Networks of pods that are in none of `clusterCIDRs`: packets to them are masqueraded. */
function masqueradeWarnings(settings: OverlaySettings, { peers, ownRow }: ValidPeers): string[] {
  if (!settings.masquerade) return [];
  const exempt = new PrefixList(settings.exempt.length);
  for (let i = 0; i < settings.exempt.length; i += 1) {
    const cidr = itemAt(settings.exempt, i);
    if (cidr !== null) exempt.set(i, cidr);
  }
  const found: string[] = [];
  let count = 0;
  for (let row = 0; row < peers.count; row += 1) {
    if (row === ownRow) continue;
    const end = peers.networksEnd(row);
    for (let network = peers.networksBegin(row); network < end; network += 1) {
      if (containsNetwork(exempt, peers, network) || !hasFamilyOf(settings, peers, network)) continue;
      count += 1;
      /* A wrong setting concerns all networks: no sentence is made for each of thousands. */
      if (count > MAX_REPORTED) continue;
      found.push(
        `${formatPrefix(peers.networks.prefix(network))} of ${peers.place(row)} is in none of "clusterCIDRs": its pods see this node's address in place of its pods'; add it there on all nodes`,
      );
    }
  }
  return shortened(found, count);
}

/** Whether this node has pods of a network's IP version. */
function hasFamilyOf(settings: OverlaySettings, peers: PeerTable, network: number): boolean {
  const family = peers.networks.addresses.isIpv4(network) ? 4 : 6;
  return settings.podCidrs.some(({ address }) => address.family === family);
}

/** Whether one of some prefixes contains a network of a peer's. */
function containsNetwork(prefixes: PrefixList, peers: PeerTable, network: number): boolean {
  const { addresses } = peers.networks;
  const length = peers.networks.length(network);
  for (let outer = 0; outer < prefixes.capacity; outer += 1) {
    if (prefixes.length(outer) > length) continue;
    if (prefixes.addresses.isIpv4(outer) !== addresses.isIpv4(network)) continue;
    if (prefixes.contains(outer, addresses, network)) return true;
  }
  return false;
}

/** Routes of other programs that the kernel prefers to ours. */
export interface Overriding {
  /** A sentence about one to a whole network of a peer's; "" if there is none. */
  readonly whole: string;
  /** Sentences about those to parts of such networks. */
  readonly parts: readonly string[];
}

/** @param found all that the kernel holds, with marks */
export function overridingRoutes(overlay: Overlay, valid: ValidPeers, found: EntryTable): Overriding {
  const { networks } = valid;
  const parts: string[] = [];
  let whole = "";
  for (let row = 0; row < found.count; row += 1) {
    if (found.mark(row) !== FOREIGN) continue;
    const network = networks.networkOf(found.addresses, row);
    if (network < 0 || networks.ownerOf(network) === THIS_NODE) continue;
    const length = found.length(row);
    const route = `somebody's ${describeEntry(found.entry(row))}`;
    if (length > networks.lengthOf(network)) {
      parts.push(
        `${route} takes a part of the pods' network ${networks.text(network)} of another node away from the overlay`,
      );
    } else if (
      length === networks.lengthOf(network) &&
      found.metric(row) < metricOf(found.addresses, row, length, overlay.vni)
    ) {
      whole = `${route} comes before the overlay's route to these pods`;
    }
  }
  return { whole, parts: shortened(parts) };
}

/** The first few of some sentences, and how many more there are. @param count of all; `texts` may be the first of them */
export function shortened(texts: readonly string[], count = texts.length): string[] {
  const first = texts.slice(0, MAX_REPORTED);
  if (count > MAX_REPORTED) first.push(`and ${count - MAX_REPORTED} more like that`);
  return first;
}
