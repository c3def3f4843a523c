/** The bridge itself. */
import { CniError, CONFLICT, KERNEL_REFUSED } from "../../errors.ts";
import { unknownKind } from "../../netlink/kinds.ts";
import { getLinkByName, type Link, writeNewBridge } from "../../netlink/link.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { EEXIST, EOPNOTSUPP } from "../../sys/errno.ts";
import type { Kernel } from "../kernel.ts";
import { nodeMac } from "../names.ts";
import type { BridgeObject } from "../objects.ts";

/** Makes the bridge if it is missing; whoever else makes it at the same moment is welcome. */
export function applyBridge(kernel: Kernel, object: BridgeObject): void {
  let link = getLinkByName(kernel.host, object.name);
  if (link === null) {
    /* An address of its own, so that it does not change with the ports that come and go. */
    const mac = nodeMac(object.name);
    writeNewBridge(kernel.host, { name: object.name, mac, mtu: object.mtu, vlanFiltering: object.vlanFiltering });
    try {
      kernel.host.run();
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      const unknown = unknownKind(error, "bridges", "CONFIG_BRIDGE (module bridge)");
      if (unknown !== null) throw unknown;
      if (object.vlanFiltering && error.errno === EOPNOTSUPP) throw noVlanFiltering();
      if (error.errno !== EEXIST) throw error;
    }
    link = kernel.link("host", object.name);
  }
  requireUsable(link, object.vlanFiltering);
  kernel.note("host", link);
}

/** What is different about the bridge; null if nothing is. */
export function differenceInBridge(kernel: Kernel, object: BridgeObject): string | null {
  const link = getLinkByName(kernel.host, object.name);
  if (link === null) return `bridge ${object.name} is missing`;
  if (link.kind !== "bridge") return `${object.name} is ${describeKind(link)}, not a bridge`;
  if (!link.up) return `bridge ${object.name} is down`;
  if (object.vlanFiltering && link.vlanFiltering !== true) return `bridge ${object.name} does not filter VLANs`;
  return null;
}

/** Whether a link that is there can be the bridge. @throws CniError 100, 102 */
export function requireUsable(link: Link, vlanFiltering: boolean): void {
  if (link.kind !== "bridge") {
    throw new CniError(
      CONFLICT,
      `"${link.name}" already exists but is not a bridge`,
      `it is ${describeKind(link)}; choose another name under "bridge", or remove it with: ip link delete ${link.name}`,
    );
  }
  if (vlanFiltering) requireVlanFiltering(link);
}

/**
 * A port's VLANs mean nothing on a bridge that does not filter: a container would be in every VLAN and believe otherwise.
 * A bridge that was there before is somebody's, so it is not changed.
 * @throws CniError 100, 102
 */
function requireVlanFiltering(link: Link): void {
  if (link.vlanFiltering === true) return;
  if (link.vlanFiltering === null) throw noVlanFiltering();
  throw new CniError(
    CONFLICT,
    `bridge ${link.name} does not filter VLANs`,
    `turn it on with "ip link set ${link.name} type bridge vlan_filtering 1", or name a bridge that does not exist yet`,
  );
}

/** The error of a kernel that lacks the feature. */
function noVlanFiltering(): CniError {
  return new CniError(
    KERNEL_REFUSED,
    "this kernel cannot filter VLANs on a bridge",
    'it was built without CONFIG_BRIDGE_VLAN_FILTERING; remove "vlan" and "vlanTrunk" from the configuration',
  );
}

function describeKind(link: Link): string {
  return link.kind === "" ? "a link without a kind" : `a ${link.kind}`;
}
