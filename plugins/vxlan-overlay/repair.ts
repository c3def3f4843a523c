/** `vxlan-overlay repair`: for a timer, which has no configuration at hand. */
import { readConfig } from "../../lib/cni/config.ts";
import { CniError, NOT_AVAILABLE } from "../../lib/errors.ts";
import { warn } from "../../lib/host/io.ts";
import { remembered } from "../../lib/overlay/state-file.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { readOverlayConfig } from "./config.ts";
import { reconciled } from "./reconciled.ts";

/**
 * Compares every overlay that was made in this network namespace since the node came up with the kernel and its peers, and
 * puts right what is different.
 * @returns whether anything was
 * @throws CniError the first of the overlays' problems, when all have been looked at
 */
export function repair(): boolean {
  let changed = false;
  let failure: CniError | null = null;
  const kernel = new Kernel(null);
  try {
    for (const json of remembered()) {
      try {
        const outcome = reconciled(kernel, readOverlayConfig(readConfig(new TextEncoder().encode(json))), "full");
        changed = outcome.changed || changed;
        for (const note of outcome.notes) warn(`vxlan-overlay: ${outcome.name}: ${note}\n`);
        if (outcome.problem !== "") {
          failure = failure ?? new CniError(NOT_AVAILABLE, `${outcome.name}: ${outcome.problem}`, "");
        }
      } catch (error) {
        if (!(error instanceof CniError)) throw error;
        failure = failure ?? error;
      }
    }
  } finally {
    kernel.close();
  }
  if (failure !== null) throw failure;
  return changed;
}
