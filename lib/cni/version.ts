/** CNI specification versions, their comparison, and the format of their results. */

import { CniError, DECODE_FAILURE } from "../errors.ts";
import { numberAt } from "../lists.ts";
import { clip, isDigits } from "../text.ts";

/** The newest supported version of the specification; VERSION returns it. */
export const CURRENT_VERSION = "1.1.0";

export const ALL_VERSIONS: readonly string[] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/** The version of a configuration without `cniVersion`. */
export const DEFAULT_VERSION = "0.1.0";

/** Versions whose results have the same format and are accepted as each other's prevResult. */
export type ResultGroup = "0.1" | "0.3" | "1.0";

/** The group of a version that is in ALL_VERSIONS. */
export function resultGroup(version: string): ResultGroup {
  if (version === "0.1.0" || version === "0.2.0") return "0.1";
  return version.startsWith("0.") ? "0.3" : "1.0";
}

/**
 * Compares two versions: negative, zero or positive.
 * @throws CniError 6 if one is not "N", "N.N" or "N.N.N"
 */
export function compareVersions(a: string, b: string): number {
  const left = parts(a);
  const right = parts(b);
  for (let i = 0; i < 3; i += 1) {
    const difference = numberAt(left, i) - numberAt(right, i);
    if (difference !== 0) return difference;
  }
  return 0;
}

function parts(version: string): number[] {
  const numbers: number[] = [];
  for (const text of version.split(".")) {
    if (numbers.length === 3 || text.length > 6 || !isDigits(text)) {
      throw new CniError(
        DECODE_FAILURE,
        `cannot read cniVersion "${clip(version)}"`,
        'expected numbers with dots, as in "1.0.0"',
      );
    }
    numbers.push(parseInt(text, 10));
  }
  return numbers;
}
