/** A call as plugins get it, for unit tests of what they read of it. */
import { readConfig } from "../lib/cni/config.ts";
import { readRequest } from "../lib/cni/environment.ts";
import type { Call } from "../lib/cni/plugin.ts";

/**
 * An ADD of the container c1.
 * @param members of the configuration: an object, or text that follows a member (`,"mtu":1400`)
 * @param variables further or other variables of the environment
 */
export function configuredCall(
  type: string,
  members: object | string,
  variables: Readonly<Record<string, string>> = {},
): Call {
  const environment: Readonly<Record<string, string>> = {
    ...{ CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/x", CNI_IFNAME: "eth0" },
    ...{ CNI_PATH: "/opt/cni/bin", ...variables },
  };
  const common = { cniVersion: "1.1.0", name: "n1", type };
  const text =
    typeof members === "string"
      ? `${JSON.stringify(common).slice(0, -1)}${members}}`
      : JSON.stringify({ ...common, ...members });
  return {
    request: readRequest((name) => environment[name] ?? ""),
    config: readConfig(new TextEncoder().encode(text)),
    delegates: null as never,
  };
}
