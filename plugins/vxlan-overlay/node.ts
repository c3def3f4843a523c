/** What every verb does on the node: the overlay, forwarding, and a look at the firewalls of other programs. */
import type { Family } from "../../lib/ip/address.ts";
import { NetlinkError } from "../../lib/netlink/socket.ts";
import { lookAtFirewalls } from "../../lib/overlay/firewall.ts";
import { type Depth, type OverlayStatus, reconcileOverlay } from "../../lib/overlay/reconcile.ts";
import type { OverlaySettings } from "../../lib/overlay/settings.ts";
import { type Kernel, kernelRefused } from "../../lib/state/kernel.ts";
import type { Kind } from "../../lib/state/kind.ts";
import { differenceInForwarding, ForwardingKind, type ForwardingObject } from "../../lib/state/kinds/forwarding.ts";
import { makeAll } from "../../lib/state/make.ts";

/** @throws CniError if the overlay cannot be made, or forwarding cannot be turned on */
export function reconcileNode(kernel: Kernel, settings: OverlaySettings, depth: Depth): OverlayStatus {
  try {
    const status = reconcileOverlay(kernel.host, settings, depth);
    const plan = forwarding(settings);
    const isOff = depth === "full" && plan.some((object) => differenceInForwarding(kernel, object) !== null);
    makeAll(kernel, kindsOf(plan));
    /* Reading all rules takes time: a call that changes nothing does without. */
    const firewalls = depth === "full" || status.changed ? lookAtFirewalls(kernel.host, settings) : [];
    return { ...status, notes: [...status.notes, ...firewalls], changed: status.changed || isOff };
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, "cannot set up the overlay", "");
    throw error;
  }
}

export function forwarding(settings: OverlaySettings): ForwardingObject[] {
  const plan: ForwardingObject[] = [];
  for (const family of [4, 6] as Family[]) {
    if (settings.podCidrs.some((cidr) => cidr.address.family === family))
      plan.push({ kind: "forwarding", family, link: "" });
  }
  return plan;
}

/* Not by the plan's engine: the node agent has these objects alone, and need not bring all kinds along. */
function kindsOf(plan: readonly ForwardingObject[]): Kind[] {
  const kinds: Kind[] = [];
  for (const object of plan) kinds.push(new ForwardingKind(object));
  return kinds;
}
