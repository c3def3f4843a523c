/** Waiting until the port carries traffic, and telling the bridge's other hosts where the addresses are now. */
import { formatMac } from "../../ip/mac.ts";
import { getLinkByName, writeLinkAddress } from "../../netlink/link.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { waitForCarrier } from "./carrier.ts";

/** The port carries traffic, and the bridge's other hosts have been told where the container's addresses are. */
export interface AnnouncementObject {
  readonly kind: "announcement";
  readonly port: string;
  readonly containerLink: string;
  readonly containerMac: Uint8Array;
}

export class AnnouncementKind extends Kind {
  readonly #object: AnnouncementObject;

  constructor(object: AnnouncementObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `announce the addresses of ${this.#object.containerLink}`;
  }

  override commands(netns: string): string[] {
    const { containerLink, containerMac } = this.#object;
    return [
      commandIn("container", netns, `ip link set ${shellWord(containerLink)} address ${formatMac(containerMac)}`),
    ];
  }

  override make(kernel: Kernel): void {
    applyAnnouncement(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInAnnouncement(kernel, this.#object);
  }
}

/* linux/if_bridge.h */
const BR_STATE_DISABLED = 0;
const BR_STATE_FORWARDING = 3;
const BR_STATE_BLOCKING = 4;

/**
 * Waits for the port and announces. The kernel announces a link's addresses (gratuitous ARP, unsolicited neighbour
 * advertisement) when its Ethernet address is set, even to the one it has; sending the packets ourselves would cost
 * 10 ms, since closing a packet socket waits for RCU.
 */
function applyAnnouncement(kernel: Kernel, object: AnnouncementObject): void {
  waitForCarrier(kernel, "host", object.port, "bridge port");
  writeLinkAddress(kernel.container, kernel.index("container", object.containerLink), object.containerMac);
  kernel.container.run();
}

/** What keeps the port from carrying traffic; null if nothing does. With spanning tree it may be on its way there. */
function differenceInAnnouncement(kernel: Kernel, object: AnnouncementObject): string | null {
  const state = getLinkByName(kernel.host, object.port)?.port?.state ?? BR_STATE_FORWARDING;
  if (state !== BR_STATE_DISABLED && state !== BR_STATE_BLOCKING) return null;
  const name = state === BR_STATE_DISABLED ? "disabled" : "blocking";
  return `${object.port} forwards nothing: its state in the bridge is ${name}`;
}
