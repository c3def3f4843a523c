/** What an attachment has in the packet filter. */
import { attachmentHash, type FilterRecord } from "../../filter/record.ts";
import type { ReferencePart } from "../../filter/reference.ts";
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
    const hashes = new Set<string>();
    for (const { containerId, ifname } of keep) hashes.add(attachmentHash(containerId, ifname));
    for (const record of kernel.filter.sweep(network, this.#ownership.plugin, hashes)) forgetTranslated(kernel, record);
  }
}

/** The kernel would go on translating connections to ports that are not published any more. */
function forgetTranslated(kernel: Kernel, record: FilterRecord): void {
  const ports = [...record.ports, ...record.claims];
  if (ports.length > 0) kernel.filter.forgetTranslated(ports);
}
