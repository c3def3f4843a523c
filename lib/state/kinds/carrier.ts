/** Waiting until a link carries traffic: the kernel does that in its own time after both ends have come up. */
import { CniError, KERNEL_REFUSED } from "../../errors.ts";
import { throwIfInterrupted } from "../../host/interrupt.ts";
import { getLinkByIndex, OPERSTATE_NAMES, OPERSTATE_UNKNOWN, OPERSTATE_UP } from "../../netlink/link.ts";
import * as sys from "../../sys/sys.ts";
import type { Kernel, Where } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** A link that carries traffic. Until then the kernel has not given it its link-local address either. */
export interface CarrierObject {
  readonly kind: "carrier";
  readonly where: Where;
  readonly link: string;
}

export class CarrierKind extends Kind {
  readonly #object: CarrierObject;

  constructor(object: CarrierObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `wait until ${this.#object.link} carries traffic`;
  }

  /** For a person the kernel is fast enough. */
  override commands(_netns: string): string[] {
    return [];
  }

  override make(kernel: Kernel): void {
    const { where, link } = this.#object;
    waitForCarrier(kernel, where, link, `link ${link}`);
  }
}

/** As long as the reference suite waits for a bridge port. */
const WAIT_MS = 2500;
const FIRST_PAUSE_US = 50;
const LONGEST_PAUSE_US = 20_000;

/**
 * Asking for a link makes recent kernels settle its state first, so that one question is enough there.
 * @param what the link, for the error
 * @throws CniError 100
 */
export function waitForCarrier(kernel: Kernel, where: Where, name: string, what: string): void {
  const index = kernel.index(where, name);
  const deadline = sys.clockMs(sys.CLOCK_MONOTONIC) + WAIT_MS;
  for (let pause = FIRST_PAUSE_US; ; pause = Math.min(pause * 2, LONGEST_PAUSE_US)) {
    const state = getLinkByIndex(kernel.socket(where), index)?.operstate ?? OPERSTATE_UNKNOWN;
    if (state === OPERSTATE_UP || state === OPERSTATE_UNKNOWN) return;
    throwIfInterrupted();
    if (sys.clockMs(sys.CLOCK_MONOTONIC) > deadline) {
      throw new CniError(
        KERNEL_REFUSED,
        `${what} in error state: ${OPERSTATE_NAMES[state] ?? state}`,
        `${name} did not come up within ${WAIT_MS} ms; are the bridge and the container's end up?`,
      );
    }
    sys.sleepUs(pause);
  }
}
