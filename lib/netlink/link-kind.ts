/** The error for a kind of link that the kernel lacks: it was built without it, or does not find the module. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { EOPNOTSUPP } from "../sys/errno.ts";
import type { NetlinkError } from "./socket.ts";

/** The error for a refusal because the kernel lacks the kind of link; null for a refusal for any other reason. */
export function unknownKind(error: NetlinkError, links: string, option: string): CniError | null {
  return error.errno === EOPNOTSUPP && error.text.includes("Unknown device type") ? lacksKind(links, option) : null;
}

/** @param option the kernel's build option, and the module: "CONFIG_VETH (module veth)" */
export function lacksKind(links: string, option: string): CniError {
  return new CniError(
    KERNEL_REFUSED,
    `this kernel cannot make ${links}`,
    `it lacks ${option}; load the module, or use a kernel that has it`,
  );
}
