/** The bridge itself. */
import { CniError, CONFLICT } from "../../errors.ts";
import { getLinkByName, type Link, writeNewBridge } from "../../netlink/link.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { EEXIST } from "../../sys/errno.ts";
import type { Kernel } from "../kernel.ts";
import type { BridgeObject } from "../objects.ts";

/** Makes the bridge if it is missing; whoever else makes it at the same moment is welcome. */
export function applyBridge(kernel: Kernel, object: BridgeObject): void {
  let link = getLinkByName(kernel.host, object.name);
  if (link === null) {
    writeNewBridge(kernel.host, object);
    try {
      kernel.host.run();
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.errno !== EEXIST) throw error;
    }
    link = kernel.link("host", object.name);
  }
  requireBridge(link);
  kernel.remember("host", object.name, link.index);
}

/** What is different about the bridge; null if nothing is. */
export function differenceInBridge(kernel: Kernel, object: BridgeObject): string | null {
  const link = getLinkByName(kernel.host, object.name);
  if (link === null) return `bridge ${object.name} is missing`;
  if (link.kind !== "bridge") return `${object.name} is ${describeKind(link)}, not a bridge`;
  if (!link.up) return `bridge ${object.name} is down`;
  if (object.vlanFiltering && link.vlanFiltering === false) return `bridge ${object.name} does not filter VLANs`;
  return null;
}

/** @throws CniError 102 */
export function requireBridge(link: Link): void {
  if (link.kind === "bridge") return;
  throw new CniError(
    CONFLICT,
    `"${link.name}" already exists but is not a bridge`,
    `it is ${describeKind(link)}; choose another name under "bridge", or remove it with: ip link delete ${link.name}`,
  );
}

function describeKind(link: Link): string {
  return link.kind === "" ? "a link without a kind" : `a ${link.kind}`;
}
