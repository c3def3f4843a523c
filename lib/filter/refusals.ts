/** What the kernel refuses about the packet filter, as errors for people. */
import { CniError, KERNEL_REFUSED, TRY_AGAIN_LATER } from "../errors.ts";
import type { NetlinkError } from "../netlink/socket.ts";
import { EPERM, isTransient } from "../sys/errno.ts";

/** A kernel without nf_tables. @param reason in its words */
export function noNftables(reason: string): CniError {
  return new CniError(
    KERNEL_REFUSED,
    `this kernel has no nf_tables: ${reason}`,
    "it lacks CONFIG_NF_TABLES (module nf_tables); load the module, or use a kernel that has it",
  );
}

/** A refusal by the kernel of what was attempted. */
export function refused(error: NetlinkError, action: string): CniError {
  return new CniError(
    isTransient(error.errno) ? TRY_AGAIN_LATER : KERNEL_REFUSED,
    `cannot ${action}: ${error.message}`,
    error.errno === EPERM
      ? "the plugin needs CAP_NET_ADMIN over the node's network namespace: let the runtime run it as root of the node"
      : "",
  );
}

/** Given up after some tries. */
export function keepsChanging(): CniError {
  return new CniError(
    TRY_AGAIN_LATER,
    "the packet filter kept changing while it was being changed",
    "another program removes Podwire's tables again and again",
  );
}
