/** CNI_ARGS, "KEY=VALUE;KEY=VALUE": the oldest way to pass arguments to a plugin. */

import { CniError, INVALID_ENVIRONMENT } from "../errors.ts";
import { textAt } from "../lists.ts";
import { asciiLower, clip } from "../text.ts";

/**
 * Parses CNI_ARGS. Keys are case-sensitive.
 * @param text the variable's value
 * @param known the keys that the plugin uses, besides IgnoreUnknown
 * @returns the value of each known key that is present
 * @throws CniError 4 for a part that is not one KEY=VALUE pair, and for an unknown key without IgnoreUnknown
 */
export function readArgs(text: string, known: readonly string[]): Map<string, string> {
  const values = new Map<string, string>();
  const unknown: string[] = [];
  let ignoreUnknown = false;
  if (text === "") return values;
  for (const pair of text.split(";")) {
    const parts = pair.split("=");
    if (parts.length !== 2) throw new CniError(INVALID_ENVIRONMENT, `ARGS: invalid pair "${clip(pair)}"`);
    const key = textAt(parts, 0);
    const value = textAt(parts, 1);
    if (key === "IgnoreUnknown") ignoreUnknown = booleanOf(value);
    else if (known.includes(key)) values.set(key, value);
    else unknown.push(`"${clip(pair)}"`);
  }
  if (unknown.length > 0 && !ignoreUnknown) {
    throw new CniError(
      INVALID_ENVIRONMENT,
      `ARGS: unknown args [${unknown.join(" ")}]`,
      "add IgnoreUnknown=1 to CNI_ARGS to ignore them",
    );
  }
  return values;
}

function booleanOf(text: string): boolean {
  const lower = asciiLower(text);
  if (lower === "1" || lower === "true") return true;
  if (lower === "0" || lower === "false") return false;
  throw new CniError(INVALID_ENVIRONMENT, `ARGS: boolean unmarshal error: invalid input ${clip(text)}`);
}
