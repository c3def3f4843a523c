/** The option `mtu`. */
import type { Fields } from "../cni/fields.ts";
import type { ResultIp } from "../cni/result.ts";
import { CniError, INVALID_CONFIG } from "../errors.ts";
import { hasIpv6 } from "./container.ts";

const MIN_MTU = 68;
const MAX_MTU = 65535;
/** The least an IPv6 link must carry (RFC 8200 section 5). */
const IPV6_MIN_MTU = 1280;

/** Bytes; 0 leaves the kernel's default. @throws CniError 7 */
export function readMtu(fields: Fields): number {
  const mtu = fields.integer("mtu", 0, MAX_MTU) ?? 0;
  if (mtu !== 0 && mtu < MIN_MTU) throw fields.invalid("mtu", `${mtu} is not between ${MIN_MTU} and ${MAX_MTU}`);
  return mtu;
}

/** @throws CniError 7 if IPAM gave an IPv6 address and the MTU is too small for it */
export function checkIpv6Mtu(mtu: number, ips: readonly ResultIp[]): void {
  if (mtu === 0 || mtu >= IPV6_MIN_MTU || !hasIpv6(ips)) return;
  throw new CniError(
    INVALID_CONFIG,
    `invalid value for "mtu": ${mtu} is too small for IPv6`,
    `IPv6 needs at least ${IPV6_MIN_MTU} bytes (RFC 8200), and IPAM gave an IPv6 address`,
  );
}
