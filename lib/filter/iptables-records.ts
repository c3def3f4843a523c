/** What attachments have in the packet filter by the iptables backend: making it, and taking it away again. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { warn } from "../host/io.ts";
import { type Family, sameAddress } from "../ip/address.ts";
import { type HostPort, hostPortsIn } from "./hostports.ts";
import { addIptables, removeIptables, repairIptables, requireWorkingIptables } from "./iptables.ts";
import type { IptablesPlan } from "./iptables-plan.ts";
import { type FilterElement, type FilterRecord, ownerHash, ownerText, recordName } from "./record.ts";
import { liveRecords } from "./restore.ts";
import { isDead, portTaken } from "./rivals.ts";
import type { RecordStore } from "./store.ts";

/**
 * Makes sure that nobody alive has the ports that a record's rules publish.
 * @returns whether somebody had one
 * @throws CniError 102 naming the holder, unless `lastWins`; 100, 11 from iptables
 */
export function clearPorts(store: RecordStore, record: FilterRecord, lastWins: boolean): boolean {
  if (record.claims.length === 0) return false;
  const others = holders(store.all(), record);
  /* A damaged record's ports may be published, by rules that do not tell whose they are. */
  const doubtful: FilterRecord[] = [];
  for (const kept of store.doubtful()) if (kept.name !== recordName(record.owner)) doubtful.push(kept.record);
  let taken = false;
  for (const holder of [...others, ...holders(doubtful, record)]) {
    const clash = clashOf(record, holder);
    if (clash === null) continue;
    taken = true;
    if (!doubtful.includes(holder) && isDead(holder, [record, ...others])) {
      removeRecordedIptables(holder);
      store.drop(holder.owner);
    } else if (!lastWins && holder.owner.containerId !== record.owner.containerId) {
      /* Rules of several interfaces of one container stand behind each other. */
      throw portTaken(clash, ownerText(holder.owner));
    }
  }
  return taken;
}

/**
 * Makes a record's rules, and puts back those of all live attachments if what they share is missing.
 * @throws CniError 100, 11 from iptables; then none of the record's is left
 */
export function addRecordedIptables(store: RecordStore, record: FilterRecord): void {
  try {
    for (const plan of record.iptables) {
      if (!addIptables(plan)) repairPlans(plansOfOthers(store, record, plan.family));
    }
  } catch (error) {
    removeRecordedIptables(record);
    throw error;
  }
}

function plansOfOthers(store: RecordStore, record: FilterRecord, family: Family): IptablesPlan[] {
  const others = liveRecords(store, recordName(record.owner));
  return others.flatMap((other) => other.iptables.filter((plan) => plan.family === family));
}

/** Removes the chains of a record and what leads to them, as far as they are there. */
export function removeRecordedIptables(record: FilterRecord): void {
  for (const plan of record.iptables) removeIptables(plan.family, "", () => [plan.chain]);
}

/** Puts back what is missing of the records' rules; whether anything was. */
export function repairRecordedIptables(records: readonly FilterRecord[]): boolean {
  let repaired = false;
  for (const family of [4, 6] as Family[]) {
    const plans = records.flatMap((record) => record.iptables.filter((plan) => plan.family === family));
    if (repairPlans(plans)) repaired = true;
  }
  return repaired;
}

/**
 * Puts back what is missing of plans of one IP version, at once; should iptables refuse, each by itself, so that a rule it
 * does not understand keeps nobody else's out: that one is told.
 * @throws CniError 11; 100 if it refuses whatever it is given
 */
function repairPlans(plans: readonly IptablesPlan[]): boolean {
  try {
    return repairIptables(plans);
  } catch (error) {
    const [first] = plans;
    if (!(error instanceof CniError) || error.code !== KERNEL_REFUSED || first === undefined) throw error;
    requireWorkingIptables(first.family);
    let repaired = false;
    for (const plan of plans) {
      try {
        if (repairIptables([plan])) repaired = true;
      } catch (refusal) {
        if (!(refusal instanceof CniError) || refusal.code !== KERNEL_REFUSED) throw refusal;
        warn(`the rules of ${plan.chain} cannot be put back: ${refusal.message}\n`);
      }
    }
    return repaired;
  }
}

/** Those of some records that are of other attachments' published ports. */
function holders(records: readonly FilterRecord[], record: FilterRecord): FilterRecord[] {
  return records.filter(
    (other) => other.owner.plugin === record.owner.plugin && ownerHash(other.owner) !== ownerHash(record.owner),
  );
}

/** A published port of the holder's that overlaps with one of the record's; null if none does. */
function clashOf(record: FilterRecord, holder: FilterRecord): FilterElement | null {
  const wanted = hostPortsIn(record.claims);
  for (const element of [...holder.claims, ...holder.elements]) {
    const theirs = hostPortsIn([element])[0];
    if (theirs !== undefined && wanted.some((port) => overlaps(port, theirs))) return element;
  }
  return null;
}

function overlaps(a: HostPort, b: HostPort): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort || a.pod.family !== b.pod.family) return false;
  return a.hostIp === null || b.hostIp === null || sameAddress(a.hostIp, b.hostIp);
}
