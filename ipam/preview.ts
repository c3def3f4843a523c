/** What IPAM would give, for `explain`: nothing is allocated. */
import type { Call } from "../lib/cni/plugin.ts";
import { EMPTY_DNS, EMPTY_RESULT, type Result, type ResultIp } from "../lib/cni/result.ts";
import { sameAddress, step } from "../lib/ip/address.ts";
import { itemAt } from "../lib/lists.ts";
import { readHostLocal } from "./host-local/config.ts";
import { readStatic } from "./static/config.ts";

/**
 * The result of an IPAM plugin's ADD: static's is certain; for host-local's the addresses at the beginning of its ranges stand;
 * of other plugins nothing is known.
 * @param ipam the plugin's name
 * @throws CniError 7, 4 for a configuration that ADD would refuse
 */
export function previewLease(call: Call, ipam: string): Result {
  const { config, request } = call;
  if (ipam === "static") {
    const { ips, routes, dns } = readStatic(config, request.args);
    return { interfaces: [], ips, routes, dns };
  }
  if (ipam !== "host-local") return EMPTY_RESULT;
  const settings = readHostLocal(config, request.args);
  const ips: ResultIp[] = [];
  for (const { ranges } of settings.sets) {
    const range = itemAt(ranges, 0);
    if (range === null) continue;
    const { first, gateway, subnet } = range;
    const address = gateway !== null && sameAddress(first, gateway) ? step(first, 1) : first;
    ips.push({ interface: null, address: { address, length: subnet.length }, gateway });
  }
  return { interfaces: [], ips, routes: settings.routes, dns: EMPTY_DNS };
}
