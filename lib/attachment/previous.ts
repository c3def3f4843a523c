/** The result of the plugin before in the list. */
import type { Call } from "../cni/plugin.ts";
import type { Result } from "../cni/result.ts";
import { CniError, INVALID_CONFIG } from "../errors.ts";

/**
 * The result that a plugin cannot do without.
 * @param advice where in the list the plugin belongs, for the error
 * @throws CniError 7
 */
export function requirePrevious(call: Call, advice: string): Result {
  const previous = call.config.prevResult();
  if (previous !== null) return previous;
  throw new CniError(INVALID_CONFIG, "must be called as chained plugin", advice);
}
