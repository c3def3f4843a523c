/** CHECK: reads the kernel and compares it with a plan, object by object. */
import { CHECK_FAILED, CniError } from "../errors.ts";
import { NetlinkError } from "../netlink/socket.ts";
import { type Kernel, kernelRefused } from "./kernel.ts";
import { differenceInAnnouncement } from "./kinds/announcement.ts";
import { differenceInBridge } from "./kinds/bridge.ts";
import { differenceInAddress, differenceInRoute, differenceInUp } from "./kinds/container.ts";
import { checkFilter } from "./kinds/filter.ts";
import { differenceInForwarding, differenceInGateways } from "./kinds/gateways.ts";
import { differenceInIfb, differenceInRedirect } from "./kinds/ifb.ts";
import { checkLocalnet } from "./kinds/localnet.ts";
import { differenceInShaper } from "./kinds/shaper.ts";
import { differenceInHairpin, differenceInPort, differenceInVeth } from "./kinds/veth.ts";
import { differenceInVlanGateway } from "./kinds/vlan-gateway.ts";
import type { KernelObject } from "./objects.ts";

/** @throws CniError 101 that names the first thing that is missing or different */
export function compare(kernel: Kernel, plan: readonly KernelObject[]): void {
  for (const object of plan) {
    let difference: string | null = null;
    try {
      difference = differenceIn(kernel, object);
    } catch (error) {
      if (error instanceof NetlinkError) throw kernelRefused(error, "cannot read the kernel's state", "");
      throw error;
    }
    if (difference !== null) {
      throw new CniError(
        CHECK_FAILED,
        difference,
        "somebody changed or removed what ADD had made; DEL and ADD the container to make it again",
      );
    }
  }
}

/** Settings and neighbours are steps on the way, not state to hold anybody to: other plugins may change them. */
function differenceIn(kernel: Kernel, object: KernelObject): string | null {
  switch (object.kind) {
    case "bridge":
      return differenceInBridge(kernel, object);
    case "veth":
      return differenceInVeth(kernel, object);
    case "port":
      return differenceInPort(kernel, object);
    case "vlan-gateway":
      return differenceInVlanGateway(kernel, object);
    case "up":
      return differenceInUp(kernel, object);
    case "address":
      return differenceInAddress(kernel, object);
    case "route":
      return differenceInRoute(kernel, object);
    case "gateways":
      return differenceInGateways(kernel, object);
    case "forwarding":
      return differenceInForwarding(kernel, object);
    case "announcement":
      return differenceInAnnouncement(kernel, object);
    case "localnet":
      checkLocalnet(kernel, object);
      return null;
    case "hairpin":
      return differenceInHairpin(kernel, object);
    case "shaper":
      return differenceInShaper(kernel, object);
    case "ifb":
      return differenceInIfb(kernel, object);
    case "redirect":
      return differenceInRedirect(kernel, object);
    case "filter":
      checkFilter(kernel, object);
      return null;
    default:
      return null;
  }
}
