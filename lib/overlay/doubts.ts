/**
 * What keeps pods of different nodes apart although each entry is as it should be: found when all is compared, for a person to
 * mend. Pure.
 */
import { formatAddress, formatPrefix } from "../ip/address.ts";
import { ADDRESS_WORDS, containsAt, isIpv4At, putAddress, wideLength } from "../ip/words.ts";
import { type EntryTable, FOREIGN, HEAD, KEY, METRIC, ROW_WORDS } from "../netlink/entry-table.ts";
import { THIS_NODE } from "./claims.ts";
import { describeEntry, metricAt, type Overlay } from "./entries.ts";
import { CIDR_WORDS, type PeerTable } from "./peer-table.ts";
import type { OverlaySettings } from "./settings.ts";
import type { Sound } from "./sound.ts";
import type { Underlay } from "./underlay.ts";

/** Of each kind so many are told. */
const MAX_TOLD = 3;

/** All that is doubtful about a list for this node. */
export function doubtsOf(settings: OverlaySettings, sound: Sound, underlay: Underlay): string[] {
  return [...ownDoubts(settings, sound, underlay), ...translated(settings, sound)];
}

function ownDoubts(settings: OverlaySettings, { peers, ownRow }: Sound, underlay: Underlay): string[] {
  const { source } = settings;
  const own = formatAddress(underlay.address);
  if (ownRow < 0) {
    /* Peers in the configuration may well be the others only. */
    if (peers.count === 0 || (source.file === "" && source.directory === "")) return [];
    return [
      `${source.file}${source.directory} has no record of this node (${own}): if the others have the same list, none reaches its pods`,
    ];
  }
  const listed = formatAddress(peers.host(ownRow));
  /* Whoever names the underlay knows of the translation. */
  if (listed === own || settings.underlay !== "") return [];
  return [
    `${peers.place(ownRow)} has this node's networks under ${listed}, which no link has: right if the others reach ${own} by that address (NAT), else correct it`,
  ];
}

/** Networks of pods that this node's pods reach with the node's address, which is what `clusterCIDRs` is to prevent. */
function translated(settings: OverlaySettings, { peers, ownRow }: Sound): string[] {
  if (!settings.masquerade) return [];
  const exempt = new Int32Array(settings.exempt.length * CIDR_WORDS);
  let count = 0;
  for (const cidr of settings.exempt) {
    putAddress(exempt, count * CIDR_WORDS, cidr.address);
    exempt[count * CIDR_WORDS + ADDRESS_WORDS] = wideLength(cidr);
    count += 1;
  }
  const found: string[] = [];
  for (let row = 0; row < peers.count; row += 1) {
    if (row === ownRow) continue;
    for (let cidr = peers.firsts[row] ?? 0; cidr < (peers.firsts[row + 1] ?? 0); cidr += 1) {
      if (holdsNetwork(exempt, peers, cidr) || !isOfOurs(settings, peers, cidr)) continue;
      found.push(
        `${formatPrefix(peers.cidr(cidr))} of ${peers.place(row)} is in none of "clusterCIDRs": its pods see this node's address in place of its pods'; add it there on all nodes`,
      );
    }
  }
  return shortened(found);
}

function isOfOurs(settings: OverlaySettings, peers: PeerTable, cidr: number): boolean {
  const family = isIpv4At(peers.cidrs, cidr * CIDR_WORDS) ? 4 : 6;
  return settings.podCidrs.some(({ address }) => address.family === family);
}

function holdsNetwork(exempt: Int32Array, peers: PeerTable, cidr: number): boolean {
  const at = cidr * CIDR_WORDS;
  const length = peers.cidrs[at + ADDRESS_WORDS] ?? 0;
  for (let outer = 0; outer < exempt.length; outer += CIDR_WORDS) {
    const wide = exempt[outer + ADDRESS_WORDS] ?? 0;
    if (wide > length || isIpv4At(exempt, outer) !== isIpv4At(peers.cidrs, at)) continue;
    if (containsAt(exempt, outer, wide, peers.cidrs, at)) return true;
  }
  return false;
}

/** Somebody's routes that come before ours to peers' pods: all of a network's, or some of them. */
export interface Overriding {
  /** One to a whole network; "" if there is none. */
  readonly whole: string;
  readonly parts: readonly string[];
}

/** @param found all that the kernel holds, told apart */
export function overriding(overlay: Overlay, sound: Sound, found: EntryTable): Overriding {
  const { claims } = sound;
  const { words } = found;
  const parts: string[] = [];
  let whole = "";
  for (let row = 0; row < found.count; row += 1) {
    const at = row * ROW_WORDS;
    if (found.kind(row) !== FOREIGN) continue;
    const claim = claims.holderOf(words, at + KEY);
    if (claim < 0 || claims.ownerOf(claim) === THIS_NODE) continue;
    const wide = (words[at + HEAD] ?? 0) >>> 8;
    const route = `somebody's ${describeEntry(found.entry(row))}`;
    if (wide > claims.lengthOf(claim)) {
      parts.push(
        `${route} takes a part of the pods' network ${claims.text(claim)} of another node away from the overlay`,
      );
    } else if (
      wide === claims.lengthOf(claim) &&
      (words[at + METRIC] ?? 0) >>> 0 < metricAt(words, at + KEY, wide, overlay.vni)
    ) {
      whole = `${route} comes before the overlay's route to these pods`;
    }
  }
  return { whole, parts: shortened(parts) };
}

/** The first few, and how many there are more. */
export function shortened(texts: readonly string[]): string[] {
  const first = texts.slice(0, MAX_TOLD);
  if (texts.length > MAX_TOLD) first.push(`and ${texts.length - MAX_TOLD} more like that`);
  return first;
}
