/** The record of what an attachment's link and settings were before they were changed. DEL restores it. */
import { type FormerRecord, formatFormer } from "../former.ts";
import { FormerStore } from "../former-store.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import type { Attachment } from "../names.ts";

/** A record on disk. It comes before what it is about: whatever is changed after it can be undone by another call. */
export interface FormerValuesObject {
  readonly kind: "former-values";
  /** The directory of the records, an absolute path. */
  readonly directory: string;
  readonly attachment: Attachment;
  readonly record: FormerRecord;
  /** The record that is there already; null for none. */
  readonly earlier: FormerRecord | null;
}

export class FormerValuesKind extends Kind {
  readonly #object: FormerValuesObject;

  constructor(object: FormerValuesObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `keep what ${this.#object.attachment.ifname} was before`;
  }

  /** A person remembers it. */
  override commands(_netns: string): string[] {
    return [];
  }

  override isMade(_kernel: Kernel): boolean {
    const { earlier, record } = this.#object;
    return earlier !== null && formatFormer(earlier) === formatFormer(record);
  }

  override make(_kernel: Kernel): void {
    const { directory, attachment, record } = this.#object;
    const store = FormerStore.open(directory, true);
    if (store === null) return;
    try {
      store.put(attachment, record);
    } finally {
      store.close();
    }
  }

  override undo(_kernel: Kernel): void {
    const { directory, attachment, earlier } = this.#object;
    const store = FormerStore.open(directory, false);
    if (store === null) return;
    try {
      if (earlier === null) store.drop(attachment);
      else store.put(attachment, earlier);
      store.tidy();
    } finally {
      store.close();
    }
  }

  override undoneInDoubt(): boolean {
    return true;
  }
}
