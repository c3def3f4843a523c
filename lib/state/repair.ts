/** Putting back what somebody else has flushed, without any attachment's configuration. */
import { listLinks } from "../netlink/link.ts";
import { Kernel } from "./kernel.ts";
import { applyGuard } from "./kinds/filter.ts";
import { OWNER_MARK } from "./names.ts";

/**
 * Puts back whatever is missing of the packet filter for the attachments that live in the process's network namespace.
 * @returns whether anything was missing
 * @throws CniError 100, 11
 */
export function repair(): boolean {
  const kernel = new Kernel(null);
  try {
    const repaired = kernel.filter.restoreAll();
    const pods = listLinks(kernel.host, "veth", 0).some((link) => link.alias.startsWith(OWNER_MARK));
    return (pods && applyGuard(kernel)) || repaired;
  } finally {
    kernel.close();
  }
}
