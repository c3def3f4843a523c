/** Whose attachment a call is about. */
import type { Call } from "../cni/plugin.ts";
import type { FilterOwner } from "../filter/record.ts";
import type { Attachment } from "../state/names.ts";

export function attachmentOf(call: Call): Attachment {
  return { network: call.config.name, containerId: call.request.containerId, ifname: call.request.ifname };
}

/** As the packet filter's records name it. @param plugin whose part of the attachment */
export function filterOwnerOf(call: Call, plugin: string): FilterOwner {
  const { network, containerId, ifname } = attachmentOf(call);
  return { network, containerId, ifname, plugin };
}

/** GC: the attachments of the network that live on; null if the runtime does not say, and nothing is to be removed. */
export function attachmentsToKeep(call: Call): Attachment[] | null {
  const valid = call.config.validAttachments();
  if (valid === null) return null;
  const keep: Attachment[] = [];
  for (const { containerId, ifname } of valid) keep.push({ network: call.config.name, containerId, ifname });
  return keep;
}
