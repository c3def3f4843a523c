/** What an attachment has in the packet filter. */
import type { FilterRecord } from "../../filter/record.ts";
import { recordCommands } from "../../filter/record-commands.ts";
import { usesTable } from "../../filter/restore.ts";
import { TABLE_NAMES } from "../../filter/ruleset.ts";
import { listLinks } from "../../netlink/link.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { OWNER_MARK } from "../names.ts";
import { applyGuard } from "./guard.ts";

/** What the attachment has in the packet filter: all of it in one transaction. */
export interface FilterObject {
  readonly kind: "filter";
  readonly record: FilterRecord;
  /** Whether host ports that live attachments have are taken from them; otherwise that is an error. */
  readonly lastWins: boolean;
}

export class FilterKind extends Kind {
  readonly #object: FilterObject;

  constructor(object: FilterObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `put ${this.#object.record.owner.ifname} into the packet filter`;
  }

  override commands(_netns: string): string[] {
    return recordCommands(this.#object.record);
  }

  override prerequisites(kernel: Kernel): string[][] {
    const tables: string[][] = [];
    for (const name of TABLE_NAMES) {
      if (usesTable(this.#object.record, name)) tables.push(kernel.filter.tableCommands(name));
    }
    return tables;
  }

  override make(kernel: Kernel): void {
    kernel.filter.put(this.#object.record, this.#object.lastWins);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInFilter(kernel, this.#object);
  }

  override undo(kernel: Kernel): void {
    kernel.filter.remove(this.#object.record.owner, false);
  }

  override restore(kernel: Kernel): boolean {
    restoreFilter(kernel);
    return kernel.filter.differences(this.#object.record).length === 0;
  }
}

/** How many of the things that are missing an error lists. */
const SHOWN = 3;

/**
 * Puts back whatever is missing of the packet filter for the live attachments of the host namespace.
 * @returns whether anything was missing
 * @throws CniError 100, 11
 */
export function restoreFilter(kernel: Kernel): boolean {
  const restored = kernel.filter.restoreAll();
  const pods = listLinks(kernel.host, "veth", 0).some((link) => link.alias.startsWith(OWNER_MARK));
  return (pods && applyGuard(kernel)) || restored;
}

function differenceInFilter(kernel: Kernel, object: FilterObject): string | null {
  const lines = kernel.filter.differences(object.record);
  if (lines.length === 0) return null;
  const more = lines.length <= SHOWN ? "" : `; and ${lines.length - SHOWN} more`;
  return `in the packet filter: ${lines.slice(0, SHOWN).join("; ")}${more}`;
}
