/** static, an IPAM plugin: the addresses that the configuration or the caller names. It keeps no state. */
import { requireResult } from "../../lib/attachment/previous.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import type { Result, ResultIp } from "../../lib/cni/result.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CHECK_FAILED, CniError } from "../../lib/errors.ts";
import { warn } from "../../lib/host/io.ts";
import { formatAddress, formatPrefix, sameAddress } from "../../lib/ip/address.ts";
import { readStatic } from "./config.ts";

export const staticIpam: Plugin = {
  name: "static",
  versions: ALL_VERSIONS,
  add,
  check,
  /* Also with a configuration that is wrong by now: there is nothing to release. */
  del: () => {},
  gc: () => {},
  status,
  explain,
  repair: null,
};

function add(call: Call): Result {
  const { ips, routes, dns, unusedGateways } = readStatic(call.config, call.request.args);
  if (unusedGateways.length > 0) {
    const names = unusedGateways.map((gateway) => formatAddress(gateway)).join(" ");
    warn(`static: no address is in the network of GATEWAY ${names} in CNI_ARGS: it is not used\n`);
  }
  return { interfaces: [], ips, routes, dns };
}

/** Every address must be in the previous result, with the gateway that was named for it. */
function check(call: Call): void {
  const previous = requireResult(call);
  for (const wanted of readStatic(call.config, call.request.args).ips) {
    const found = previous.ips.find((ip) => isSame(ip, wanted));
    if (found === undefined) {
      throw new CniError(
        CHECK_FAILED,
        `static: ${formatPrefix(wanted.address)} is not among the addresses of the previous result`,
        "the configuration or its arguments have changed since ADD; DEL and ADD the container",
      );
    }
    if (wanted.gateway === null) continue;
    if (found.gateway !== null && sameAddress(found.gateway, wanted.gateway)) continue;
    const gateway = found.gateway === null ? "none" : formatAddress(found.gateway);
    throw new CniError(
      CHECK_FAILED,
      `static: Failed to match addr ${formatPrefix(wanted.address)} on interface ${call.request.ifname}`,
      `its gateway in the previous result is ${gateway}, expected ${formatAddress(wanted.gateway)}`,
    );
  }
}

function isSame(a: ResultIp, b: ResultIp): boolean {
  return a.address.length === b.address.length && sameAddress(a.address.address, b.address.address);
}

/** Without the caller's arguments: they come with an ADD. */
function status(call: Call): void {
  readStatic(call.config, "");
}

/** The addresses are in the commands of the plugin that delegates. */
function explain(call: Call): string[] {
  if (call.request.command !== "ADD") return ["# static: nothing, it keeps no state"];
  const ips = readStatic(call.config, call.request.args).ips.map(({ address, gateway }) => {
    return gateway === null ? formatPrefix(address) : `${formatPrefix(address)} with gateway ${formatAddress(gateway)}`;
  });
  return [`# static: ${ips.length === 0 ? "no address" : ips.join(", ")}`];
}
