/** The backend iptables: the rules of records, made by its programs. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { warn } from "../host/io.ts";
import type { Family } from "../ip/address.ts";
import { Backend, type RecordChange } from "./backend.ts";
import { isDead, portTaken } from "./conflicts.ts";
import type { FilterSocket } from "./filter-socket.ts";
import { type HostPort, overlap } from "./hostports.ts";
import { addIptables, checkIptables, removeIptables, repairIptables, requireWorkingIptables } from "./iptables.ts";
import { hasForwarding } from "./iptables-kernel.ts";
import { formatPlan } from "./iptables-lines.ts";
import type { IptablesPlan } from "./iptables-plan.ts";
import { type FilterRecord, ownerHash, ownerText, recordName } from "./record.ts";
import { liveRecords } from "./restore.ts";
import type { RecordStore } from "./store.ts";

export class IptablesBackend extends Backend {
  /** For questions to the kernel. */
  readonly #filter: FilterSocket;

  constructor(filter: FilterSocket) {
    super();
    this.#filter = filter;
  }

  /**
   * Makes sure that no live attachment has the ports that a record's rules publish. Rules do not tell who has a port, so the
   * records are compared.
   * @returns whether another attachment had one
   * @throws CniError 102 naming the holder, unless `lastWins`; 100, 11
   */
  clearPorts(store: RecordStore, record: FilterRecord, lastWins: boolean): boolean {
    if (record.iptables.length === 0 || record.claims.length === 0) return false;
    const others = portHolders(store.all(), record);
    /* The rules of a damaged record may still publish its ports. */
    const damaged: FilterRecord[] = [];
    for (const kept of store.damaged()) if (kept.name !== recordName(record.owner)) damaged.push(kept.record);
    let taken = false;
    for (const holder of [...others, ...portHolders(damaged, record)]) {
      const port = overlappingPort(record, holder);
      if (port === null) continue;
      taken = true;
      if (!damaged.includes(holder) && isDead(holder, [record, ...others])) {
        this.remove(holder);
        store.drop(holder.owner);
      } else if (!lastWins && holder.owner.containerId !== record.owner.containerId) {
        /* Several interfaces of one container may have the same port: the first matching rule counts. */
        throw portTaken(port, ownerText(holder.owner));
      }
    }
    return taken;
  }

  /** Puts back the rules of all live attachments, too, if what they share is missing. After an error nothing of the record is left. */
  override put(store: RecordStore, { record }: RecordChange): boolean {
    try {
      for (const plan of record.iptables) {
        if (this.#isInKernel(plan)) continue;
        if (!addIptables(plan)) repairPlans(plansOfOthers(store, record, plan.family));
      }
      return false;
    } catch (error) {
      this.remove(record);
      throw error;
    }
  }

  override remove(record: FilterRecord): void {
    for (const plan of record.iptables) if (plan.chain !== "") removeIptables(plan.family, "", () => [plan.chain]);
  }

  override differences(record: FilterRecord): string[] {
    const lines: string[] = [];
    for (const plan of record.iptables) {
      const line = this.#isInKernel(plan) ? null : checkIptables(plan);
      if (line !== null) lines.push(line);
    }
    return lines;
  }

  /** Whether a question to the kernel has shown that nothing is missing: no program has to be started then. */
  #isInKernel(plan: IptablesPlan): boolean {
    return plan.chain === "" && hasForwarding(this.#filter.netlink, plan);
  }

  /** The rules of most attachments are the same ones, which are asked for once. */
  #areInKernel(plans: readonly IptablesPlan[]): boolean {
    const known = new Set<string>();
    for (const plan of plans) {
      const text = formatPlan(plan).join("\n");
      if (!known.has(text) && !this.#isInKernel(plan)) return false;
      known.add(text);
    }
    return true;
  }

  override restore(records: readonly FilterRecord[]): boolean {
    let restored = false;
    for (const family of [4, 6] as Family[]) {
      const plans = records.flatMap((record) => record.iptables.filter((plan) => plan.family === family));
      if (this.#areInKernel(plans)) continue;
      if (repairPlans(plans)) restored = true;
    }
    return restored;
  }
}

function plansOfOthers(store: RecordStore, record: FilterRecord, family: Family): IptablesPlan[] {
  const others = liveRecords(store, recordName(record.owner));
  return others.flatMap((other) => other.iptables.filter((plan) => plan.family === family));
}

/**
 * Puts back what is missing of plans of one IP version, all at once. If iptables refuses, each is tried by itself and
 * refusals are reported, so that a rule that iptables does not understand affects no other attachment.
 * @returns whether anything was missing
 * @throws CniError 11; 100 if iptables refuses even an empty input
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

/** The records among some that are of other attachments' published ports. */
function portHolders(records: readonly FilterRecord[], record: FilterRecord): FilterRecord[] {
  return records.filter(
    (other) => other.owner.plugin === record.owner.plugin && ownerHash(other.owner) !== ownerHash(record.owner),
  );
}

/** A port of the holder's that overlaps with one of the record's; null for none. */
function overlappingPort(record: FilterRecord, holder: FilterRecord): HostPort | null {
  for (const theirs of [...holder.claims, ...holder.ports]) {
    for (const port of record.claims) if (overlap(port, theirs)) return theirs;
  }
  return null;
}
