/** Which of the two backends a node uses. */
import { CniError } from "../errors.ts";
import { warn } from "../host/io.ts";
import { trace } from "../host/trace.ts";
import { findIptables, requireIptables } from "./iptables.ts";
import type { PacketFilter } from "./packet-filter.ts";

export type BackendName = "nftables" | "iptables";

/** The backend, and why it is not nftables if no backend was asked for: else "". */
export interface Choice {
  readonly backend: BackendName;
  readonly note: string;
}

/**
 * The backend to use: the one asked for, else nftables, else, where the kernel lacks that, iptables.
 * @param wanted "" for any
 * @throws CniError 100 if there is neither
 */
export function chooseBackend(filter: PacketFilter, wanted: BackendName | ""): Choice {
  if (wanted !== "") {
    trace(`backend ${wanted}: the configuration says so`);
    return { backend: wanted, note: "" };
  }
  try {
    filter.requireNftables();
    trace("backend nftables: the kernel has it");
    return { backend: "nftables", note: "" };
  } catch (error) {
    /* A lack of privileges or of memory would stop iptables, too. */
    if (!(error instanceof CniError) || !filter.lacksNftables) throw error;
    if (findIptables(4, "", "restore") === null) throw error;
    return { backend: "iptables", note: `iptables is used instead of nftables: ${error.message}` };
  }
}

/**
 * STATUS: checks that there is a backend, and puts back what somebody has flushed. The use of iptables in place of nftables
 * is reported on standard error.
 * @returns whether anything was missing
 * @throws CniError 100 if there is none, 11
 */
export function checkBackend(filter: PacketFilter, wanted: BackendName | ""): boolean {
  const { backend, note } = chooseBackend(filter, wanted);
  if (note !== "") warn(`${note}\n`);
  if (backend === "nftables") return filter.restore(["inet"]);
  /* To find out what is missing means to run iptables-save. */
  requireIptables();
  return filter.restoreAll();
}
