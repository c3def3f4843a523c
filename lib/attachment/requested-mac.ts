/** The Ethernet address that a runtime or a configuration asks for. */
import { readArgs } from "../cni/args.ts";
import type { NetworkConfig } from "../cni/config.ts";
import type { Fields } from "../cni/fields.ts";
import { CniError, INVALID_ENVIRONMENT } from "../errors.ts";
import { isUnicastMac, parseMac } from "../ip/mac.ts";
import { clip } from "../text.ts";

/**
 * The address asked for; null if none is. runtimeConfig goes before args.cni, and that before CNI_ARGS, as in the reference suite.
 * @param args CNI_ARGS
 * @throws CniError 7, 4
 */
export function requestedMac(config: NetworkConfig, args: string): Uint8Array | null {
  /* The IPAM plugin reads the same variable: its keys are no mistake here. */
  const fromArgs = readArgs(args, ["MAC", "IP", "GATEWAY"]).get("MAC") ?? "";
  const runtime = config.runtimeConfig();
  const cniArgs = config.cniArgs();
  const fromRuntime = runtime.string("mac", "");
  if (fromRuntime !== "") return checkedMac(fromRuntime, runtime);
  const fromCniArgs = cniArgs.string("mac", "");
  if (fromCniArgs !== "") return checkedMac(fromCniArgs, cniArgs);
  if (fromArgs === "") return null;
  const mac = parseMac(fromArgs);
  if (mac !== null && isUnicastMac(mac)) return mac;
  throw new CniError(
    INVALID_ENVIRONMENT,
    `ARGS: MAC "${clip(fromArgs)}" is not an Ethernet address an interface can have`,
  );
}

/**
 * The address asked for by what changes an interface that exists; null if none is. Here args.cni goes before runtimeConfig, then come
 * CNI_ARGS and the configuration's own `mac`, as in the reference suite's tuning plugin.
 * @param args CNI_ARGS
 * @throws CniError 7, 4
 */
export function tunedMac(config: NetworkConfig, args: string): Uint8Array | null {
  const fromArgs = readArgs(args, ["MAC", "IP", "GATEWAY"]).get("MAC") ?? "";
  const cniArgs = config.cniArgs();
  const runtime = config.runtimeConfig();
  /* An empty one says that none is to be set. */
  if (cniArgs.has("mac")) return tunedMacIn(cniArgs);
  if (runtime.string("mac", "") !== "") return tunedMacIn(runtime);
  if (fromArgs === "") return tunedMacIn(config.fields);
  const mac = parseMac(fromArgs);
  if (mac !== null && isUnicastMac(mac)) return mac;
  throw new CniError(INVALID_ENVIRONMENT, `ARGS: MAC: ${invalidForMac(fromArgs)}`);
}

function tunedMacIn(fields: Fields): Uint8Array | null {
  const text = fields.string("mac", "");
  if (text === "") return null;
  const mac = parseMac(text);
  if (mac !== null && isUnicastMac(mac)) return mac;
  throw fields.invalid("mac", invalidForMac(text));
}

function invalidForMac(text: string): string {
  return `invalid args ${clip(text)} for MAC addr: it is not an Ethernet address an interface can have`;
}

function checkedMac(text: string, fields: Fields): Uint8Array {
  const mac = parseMac(text);
  if (mac !== null && isUnicastMac(mac)) return mac;
  throw fields.invalid("mac", `"${clip(text)}" is not an Ethernet address an interface can have`);
}
