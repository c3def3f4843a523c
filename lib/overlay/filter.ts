/** Creates and compares the overlay's table in the packet filter, and keeps the sets of peers in it up to date. */
import { FilterSocket } from "../filter/filter-socket.ts";
import { ManagedTable, type TableState } from "../filter/managed-table.ts";
import { keepsChanging, refused } from "../filter/refusals.ts";
import type { TableDefinition } from "../filter/table-definition.ts";
import { ADDRESS_WORDS } from "../ip/words.ts";
import { type Addresses, listAddresses, writeAddresses } from "../netlink/nftables/address-sets.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { addressDifference } from "./difference.ts";
import { filterTable, type Judged, needsFilter, overlayTable } from "./filter-rules.ts";
import type { OverlaySettings } from "./settings.ts";
import { removeTable } from "./stale-devices.ts";

/** How often a change is tried if another program changes the table at the same time. */
const TRIES = 5;

const WITHOUT_NFTABLES =
  'without it nothing keeps strangers out of the overlay; "peersOnly": false and "masquerade": false do not need it';

export interface FilterDifference {
  readonly definition: TableDefinition;
  readonly state: TableState;
  /** Peers that are missing in the sets, all of them if the table is not "present". */
  readonly coming: Addresses;
  /** Addresses in the sets that are no peers'. */
  readonly going: Addresses;
}

export class OverlayFilter {
  readonly #settings: OverlaySettings;
  readonly #thorough: boolean;
  readonly #filter = new FilterSocket(WITHOUT_NFTABLES);
  #judged: Judged = "vni";
  #table: ManagedTable | null = null;
  /** Addresses in the sets that are no peers' any more. */
  #others: Addresses = { words: new Int32Array(0), count: 0 };

  /** Whether `put` has changed the table. */
  changed = false;

  /** @param thorough whether rules are compared; otherwise they are counted */
  constructor(settings: OverlaySettings, thorough: boolean) {
    this.#settings = settings;
    this.#thorough = thorough;
  }

  close(): void {
    this.#filter.close();
  }

  /** Sets which packets the device accepts. @returns whether this has changed: then `put` must be called again */
  judge(judged: Judged): boolean {
    if (judged === this.#judged) return false;
    this.#judged = judged;
    this.#table = null;
    return true;
  }

  #managed(): ManagedTable {
    const table = this.#table ?? new ManagedTable(overlayTable(this.#settings, this.#judged));
    this.#table = table;
    return table;
  }

  /** Whether the table is what it should be; the peers are not compared. @throws CniError 100, 11 */
  isThere(): boolean {
    return !needsFilter(this.#settings) || this.#state() === "present";
  }

  /**
   * Creates or replaces the table if it differs, and adds the hosts to its peers, in one transaction. Addresses that are no
   * peers' any more stay until `dropOthers`.
   * @param hosts addresses as words
   * @throws CniError 100, 11; then nothing has changed
   */
  put(hosts: Int32Array): void {
    if (!needsFilter(this.#settings)) {
      /* A table of an earlier configuration would go on dropping and translating packets. */
      removeTable(filterTable(this.#settings));
      return;
    }
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const { state, coming, going } = this.compare(hosts);
      this.#others = going;
      if (state === "present" && coming.count === 0) return;
      this.#filter.begin();
      if (state !== "present") this.#managed().write(this.#filter, state !== "missing");
      this.#writePeers(coming, false);
      if (!this.#filter.commit()) continue;
      this.changed = true;
      return;
    }
    throw keepsChanging();
  }

  /** What is different about the table and its peers. @param hosts addresses as words @throws CniError 100, 11 */
  compare(hosts: Int32Array): FilterDifference {
    const state = this.#state();
    const wanted = { words: hosts, count: hosts.length / ADDRESS_WORDS };
    const found = state === "present" ? this.#peers() : { words: new Int32Array(0), count: 0 };
    const { coming, going } = addressDifference(wanted, found);
    return { definition: this.#managed().definition, state, coming, going };
  }

  /** Removes from the peers those that the last `put` found in the sets and was not given. @throws CniError 100, 11 */
  dropOthers(): void {
    if (this.#others.count === 0) return;
    this.#filter.begin();
    this.#writePeers(this.#others, true);
    if (!this.#filter.commit()) throw keepsChanging();
  }

  #writePeers(addresses: Addresses, away: boolean): void {
    const table = this.#managed();
    for (const family of [4, 6]) {
      const set = table.set(`peers${family}`);
      writeAddresses(this.#filter.batch, set, family === 4, addresses, away);
      this.#filter.label(`${away ? "delete from" : "add to"} ${table.label} ${set.name}`);
    }
  }

  #state(): TableState {
    const table = this.#managed();
    const state = table.state(this.#filter);
    if (state !== "present" || !this.#thorough) return state;
    return table.differences(this.#filter.netlink, true).length === 0 ? "present" : "outdated";
  }

  #peers(): Addresses {
    const found = { words: new Int32Array(0), count: 0 };
    try {
      for (const family of [4, 6]) listAddresses(this.#filter.netlink, this.#managed().set(`peers${family}`), found);
    } catch (error) {
      if (error instanceof NetlinkError) throw refused(error, "read the overlay's packet filter");
      throw error;
    }
    return found;
  }
}
