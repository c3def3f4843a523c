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

function checkedMac(text: string, fields: Fields): Uint8Array {
  const mac = parseMac(text);
  if (mac !== null && isUnicastMac(mac)) return mac;
  throw fields.invalid("mac", `"${clip(text)}" is not an Ethernet address an interface can have`);
}
