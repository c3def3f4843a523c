/** The kernel's refusals of changes to the packet filter, as errors for people. */
import { CniError, KERNEL_REFUSED, TRY_AGAIN_LATER } from "../errors.ts";
import type { NetlinkError } from "../netlink/socket.ts";
import { EPERM, isTransient } from "../sys/errno.ts";

/**
 * A kernel without nf_tables.
 * @param reason the kernel's words
 * @param advice what to do; "" for the general advice
 */
export function noNftables(reason: string, advice: string): CniError {
  return new CniError(
    KERNEL_REFUSED,
    `this kernel has no nf_tables: ${reason}`,
    advice === ""
      ? "it lacks CONFIG_NF_TABLES (module nf_tables); load the module, or use a kernel that has it"
      : advice,
  );
}

/** What the kernel has refused. @param action what was attempted, as it follows "cannot" */
export function refused(error: NetlinkError, action: string): CniError {
  return new CniError(
    isTransient(error.errno) ? TRY_AGAIN_LATER : KERNEL_REFUSED,
    `cannot ${action}: ${error.message}`,
    error.errno === EPERM
      ? "the plugin needs CAP_NET_ADMIN over the node's network namespace: let the runtime run it as root of the node"
      : "",
  );
}

/** Several attempts were in vain: the packet filter was different each time. */
export function keepsChanging(): CniError {
  return new CniError(
    TRY_AGAIN_LATER,
    "the packet filter kept changing while it was being changed",
    "another program removes Podwire's tables again and again",
  );
}
