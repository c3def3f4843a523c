/** The two ways into the kernel's packet filter, and which of them a node has. */
import { CniError } from "../errors.ts";
import { warn } from "../host/io.ts";
import { findIptables, requireIptables } from "./iptables.ts";
import type { PacketFilter } from "./packet-filter.ts";

export type Backend = "nftables" | "iptables";

/** Which backend it is, and why it is not nftables if it was not asked for: "" if there is nothing to say. */
export interface Choice {
  readonly backend: Backend;
  readonly note: string;
}

/**
 * The backend to use: the one asked for, else nftables, else, where the kernel lacks that, iptables.
 * @param wanted "" for any
 * @throws CniError 100 if there is neither
 */
export function chooseBackend(filter: PacketFilter, wanted: Backend | ""): Choice {
  if (wanted !== "") return { backend: wanted, note: "" };
  try {
    filter.requireNftables();
    return { backend: "nftables", note: "" };
  } catch (error) {
    /* Whoever may not ask, or asks at a bad time, would get no further with iptables. */
    if (!(error instanceof CniError) || !filter.tables.filter.absent) throw error;
    if (findIptables(4, "", "restore") === null) throw error;
    return { backend: "iptables", note: `iptables is used instead of nftables: ${error.message}` };
  }
}

/**
 * STATUS: whether there is a backend, and puts back what somebody has flushed of it. A fallback is told on standard error.
 * @returns whether anything was missing
 * @throws CniError 100 if there is none, 11
 */
export function checkBackend(filter: PacketFilter, wanted: Backend | ""): boolean {
  const { backend, note } = chooseBackend(filter, wanted);
  if (note !== "") warn(`${note}\n`);
  if (backend === "nftables") return filter.restore(["inet"]);
  /* Only the program knows what is there. */
  requireIptables();
  return filter.restoreAll();
}
