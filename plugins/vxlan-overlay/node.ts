/** What every verb does on the node: the overlay, forwarding, and a look at the firewalls of other programs. */
import { explainPlan } from "../../lib/attachment/explain.ts";
import type { Family } from "../../lib/ip/address.ts";
import { NetlinkError } from "../../lib/netlink/socket.ts";
import { explainOverlay, type OverlayExplanation } from "../../lib/overlay/explain.ts";
import { lookAtFirewalls } from "../../lib/overlay/firewall.ts";
import { type Depth, type OverlayStatus, reconcileOverlay } from "../../lib/overlay/reconcile.ts";
import type { OverlaySettings } from "../../lib/overlay/settings.ts";
import { apply } from "../../lib/state/apply.ts";
import { type Kernel, kernelRefused } from "../../lib/state/kernel.ts";
import { differenceInForwarding, type ForwardingObject } from "../../lib/state/kinds/forwarding.ts";

/** @throws CniError if the overlay cannot be made, or forwarding cannot be turned on */
export function reconcileNode(kernel: Kernel, settings: OverlaySettings, depth: Depth): OverlayStatus {
  try {
    const status = reconcileOverlay(kernel.host, settings, depth);
    const plan = forwarding(settings);
    const isOff = depth === "full" && plan.some((object) => differenceInForwarding(kernel, object) !== null);
    apply(kernel, plan);
    /* Reading all rules takes time: a call that changes nothing does without. */
    const firewalls = depth === "full" || status.changed ? lookAtFirewalls(kernel.host, settings) : [];
    return { ...status, notes: [...status.notes, ...firewalls], changed: status.changed || isOff };
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, "cannot set up the overlay", "");
    throw error;
  }
}

/** What `reconcileNode` would change, as the lines of a shell script. @throws CniError as it does */
export function explainNode(kernel: Kernel, settings: OverlaySettings, netns: string): OverlayExplanation {
  try {
    const { lines, mtu } = explainOverlay(kernel.host, settings);
    return { lines: [...lines, ...explainPlan(kernel, forwarding(settings), netns)], mtu };
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, "cannot look at the overlay", "");
    throw error;
  }
}

function forwarding(settings: OverlaySettings): ForwardingObject[] {
  const plan: ForwardingObject[] = [];
  for (const family of [4, 6] as Family[]) {
    if (settings.podCidrs.some((cidr) => cidr.address.family === family))
      plan.push({ kind: "forwarding", family, link: "" });
  }
  return plan;
}
