/** The two ways into the kernel's packet filter, and which of them a node has. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { findIptables } from "./iptables.ts";
import type { PacketFilter } from "./packet-filter.ts";

export type Backend = "nftables" | "iptables";

/**
 * The backend to use: the one asked for, else nftables, else, where the kernel lacks that, iptables.
 * @param wanted "" for any
 * @throws CniError 100 if there is neither
 */
export function chooseBackend(filter: PacketFilter, wanted: Backend | ""): Backend {
  if (wanted !== "") return wanted;
  try {
    filter.repair(["inet"], false);
    return "nftables";
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== KERNEL_REFUSED) throw error;
    if (findIptables(4, "", "restore") === null) throw error;
    return "iptables";
  }
}
