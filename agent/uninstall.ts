/** `podwire-agent uninstall`: takes the network away from this node, and says what stays. */
import { readConfig } from "../lib/cni/config.ts";
import { print, warn } from "../lib/host/io.ts";
import { listLinks } from "../lib/netlink/link.ts";
import { removeOverlay } from "../lib/overlay/removal.ts";
import { recordedConfigurations } from "../lib/overlay/state-file.ts";
import { Kernel } from "../lib/state/kernel.ts";
import { OWNER_MARK } from "../lib/state/names.ts";
import { readOverlayConfig } from "../plugins/vxlan-overlay/config.ts";
import { type ConflistFile, type RunDirectory, removeRunFiles } from "./node-files.ts";

/**
 * First the list of plugins, so that the runtime attaches no more pods; then the overlay; last the agent's own files. Pods that are
 * attached keep their links and addresses, and reach each other on this node, until they are deleted.
 * @throws CniError, SystemError, NetlinkError of the first thing that cannot be removed
 */
export function uninstall(list: ConflistFile, run: RunDirectory): void {
  if (list.remove()) print(`removed ${list.path}: the container runtime has no network any more\n`);
  const kernel = Kernel.forHost();
  try {
    removeOverlays(kernel, run);
    for (const name of removeRunFiles(run)) print(`removed ${run.path}/${name}\n`);
    const pods = listLinks(kernel.host, "veth", 0).filter((link) => link.alias.startsWith(OWNER_MARK));
    if (pods.length === 0) return;
    print(
      `${pods.length} pods are still attached: they keep their addresses, but reach no other node, until they are deleted\n`,
    );
    for (const { name, alias } of pods) print(`  ${name}  ${alias}\n`);
  } finally {
    kernel.close();
  }
}

/** The overlays whose list of peers is the agent's own: there may be others on the node. */
function removeOverlays(kernel: Kernel, run: RunDirectory): void {
  for (const json of recordedConfigurations()) {
    const settings = readOverlayConfig(readConfig(new TextEncoder().encode(json)));
    if (settings.source.name() !== run.peersFile) continue;
    const { device, routes, refused } = removeOverlay(kernel.host, settings);
    for (const problem of refused) warn(`podwire-agent: ${problem}\n`);
    if (device !== "") print(`removed the device ${device} and ${routes} routes to other nodes' pods\n`);
  }
}
