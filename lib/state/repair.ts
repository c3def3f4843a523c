/** `<plugin> repair`: putting back what somebody else has flushed, without any attachment's configuration. */
import { Kernel } from "./kernel.ts";
import { restoreFilter } from "./kinds/filter.ts";

/**
 * Puts back whatever is missing of the packet filter for the attachments that live in the process's network namespace.
 * @returns whether anything was missing
 * @throws CniError 100, 11
 */
export function repair(): boolean {
  const kernel = new Kernel(null);
  try {
    return restoreFilter(kernel);
  } finally {
    kernel.close();
  }
}
