/** DEL and GC of a plugin whose attachments own things: a line each. */
import type { Call } from "../cni/plugin.ts";
import { Kernel } from "../state/kernel.ts";
import { type Owned, removeOwned, sweepOwned } from "../state/owned.ts";
import { attachmentOf, attachmentsToKeep } from "./identity.ts";

/** DEL: needs neither namespace nor previous result nor a configuration that is right. @throws CniError */
export function detach(call: Call, owned: readonly Owned[]): void {
  const kernel = Kernel.forContainerIfAny(call.request.netns);
  try {
    removeOwned(kernel, owned, { attachment: attachmentOf(call), previous: () => call.config.previousIfAny() });
  } finally {
    kernel.close();
  }
}

/** GC: removes what attachments of the network own that do not live any more. @throws CniError */
export function collectGarbage(call: Call, owned: readonly Owned[]): void {
  const keep = attachmentsToKeep(call);
  if (keep === null) return;
  const kernel = Kernel.forHost();
  try {
    sweepOwned(kernel, owned, call.config.name, keep);
  } finally {
    kernel.close();
  }
}
