/** Kinds of link that a kernel was built without, or whose module it does not find. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { EOPNOTSUPP } from "../sys/errno.ts";
import type { NetlinkError } from "./socket.ts";

/** The error of a kernel that does not know a kind of link; null if that is not what it has refused for. */
export function unknownKind(error: NetlinkError, links: string, option: string): CniError | null {
  return error.errno === EOPNOTSUPP && error.text.includes("Unknown device type") ? lacksKind(links, option) : null;
}

/** @param option what the kernel would have to be built with, and the module: "CONFIG_VETH (module veth)" */
export function lacksKind(links: string, option: string): CniError {
  return new CniError(
    KERNEL_REFUSED,
    `this kernel cannot make ${links}`,
    `it lacks ${option}; load the module, or use a kernel that has it`,
  );
}
