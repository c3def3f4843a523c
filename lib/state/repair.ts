/** `<plugin> repair`: puts back what other programs have flushed, without the configuration of any attachment. */
import { neighbourElement } from "../filter/hostport-elements.ts";
import { bridgedTrafficIsFiltered } from "../filter/kube-proxy.ts";
import type { FilterElement, FilterRecord } from "../filter/record.ts";
import { liveRecords } from "../filter/restore.ts";
import { RecordStore } from "../filter/store.ts";
import { parseAddress } from "../ip/address.ts";
import { textAt } from "../lists.ts";
import { getLinkByIndex } from "../netlink/link.ts";
import { getRouteLink } from "../netlink/route.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { Kernel, kernelRefused } from "./kernel.ts";
import { restoreFilter } from "./kinds/filter.ts";

/**
 * Puts back whatever is missing of the packet filter for the live attachments of the process's network namespace. It also
 * follows the setting of br_netfilter: when bridges stop passing their traffic to the packet filter, the neighbours of pods
 * with published ports must be masqueraded.
 * @returns whether anything was missing or has changed
 * @throws CniError 100, 11
 */
export function repair(): boolean {
  const kernel = Kernel.forHost();
  try {
    let changed = restoreFilter(kernel);
    for (const record of published()) {
      const wanted = withNeighbours(kernel, record);
      if (wanted === null) continue;
      kernel.filter.put(wanted, false);
      changed = true;
    }
    return changed;
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, "cannot look for pods' bridges", "");
    throw error;
  } finally {
    kernel.close();
  }
}

/** The records of published ports in nf_tables of live attachments. */
function published(): FilterRecord[] {
  const store = RecordStore.open(false);
  if (store === null) return [];
  try {
    return liveRecords(store, "").filter((record) => record.owner.plugin === "portmap" && record.ports.length > 0);
  } finally {
    store.close();
  }
}

/** A record with the elements for neighbours that it needs now; null if it has exactly these. */
function withNeighbours(kernel: Kernel, record: FilterRecord): FilterRecord | null {
  const needed = neighboursOf(kernel, record);
  const others = record.elements.filter((element) => !element.set.startsWith("same_link"));
  const present = record.elements.length - others.length;
  if (needed.length === present && needed.every((element) => holds(record, element))) return null;
  return { ...record, elements: [...others, ...needed] };
}

function holds(record: FilterRecord, wanted: FilterElement): boolean {
  return record.elements.some(({ set, key }) => set === wanted.set && key === wanted.key);
}

/** The elements for neighbours that a record needs: for each of its pods with an element in `hairpin`. */
function neighboursOf(kernel: Kernel, record: FilterRecord): FilterElement[] {
  const elements: FilterElement[] = [];
  for (const { set, key } of record.elements) {
    const pod = set.startsWith("hairpin") ? parseAddress(textAt(key.split(" . "), 0)) : null;
    if (pod === null || bridgedTrafficIsFiltered(pod.family)) continue;
    const link = getLinkByIndex(kernel.host, getRouteLink(kernel.host, pod));
    if (link === null || link.kind !== "bridge") continue;
    elements.push(neighbourElement(pod, link.name));
  }
  return elements;
}
