/** What an attachment has in the packet filter. */
import { attachmentHash, type FilterRecord, ownerHash } from "../../filter/record.ts";
import { recordRemovalCommands } from "../../filter/record-commands.ts";
import type { ReferencePart } from "../../filter/reference.ts";
import { RecordStore } from "../../filter/store.ts";
import type { Kernel } from "../kernel.ts";
import type { Attachment } from "../names.ts";
import { Owned, type Removal } from "../owned.ts";

export interface FilterOwnership {
  /** The plugin whose part it is. */
  readonly plugin: string;
  /** The parts of what the reference plugins make that this plugin replaces. */
  readonly reference: readonly ReferencePart[];
  /** Whether all our sets are searched for it if it has no record. */
  readonly search: boolean;
}

export class OwnedFilter extends Owned {
  readonly #ownership: FilterOwnership;

  constructor(ownership: FilterOwnership) {
    super();
    this.#ownership = ownership;
  }

  override describe(): string {
    return "what the attachment has in the packet filter";
  }

  override remove(kernel: Kernel, { attachment }: Removal): void {
    const { plugin, reference, search } = this.#ownership;
    const owner = { ...attachment, plugin };
    const record = kernel.filter.remove(owner, search);
    kernel.filter.removeReference(owner, reference);
    if (record !== null) forgetTranslated(kernel, record);
  }

  override sweep(kernel: Kernel, network: string, keep: readonly Attachment[]): void {
    const { plugin, reference } = this.#ownership;
    for (const record of kernel.filter.sweep(network, plugin, hashesOf(keep), reference)) {
      forgetTranslated(kernel, record);
    }
  }

  /** What is recorded; what only a search of all sets would find is not told. */
  override commands(_kernel: Kernel, { attachment }: Removal): string[] {
    const hash = attachmentHash(attachment.containerId, attachment.ifname);
    return removalCommands(this.#records().filter(({ owner }) => ownerHash(owner) === hash));
  }

  override staleCommands(_kernel: Kernel, network: string, keep: readonly Attachment[]): string[] {
    const hashes = hashesOf(keep);
    return removalCommands(
      this.#records().filter(({ owner }) => owner.network === network && !hashes.has(ownerHash(owner))),
    );
  }

  #records(): FilterRecord[] {
    const store = RecordStore.open(false);
    if (store === null) return [];
    try {
      return store.all().filter(({ owner }) => owner.plugin === this.#ownership.plugin);
    } finally {
      store.close();
    }
  }
}

function hashesOf(attachments: readonly Attachment[]): Set<string> {
  const hashes = new Set<string>();
  for (const { containerId, ifname } of attachments) hashes.add(attachmentHash(containerId, ifname));
  return hashes;
}

function removalCommands(records: readonly FilterRecord[]): string[] {
  const lines: string[] = [];
  for (const record of records) lines.push(...recordRemovalCommands(record));
  return lines;
}

/** The kernel would go on translating connections to ports that are not published any more. */
function forgetTranslated(kernel: Kernel, record: FilterRecord): void {
  const ports = [...record.ports, ...record.claims];
  if (ports.length > 0) kernel.filter.forgetTranslated(ports);
}
