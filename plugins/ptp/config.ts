/** The ptp plugin's part of a network configuration: every option, checked, with its default filled in. */
import { type MasqueradeOptions, readMasquerade } from "../../lib/attachment/masquerade.ts";
import { readMtu } from "../../lib/attachment/mtu.ts";
import type { NetworkConfig } from "../../lib/cni/config.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import type { Dns } from "../../lib/cni/result.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";

/** Everything the configuration says, ready for use. */
export interface PtpConfig extends MasqueradeOptions {
  /** Bytes, of both ends; 0 leaves the kernel's default. */
  readonly mtu: number;
  readonly ipSpoofCheck: boolean;
  /** The IPAM plugin's name. */
  readonly ipam: string;
  /** The configuration's own DNS settings, which replace IPAM's; null if it has none. */
  readonly dns: Dns | null;
}

/**
 * Reads the configuration of a call.
 * @throws CniError 7 with the field's path
 */
export function readPtpConfig({ config }: Call): PtpConfig {
  const { fields } = config;
  const ipam = config.ipamType();
  if (ipam === "") {
    throw new CniError(
      INVALID_CONFIG,
      "no plugin name provided",
      'give "ipam.type": a link between container and host leads nowhere without addresses',
    );
  }
  const masquerade = readMasquerade(fields);
  return {
    ...masquerade,
    mtu: readMtu(fields),
    ipSpoofCheck: fields.boolean("ipSpoofCheck", false),
    ipam,
    dns: config.dns(),
  };
}

/** Whether the packet filter may hold something for an attachment, as far as a configuration tells that may have changed. */
export function mayUseFilter({ fields }: NetworkConfig): boolean {
  return fields.has("ipMasq") || fields.has("ipSpoofCheck");
}
