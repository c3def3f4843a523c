/** What a call would change on the node: the overlay, forwarding. */
import { explainPlan } from "../../lib/attachment/explain.ts";
import { NetlinkError } from "../../lib/netlink/socket.ts";
import { explainOverlay, type OverlayExplanation } from "../../lib/overlay/explain.ts";
import type { OverlaySettings } from "../../lib/overlay/settings.ts";
import { type Kernel, kernelRefused } from "../../lib/state/kernel.ts";
import { forwarding } from "./node.ts";

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
