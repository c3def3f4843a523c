/** What each of the two packet filters, nf_tables and iptables, does with records. */
import type { FilterRecord } from "./record.ts";
import type { RecordStore } from "./store.ts";

/** A record that is to take effect. */
export interface RecordChange {
  readonly record: FilterRecord;
  /** The owner's record up to now; null if it has none. */
  readonly before: FilterRecord | null;
  /** Whether ports that live attachments have are taken from them; otherwise that is an error. */
  readonly lastWins: boolean;
}

/** A backend does only what a record has for it; with nothing of it, it asks and changes nothing. */
export abstract class Backend {
  /**
   * Makes what a record has.
   * @param store whose lock orders all changes
   * @returns whether ports were taken from another attachment, or may have been
   * @throws CniError 102 naming the holder of a port; 100, 11
   */
  abstract put(store: RecordStore, change: RecordChange): boolean;

  /** Removes what a record has, as far as it is there. @throws CniError 100, 11 */
  abstract remove(record: FilterRecord): void;

  /** What is missing or different of a record: a line for each. @throws CniError 100, 11 */
  abstract differences(record: FilterRecord): string[];

  /** Puts back what is missing of the records of live attachments. @returns whether anything was @throws CniError 100, 11 */
  abstract restore(records: readonly FilterRecord[]): boolean;
}
