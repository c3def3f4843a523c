/** What an attachment has changed of its link and of its network namespace's settings: it is given back. */
import { netSysctlParts } from "../../host/sysctl.ts";
import { getLinkByName, type Link } from "../../netlink/link.ts";
import { shellWord } from "../../text.ts";
import { commandIn, sysctlCommand } from "../commands.ts";
import { type FormerRecord, isOfNamespace } from "../former.ts";
import { FormerStore } from "../former-store.ts";
import { hostEndOf } from "../host-end.ts";
import { Kernel } from "../kernel.ts";
import { linkCommands, restoreLink } from "../kinds/link-attributes.ts";
import { restoreSysctl } from "../kinds/required-sysctl.ts";
import { type Attachment, attachmentNames } from "../names.ts";
import { Owned, type Removal } from "../owned.ts";
import { ownerOf } from "../ownership.ts";

export class OwnedTuning extends Owned {
  readonly #directory: string;

  /** @param directory of the records */
  constructor(directory: string) {
    super();
    this.#directory = directory;
  }

  override describe(): string {
    return "what the interface was tuned to";
  }

  override remove(kernel: Kernel, removal: Removal): void {
    const store = FormerStore.open(this.#directory, false);
    if (store === null) return;
    try {
      const record = store.get(removal.attachment);
      if (record !== null) restore(kernel, removal, record);
      store.drop(removal.attachment);
      store.tidy();
    } finally {
      store.close();
    }
  }

  /** Namespaces that are there still are those of containers that run on without the network. */
  override sweep(_kernel: Kernel, network: string, keep: readonly Attachment[]): void {
    const store = FormerStore.open(this.#directory, false);
    if (store === null) return;
    try {
      for (const attachment of store.stale(network, keep)) {
        forRecord(store, attachment, (kernel, removal, record) => restore(kernel, removal, record));
        store.drop(attachment);
      }
      store.tidy();
    } finally {
      store.close();
    }
  }

  override commands(kernel: Kernel, removal: Removal): string[] {
    const { attachment } = removal;
    const store = FormerStore.open(this.#directory, false);
    if (store === null) return [];
    try {
      const record = store.get(attachment);
      const lines = record === null ? [] : restoringCommands(kernel, removal, record);
      if (store.has(attachment)) lines.push(removingCommand(store, attachment));
      return lines;
    } finally {
      store.close();
    }
  }

  override staleCommands(_kernel: Kernel, network: string, keep: readonly Attachment[]): string[] {
    const lines: string[] = [];
    const store = FormerStore.open(this.#directory, false);
    if (store === null) return lines;
    try {
      for (const attachment of store.stale(network, keep)) {
        forRecord(store, attachment, (kernel, removal, record) => {
          lines.push(...restoringCommands(kernel, removal, record));
        });
        lines.push(removingCommand(store, attachment));
      }
      return lines;
    } finally {
      store.close();
    }
  }
}

function removingCommand(store: FormerStore, attachment: Attachment): string {
  return `rm -f ${shellWord(store.pathOf(attachment))}`;
}

/** GC: does something in the namespace that a record is of. */
function forRecord(
  store: FormerStore,
  attachment: Attachment,
  action: (kernel: Kernel, removal: Removal, record: FormerRecord) => void,
): void {
  const record = store.get(attachment);
  const origin = record === null ? null : record.origin;
  if (record === null || origin === null) return;
  const kernel = Kernel.forContainerIfAny(origin.netns);
  try {
    action(kernel, { attachment, previous: () => null }, record);
  } finally {
    kernel.close();
  }
}

/** The link first: without an MTU that IPv6 can do with there are no settings of IPv6. */
function restore(kernel: Kernel, removal: Removal, record: FormerRecord): void {
  const { ifname } = removal.attachment;
  if (!isOwnPlace(kernel, removal, record)) return;
  restoreLink(kernel, "container", ifname, record.link);
  for (const { path, value } of record.sysctls.toReversed()) {
    const parts = netSysctlParts(path);
    if (parts !== null) restoreSysctl(kernel, "container", parts, value);
  }
}

function restoringCommands(kernel: Kernel, removal: Removal, record: FormerRecord): string[] {
  if (kernel.namespace === null || !isOwnPlace(kernel, removal, record)) return [];
  const netns = kernel.namespace.path;
  const lines: string[] = [];
  if (getLinkByName(kernel.container, removal.attachment.ifname) !== null) {
    lines.push(...linkCommands("container", netns, removal.attachment.ifname, record.link));
  }
  for (const { path, value } of record.sysctls.toReversed()) {
    const parts = netSysctlParts(path);
    if (parts !== null) lines.push(commandIn("container", netns, sysctlCommand(parts, value)));
  }
  return lines;
}

/**
 * Whether the namespace is still this attachment's. A DEL may come late: another container may have a namespace at that path by
 * then, or another attachment a link of that name. Then nothing there is touched.
 */
function isOwnPlace(kernel: Kernel, removal: Removal, record: FormerRecord): boolean {
  if (kernel.namespace === null || !isOfNamespace(record.origin, kernel.namespace)) return false;
  const inside = getLinkByName(kernel.container, removal.attachment.ifname);
  return inside === null || isOwnLink(kernel, removal, record, inside);
}

function isOwnLink(kernel: Kernel, removal: Removal, record: FormerRecord, inside: Link): boolean {
  const { origin } = record;
  if (origin !== null && origin.link !== 0 && origin.link !== inside.index) return false;
  const names = attachmentNames(removal.attachment);
  const outside = hostEndOf(kernel, inside);
  return ownerOf(names, removal.attachment.ifname, removal.previous(), inside, outside) !== "other";
}
