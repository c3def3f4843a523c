/** Brings the node up to date for a verb. */
import type { Family } from "../../lib/ip/address.ts";
import { NetlinkError } from "../../lib/netlink/socket.ts";
import { lookAtFirewalls } from "../../lib/overlay/firewall.ts";
import { type Depth, type Outcome, reconcile } from "../../lib/overlay/reconcile.ts";
import type { OverlaySettings } from "../../lib/overlay/settings.ts";
import { apply } from "../../lib/state/apply.ts";
import { type Kernel, kernelRefused } from "../../lib/state/kernel.ts";
import { differenceInForwarding, type ForwardingObject } from "../../lib/state/kinds/forwarding.ts";

/** @throws CniError if the overlay cannot be had, or the node does not forward and cannot be made to */
export function reconciled(kernel: Kernel, settings: OverlaySettings, depth: Depth): Outcome {
  try {
    const outcome = reconcile(kernel.host, settings, depth);
    const plan = forwarding(settings);
    const isOff = depth === "full" && plan.some((object) => differenceInForwarding(kernel, object) !== null);
    apply(kernel, plan);
    /* Where nothing is to do nobody waits for a look at other people's rules. */
    const firewalls = depth === "full" || outcome.changed ? lookAtFirewalls(kernel.host, settings) : [];
    return { ...outcome, notes: [...outcome.notes, ...firewalls], changed: outcome.changed || isOff };
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, "cannot set up the overlay", "");
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
