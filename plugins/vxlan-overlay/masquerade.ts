/** A plugin before this one that masquerades pods must exempt the cluster, or pods of other nodes see the node's address. */
import type { Call } from "../../lib/cni/plugin.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";
import { type FilterOwner, type FilterRecord, recordName } from "../../lib/filter/record.ts";
import { formatFilterRecord } from "../../lib/filter/record-text.ts";
import { RecordStore } from "../../lib/filter/store.ts";
import { contains, formatPrefix, type Prefix, parsePrefix } from "../../lib/ip/address.ts";

/**
 * Refuses an attachment that `bridge` masquerades also towards the other nodes' pods.
 * @param cluster the networks of all pods
 * @throws CniError 7
 */
export function refuseMasquerade(call: Call, cluster: readonly Prefix[]): void {
  const { containerId, ifname } = call.request;
  const owner: FilterOwner = { network: call.config.name, containerId, ifname, plugin: "bridge" };
  if (!RecordStore.has(owner)) return;
  const store = RecordStore.open(false);
  if (store === null) return;
  try {
    const record = store.get(recordName(owner));
    if (record === null || !masquerades(record)) return;
    if (areExempt(record, cluster)) return;
  } finally {
    store.close();
  }
  throw clash(cluster);
}

/** The error for a bridge that masquerades without exempting the cluster. */
export function clash(cluster: readonly Prefix[]): CniError {
  const names: string[] = [];
  for (const cidr of cluster) names.push(`"${formatPrefix(cidr)}"`);
  const shown = names.join(", ");
  return new CniError(
    INVALID_CONFIG,
    'bridge has "ipMasq": true and translates what pods send to other nodes\' pods',
    `remove "ipMasq" from bridge and give vxlan-overlay the networks of all pods as "clusterCIDRs", which then translates what leaves the cluster; or name them in bridge's "nonMasqueradeCIDRs"${shown === "" ? "" : `: ${shown}`}`,
  );
}

function areExempt(record: FilterRecord, cluster: readonly Prefix[]): boolean {
  for (const cidr of cluster) if (!isExempt(record, cidr)) return false;
  return cluster.length > 0;
}

function masquerades(record: FilterRecord): boolean {
  return record.iptables.length > 0 || record.elements.some((element) => element.set.startsWith("masquerade"));
}

/** Whether one of the networks in the record's rules contains another one. */
function isExempt(record: FilterRecord, cidr: Prefix): boolean {
  for (const line of formatFilterRecord(record).split("\n")) {
    for (const word of line.split(" ")) {
      const named = word.includes("/") ? parsePrefix(word) : null;
      if (named !== null && named.length <= cidr.length && contains(named, cidr.address)) return true;
    }
  }
  return false;
}
