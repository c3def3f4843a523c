/** The bridge plugin's part of a network configuration: every option, checked, with its default filled in. */
import { type MasqueradeOptions, readMasquerade } from "../../lib/attachment/masquerade.ts";
import { readMtu } from "../../lib/attachment/mtu.ts";
import { requestedMac } from "../../lib/attachment/requested-mac.ts";
import type { NetworkConfig } from "../../lib/cni/config.ts";
import { validateInterfaceName } from "../../lib/cni/environment.ts";
import type { Fields } from "../../lib/cni/fields.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import type { Dns } from "../../lib/cni/result.ts";
import { CniError } from "../../lib/errors.ts";
import type { VlanRange } from "../../lib/netlink/vlan.ts";
import { clip } from "../../lib/text.ts";

/** Everything the configuration says, ready for use. */
export interface BridgeConfig extends MasqueradeOptions {
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  /** Bytes; 0 leaves the kernel's default. */
  readonly mtu: number;
  readonly hairpinMode: boolean;
  readonly promiscMode: boolean;
  /** Access VLAN; 0 for none. */
  readonly vlan: number;
  /** Tagged VLANs of the port. */
  readonly vlanTrunk: readonly VlanRange[];
  /** Whether the bridge has to filter VLANs: an access VLAN or a trunk is configured. */
  readonly filtersVlans: boolean;
  readonly preserveDefaultVlan: boolean;
  /** Which link-local groups the bridge forwards; 0 leaves them alone. */
  readonly groupForwardMask: number;
  readonly duplicateAddressDetection: boolean;
  readonly disableContainerInterface: boolean;
  readonly portIsolation: boolean;
  readonly macSpoofCheck: boolean;
  readonly ipSpoofCheck: boolean;
  /** The Ethernet address asked for; null for a derived one. */
  readonly mac: Uint8Array | null;
  /** The IPAM plugin's name; "" for a network without addresses. */
  readonly ipam: string;
  /** The configuration's own DNS settings, which replace IPAM's; null if it has none. */
  readonly dns: Dns | null;
}

const MAX_VLAN = 4094;
/** What a VLAN ID is read up to, so that the error is about VLAN IDs. */
const MAX_NUMBER = 65535;

/**
 * Reads the configuration of a call.
 * @throws CniError 7 with the field's path, 4 for CNI_ARGS
 */
export function readBridgeConfig(call: Call): BridgeConfig {
  const { config, request } = call;
  const fields = config.fields;
  const bridge = bridgeName(fields);
  const hairpinMode = fields.boolean("hairpinMode", false);
  const promiscMode = fields.boolean("promiscMode", false);
  if (hairpinMode && promiscMode) {
    throw fields.invalid("promiscMode", "cannot set hairpin mode and promiscuous mode at the same time");
  }
  const isDefaultGateway = fields.boolean("isDefaultGateway", false);
  const disableContainerInterface = fields.boolean("disableContainerInterface", false);
  const ipam = config.ipamType();
  if (disableContainerInterface && ipam !== "") {
    throw fields.invalid(
      "disableContainerInterface",
      "cannot use IPAM when DisableContainerInterface flag is set: addresses on a link that is down are of no use",
    );
  }
  const ipSpoofCheck = fields.boolean("ipSpoofCheck", false);
  if (ipSpoofCheck && ipam === "") {
    throw fields.invalid("ipSpoofCheck", "a network without IPAM has no addresses to hold a pod to");
  }
  const vlan = fields.integer("vlan", -MAX_NUMBER, MAX_NUMBER) ?? 0;
  if (vlan < 0 || vlan > MAX_VLAN) {
    throw fields.invalid("vlan", `invalid VLAN ID ${vlan} (must be between 0 and ${MAX_VLAN})`);
  }
  const masquerade = readMasquerade(fields);
  return {
    ...masquerade,
    bridge,
    isGateway: isDefaultGateway || fields.boolean("isGateway", false),
    isDefaultGateway,
    forceAddress: fields.boolean("forceAddress", false),
    mtu: readMtu(fields),
    hairpinMode,
    promiscMode,
    vlan,
    vlanTrunk: readTrunk(fields),
    filtersVlans: vlan !== 0 || fields.has("vlanTrunk"),
    preserveDefaultVlan: fields.boolean("preserveDefaultVlan", false),
    groupForwardMask: readGroupForwardMask(fields),
    duplicateAddressDetection: fields.boolean("enabledad", false),
    disableContainerInterface,
    portIsolation: fields.boolean("portIsolation", false),
    macSpoofCheck: fields.boolean("macspoofchk", false),
    ipSpoofCheck,
    mac: requestedMac(config, request.args),
    ipam,
    dns: config.dns(),
  };
}

/** Whether the packet filter may hold something for an attachment, as far as a configuration tells that may have changed. */
export function mayUseFilter(config: NetworkConfig): boolean {
  const { fields } = config;
  return fields.has("ipMasq") || fields.has("macspoofchk") || fields.has("ipSpoofCheck");
}

function bridgeName(fields: Fields): string {
  const given = fields.string("bridge", "");
  const name = given === "" ? "cni0" : given;
  try {
    validateInterfaceName(name);
  } catch (error) {
    if (error instanceof CniError) throw fields.invalid("bridge", `"${clip(name)}": ${error.message}`);
    throw error;
  }
  return name;
}

/** BR_GROUPFWD_RESTRICTED in net/bridge/br_private.h: spanning tree, pause frames and link aggregation stay on their link. */
const NEVER_FORWARDED = 0x7;

function readGroupForwardMask(fields: Fields): number {
  const mask = fields.integer("groupFwdMask", 0, 0xffff) ?? 0;
  if ((mask & NEVER_FORWARDED) === 0) return mask;
  throw fields.invalid(
    "groupFwdMask",
    `${mask} has one of the bits 0 to 2 (01:80:c2:00:00:00 to 02), which no bridge forwards`,
  );
}

/** The port's tagged VLANs, from [{id}, {minID, maxID}, ...]. */
function readTrunk(fields: Fields): VlanRange[] {
  const ranges: VlanRange[] = [];
  for (const entry of fields.objects("vlanTrunk")) {
    const id = vlanId(entry, "id");
    const minId = vlanId(entry, "minID");
    const maxId = vlanId(entry, "maxID");
    if (minId !== null && maxId === null) {
      throw entry.invalid("minID", "minID and maxID should be configured simultaneously, maxID is missing");
    }
    if (minId === null && maxId !== null) {
      throw entry.invalid("maxID", "minID and maxID should be configured simultaneously, minID is missing");
    }
    if (minId !== null && maxId !== null) {
      if (minId > maxId) throw entry.invalid("minID", "minID is greater than maxID in trunk parameter");
      ranges.push({ first: minId, last: maxId, pvid: false, untagged: false });
    }
    if (id !== null) ranges.push({ first: id, last: id, pvid: false, untagged: false });
  }
  return ranges;
}

function vlanId(entry: Fields, key: string): number | null {
  const id = entry.integer(key, -MAX_NUMBER, MAX_NUMBER);
  if (id !== null && (id < 1 || id > MAX_VLAN)) {
    throw entry.invalid(key, `incorrect trunk ${key} parameter: ${id} is not between 1 and ${MAX_VLAN}`);
  }
  return id;
}
