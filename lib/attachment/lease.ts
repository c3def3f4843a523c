/** The addresses of an interface: IPAM gives them, and gets them back if the interface cannot be made. */
import type { Call } from "../cni/plugin.ts";
import { EMPTY_RESULT, type Result } from "../cni/result.ts";
import { CniError, CONFLICT, INVALID_CONFIG, KERNEL_REFUSED } from "../errors.ts";
import { quietly } from "../host/io.ts";
import { hasIpv6 } from "../host/sysctl.ts";
import { formatPrefix } from "../ip/address.ts";
import { getLinkByName } from "../netlink/link.ts";
import type { Kernel } from "../state/kernel.ts";

/**
 * Makes an interface with the addresses of an IPAM plugin.
 * @param ipam the plugin's name; "" for an interface without addresses
 * @param make gets what IPAM gave and returns the attachment's result; if it throws, it has undone what it made
 * @throws CniError of IPAM's ADD and of `make`; 7 if IPAM gave no address, 100 if the kernel lacks IPv6 for one
 */
export function withLease(call: Call, ipam: string, kernel: Kernel, make: (lease: Result) => Result): Result {
  if (ipam === "") return make(EMPTY_RESULT);
  try {
    return make(leaseFrom(call, ipam));
  } catch (error) {
    release(call, ipam, kernel);
    throw error;
  }
}

function leaseFrom(call: Call, ipam: string): Result {
  const lease = call.delegates.add(ipam);
  if (lease.ips.length === 0) {
    throw new CniError(INVALID_CONFIG, "IPAM plugin returned missing IP config", `plugin ${ipam} gave no address`);
  }
  const ipv6 = lease.ips.find((ip) => ip.address.address.family === 6);
  if (ipv6 !== undefined && !hasIpv6()) {
    throw new CniError(
      KERNEL_REFUSED,
      `this kernel has no IPv6, but ${ipam} gave ${formatPrefix(ipv6.address)}`,
      "/proc/sys/net/ipv6 is missing: start the node with IPv6 enabled, or remove the IPv6 ranges from the configuration",
    );
  }
  return lease;
}

/**
 * Releases the addresses after a failure, also one of IPAM's ADD: the specification has the caller DEL what failed to ADD. If the
 * interface exists all the same, another call for the same attachment was faster, and the addresses are its own.
 */
function release(call: Call, ipam: string, kernel: Kernel): void {
  quietly("release the addresses", () => {
    if (getLinkByName(kernel.container, call.request.ifname) === null) call.delegates.del(ipam);
  });
}

/** Before IPAM is asked: the addresses of an attachment that is there already must stay with it. @throws CniError 102 */
export function refuseSecond(kernel: Kernel, ifname: string): void {
  if (getLinkByName(kernel.container, ifname) === null) return;
  throw new CniError(
    CONFLICT,
    `container veth name ("${ifname}") already exists`,
    `the namespace has a link ${ifname} already; DEL the attachment before adding it again`,
  );
}
