/** The configuration of a call: from standard input, in a version that the plugin speaks. */
import { CniError, INCOMPATIBLE_VERSION, IO_FAILURE } from "../errors.ts";
import { readAll } from "../host/io.ts";
import { SystemError } from "../sys/errno.ts";
import { MAX_CONFIG_BYTES } from "./config.ts";
import type { Plugin } from "./plugin.ts";

/** All of standard input. @throws CniError 5, 6 */
export function readInput(): Uint8Array {
  try {
    return readAll(0, MAX_CONFIG_BYTES, "standard input");
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new CniError(IO_FAILURE, `error reading from stdin: ${error.message}`);
  }
}

/** @throws CniError 1 */
export function requireVersion(version: string, plugin: Plugin): void {
  if (plugin.versions.includes(version)) return;
  const supported = plugin.versions.map((item) => `"${item}"`).join(" ");
  throw new CniError(
    INCOMPATIBLE_VERSION,
    "incompatible CNI versions",
    `config is "${version.slice(0, 80)}", plugin supports [${supported}]`,
  );
}
