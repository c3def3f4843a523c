/**
 * With "delegate" another plugin makes the pod's interface, mostly `bridge` with `host-local`. It is called with a configuration
 * made from this plugin's own, so that one block is a whole network.
 */

import { type NetworkConfig, readConfig } from "../../lib/cni/config.ts";
import type { Fields } from "../../lib/cni/fields.ts";
import { formatJson, Json, jsonArray, jsonNumber, jsonObject, jsonString } from "../../lib/cni/json.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import { itemAt, textAt } from "../../lib/lists.ts";
import type { OverlaySettings } from "../../lib/overlay/settings.ts";
import { clash } from "./masquerade.ts";

/** The plugin to delegate to, and the call that it gets. */
export interface Delegation {
  readonly type: string;
  readonly call: Call;
}

/** The default: a bridge that is the pods' gateway, with this node's networks. */
const DEFAULT_TYPE = "bridge";

/**
 * The delegation, or null if the plugin is one of a chain.
 * @param settings null for DEL and GC, which must work with a configuration that is wrong by now
 * @param mtu of the interfaces to make; 0 for the delegate's default
 * @throws CniError 7
 */
export function delegationOf(call: Call, settings: OverlaySettings | null, mtu: number): Delegation | null {
  const given = call.config.fields.object("delegate");
  if (given === null) return null;
  const type = given.string("type", "") === "" ? DEFAULT_TYPE : given.string("type", "");
  if (settings !== null && given.boolean("ipMasq", false)) throw clash(settings.exempt);
  const config = delegateConfig(call.config, given, type, mtu);
  return { type, call: { request: call.request, config, delegates: call.delegates.withConfig(config) } };
}

/** Our configuration with the delegate's members in place of ours, and defaults for what it does not have. */
function delegateConfig(config: NetworkConfig, given: Fields, type: string, mtu: number): NetworkConfig {
  const json = jsonObject();
  const { keys, items } = config.fields.json;
  const ours = ["type", "delegate", "mtu", "ipam", "bridge"];
  for (let i = 0; i < keys.length; i += 1) {
    const key = textAt(keys, i);
    const item = itemAt(items, i);
    if (item !== null && !ours.includes(key) && !given.has(key)) json.with(key, item);
  }
  json.with("type", jsonString(type));
  for (let i = 0; i < given.json.keys.length; i += 1) {
    const key = textAt(given.json.keys, i);
    const item = itemAt(given.json.items, i);
    if (item !== null && key !== "type") json.with(key, item);
  }
  if (mtu > 0 && !given.has("mtu")) json.with("mtu", jsonNumber(mtu));
  if (type === DEFAULT_TYPE && !given.has("isGateway") && !given.has("isDefaultGateway")) {
    json.with("isDefaultGateway", new Json("boolean", "true", [], []));
  }
  if (type === DEFAULT_TYPE && !given.has("hairpinMode") && !given.has("promiscMode")) {
    json.with("hairpinMode", new Json("boolean", "true", [], []));
  }
  if (!given.has("ipam")) json.with("ipam", defaultIpam(config.fields));
  return readConfig(new TextEncoder().encode(formatJson(json)));
}

/** host-local with a range set for each IP version: a pod gets one address of each. */
function defaultIpam(fields: Fields): Json {
  const sets: Json[] = [];
  for (const version of [4, 6]) {
    const ranges: Json[] = [];
    for (const subnet of fields.strings("podCIDRs")) {
      if (subnet.includes(":") === (version === 6)) ranges.push(jsonObject().with("subnet", jsonString(subnet)));
    }
    if (ranges.length > 0) sets.push(jsonArray(ranges));
  }
  return jsonObject().with("type", jsonString("host-local")).with("ranges", jsonArray(sets));
}
