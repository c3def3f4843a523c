/** Waiting until the port carries traffic, and telling the bridge's other hosts where the addresses are now. */
import { CniError, KERNEL_REFUSED } from "../../errors.ts";
import { throwIfInterrupted } from "../../host/interrupt.ts";
import { formatMac } from "../../ip/mac.ts";
import {
  getLinkByIndex,
  getLinkByName,
  OPERSTATE_NAMES,
  OPERSTATE_UNKNOWN,
  OPERSTATE_UP,
  writeLinkAddress,
} from "../../netlink/link.ts";
import * as sys from "../../sys/sys.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

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

/** As long as the reference suite waits. */
const PORT_WAIT_MS = 2500;
const FIRST_PAUSE_US = 50;
const LONGEST_PAUSE_US = 20_000;

/**
 * Waits for the port and announces. The kernel announces a link's addresses (gratuitous ARP, unsolicited neighbour
 * advertisement) when its Ethernet address is set, even to the one it has; sending the packets ourselves would cost
 * 10 ms, since closing a packet socket waits for RCU.
 */
function applyAnnouncement(kernel: Kernel, object: AnnouncementObject): void {
  waitForPort(kernel, object.port);
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

/** Asking for a link makes recent kernels settle its state first, so that one question is enough there. */
function waitForPort(kernel: Kernel, name: string): void {
  const index = kernel.index("host", name);
  const deadline = sys.clockMs(sys.CLOCK_MONOTONIC) + PORT_WAIT_MS;
  for (let pause = FIRST_PAUSE_US; ; pause = Math.min(pause * 2, LONGEST_PAUSE_US)) {
    const state = getLinkByIndex(kernel.host, index)?.operstate ?? OPERSTATE_UNKNOWN;
    if (state === OPERSTATE_UP || state === OPERSTATE_UNKNOWN) return;
    throwIfInterrupted();
    if (sys.clockMs(sys.CLOCK_MONOTONIC) > deadline) {
      throw new CniError(
        KERNEL_REFUSED,
        `bridge port in error state: ${OPERSTATE_NAMES[state] ?? state}`,
        `${name} did not come up within ${PORT_WAIT_MS} ms; is the bridge up?`,
      );
    }
    sys.sleepUs(pause);
  }
}
