/** The host's link of a network, by which its pods are kept apart: the first interface of the previous result. */
import { attachmentOf } from "../../lib/attachment/identity.ts";
import { reportedLinks } from "../../lib/attachment/previous.ts";
import { validateInterfaceName } from "../../lib/cni/environment.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";
import { getLinkByName, type Link } from "../../lib/netlink/link.ts";
import type { Kernel } from "../../lib/state/kernel.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import { clip } from "../../lib/text.ts";
import type { FirewallConfig } from "./config.ts";
import type { NetworkLink } from "./plan.ts";

/** The link that the policy is for; null without a policy. @throws CniError 7 if the previous result does not tell it */
export function networkLink(kernel: Kernel, call: Call, config: FirewallConfig, previous: Result): NetworkLink | null {
  if (config.policy === "") return null;
  const [first] = previous.interfaces;
  /* Inside a container it is nothing of the node's, which may have another link of that name. */
  if (first === undefined || first.name === "" || first.sandbox !== "") {
    if (config.policy === "open") return null;
    throw new CniError(
      INVALID_CONFIG,
      `interface needs to be set for ingress policy "${config.policy}", make sure to chain "firewall" plugin with "bridge"`,
      "the first interface in prevResult is the bridge; without it nothing can be kept apart",
    );
  }
  requireLinkName(first.name);
  const link = getLinkByName(kernel.host, first.name);
  if (link === null) {
    /* What was kept apart by that name may be gone. */
    if (config.policy === "open") return null;
    throw new CniError(
      INVALID_CONFIG,
      `the first interface in prevResult, ${first.name}, is no link of this node, and ingressPolicy is "${config.policy}"`,
      "pods are kept apart by the link that leads to them; put firewall behind bridge or ptp",
    );
  }
  if (link.kind !== "bridge") return { name: first.name, isBridge: false, port: "" };
  return { name: first.name, isBridge: true, port: portOf(kernel, call, config, previous, link) };
}

/** @throws CniError 7 for a name that the kernel gives to no link, or that nft takes for a pattern */
function requireLinkName(name: string): void {
  let problem = name.includes("*") ? "* stands for any name in rules" : "";
  try {
    validateInterfaceName(name);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    problem = error.message;
  }
  if (problem === "") return;
  throw new CniError(
    INVALID_CONFIG,
    `prevResult has an interface "${clip(name)}": ${problem}`,
    "the first one is the bridge",
  );
}

/** The pod's port of the bridge. @throws CniError 7 if pods are to be isolated, and the previous result does not tell it */
function portOf(kernel: Kernel, call: Call, config: FirewallConfig, previous: Result, bridge: Link): string {
  const { ifname, netns } = call.request;
  const name = reportedLinks(previous, attachmentNames(attachmentOf(call)), ifname, netns).outside.name;
  const port = getLinkByName(kernel.host, name);
  if (port !== null && port.master === bridge.index) return name;
  if (config.policy !== "isolated") return "";
  throw new CniError(
    INVALID_CONFIG,
    `prevResult does not tell the pod's port of the bridge ${bridge.name}, and its pods are to be isolated`,
    "put firewall behind the plugin bridge, which lists the host's end of the pod's veth pair",
  );
}
