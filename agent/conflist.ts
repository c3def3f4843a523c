/** The network configuration list of a node, for the container runtime: bridge and host-local behind the overlay. Pure. */
import {
  formatJson,
  type Json,
  jsonArray,
  jsonBoolean,
  jsonNumber,
  jsonObject,
  jsonString,
  jsonStrings,
} from "../lib/cni/json.ts";
import { AGENT, MARKER } from "../lib/install/conflist.ts";
import { formatPrefixes, parsePrefix } from "../lib/ip/address.ts";
import type { NetworkSettings } from "./settings.ts";

/** The overlay's part, with `name` and `cniVersion`: the agent reconciles by it, and the plugins in the list. */
export function overlayConfiguration(settings: NetworkSettings, podCidrs: readonly string[], peersFile: string): Json {
  return withOverlay(
    jsonObject().with("cniVersion", jsonString("1.0.0")).with("name", jsonString(settings.network)),
    settings,
    podCidrs,
    peersFile,
  );
}

/** The text of the list. @param release Podwire's version, which the list names as its writer */
export function conflist(
  settings: NetworkSettings,
  podCidrs: readonly string[],
  peersFile: string,
  release: string,
): string {
  const overlay = withOverlay(jsonObject(), settings, podCidrs, peersFile).with("delegate", bridge(podCidrs));
  const plugins = jsonArray([overlay, capable("portmap", "portMappings"), capable("bandwidth", "bandwidth")]);
  const list = jsonObject()
    .with("cniVersion", jsonString("1.0.0"))
    .with("cniVersions", jsonStrings(["1.0.0", "1.1.0"]))
    .with("name", jsonString(settings.network))
    .with("plugins", plugins)
    .with(MARKER, jsonString(`${AGENT} ${release}; changes by hand will be lost`));
  return `${formatJson(list)}\n`;
}

function withOverlay(object: Json, settings: NetworkSettings, podCidrs: readonly string[], peersFile: string): Json {
  const { vni, port, datapath, mtu, directRouting, masquerade, firewall, underlay } = settings;
  object
    .with("type", jsonString("vxlan-overlay"))
    .with("podCIDRs", jsonStrings(podCidrs))
    .with("clusterCIDRs", jsonStrings(formatPrefixes(settings.clusterCidrs)))
    .with("peersFile", jsonString(peersFile))
    .with("vni", jsonNumber(vni))
    .with("port", jsonNumber(port))
    .with("datapath", jsonString(datapath))
    .with("directRouting", jsonBoolean(directRouting))
    .with("masquerade", jsonBoolean(masquerade))
    .with("firewall", jsonBoolean(firewall));
  if (mtu !== 0) object.with("mtu", jsonNumber(mtu));
  if (underlay !== "") object.with("underlay", jsonString(underlay));
  const exempt = settings.nonMasqueradeCidrs;
  if (exempt.length > 0) object.with("nonMasqueradeCIDRs", jsonStrings(formatPrefixes(exempt)));
  return object;
}

/** The bridge of the node's pods. An address of each IP version comes from a set of ranges of its own. */
function bridge(podCidrs: readonly string[]): Json {
  const ranges = jsonArray([]);
  for (const family of [4, 6]) {
    const set = jsonArray([]);
    for (const cidr of podCidrs) {
      const prefix = parsePrefix(cidr);
      if (prefix !== null && prefix.address.family === family)
        set.items.push(jsonObject().with("subnet", jsonString(cidr)));
    }
    if (set.items.length > 0) ranges.items.push(set);
  }
  return jsonObject()
    .with("bridge", jsonString("cni0"))
    .with("isDefaultGateway", jsonBoolean(true))
    .with("hairpinMode", jsonBoolean(true))
    .with("macspoofchk", jsonBoolean(true))
    .with("ipSpoofCheck", jsonBoolean(true))
    .with("ipam", jsonObject().with("type", jsonString("host-local")).with("ranges", ranges));
}

/** A plugin that acts on what the runtime asks for a pod. */
function capable(type: string, capability: string): Json {
  return jsonObject()
    .with("type", jsonString(type))
    .with("capabilities", jsonObject().with(capability, jsonBoolean(true)));
}
