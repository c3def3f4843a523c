/** Which of the losses that the kernel tells of are the agent's. Pure. */
import type { Loss } from "../lib/netlink/losses.ts";
import { PROTOCOL } from "../lib/overlay/ownership.ts";
import { DEVICE_PREFIX } from "../lib/overlay/settings.ts";

/** All tables of Podwire's begin with this. */
const TABLES = "podwire";

/** What the loss means; "" if it is none of ours. */
export function describeLoss({ kind, name, protocol }: Loss): string {
  switch (kind) {
    case "link":
      return name.startsWith(DEVICE_PREFIX) ? `the device ${name} was deleted` : "";
    case "link-down":
      return name.startsWith(DEVICE_PREFIX) ? `the device ${name} was set down` : "";
    case "route":
      return protocol === PROTOCOL ? "a route to another node was deleted" : "";
    case "table":
      return name.startsWith(TABLES) ? `something was deleted in the table ${name}` : "";
  }
}
