/** The list of sysctls that a node's administrator allows: one regular expression a line, as for the reference plugin. */
import { CniError, INVALID_CONFIG, IO_FAILURE } from "../../lib/errors.ts";
import { readWhole } from "../../lib/host/io.ts";
import { ENOENT, errnoText, SystemError } from "../../lib/sys/errno.ts";
import * as sys from "../../lib/sys/sys.ts";
import { clip, decodeUtf8 } from "../../lib/text.ts";
import type { TunedSysctl } from "./config.ts";
import { matches, type Pattern } from "./pattern.ts";
import { compilePattern, PatternError } from "./pattern-syntax.ts";

const ALLOW_LIST = "/etc/cni/tuning/allowlist.conf";
const MAX_LIST_BYTES = 256 * 1024;

/**
 * The patterns of the node's list; null if it has none, and all is allowed. The file may be a symbolic link: an administrator's.
 * @throws CniError 5 if it cannot be read, 7 if a line is no pattern
 */
export function readAllowList(): Pattern[] | null {
  const fd = sys.openToRead(ALLOW_LIST);
  if (fd === -ENOENT) return null;
  if (fd < 0) throw unreadable(errnoText(-fd));
  try {
    return parseAllowList(decodeUtf8(readWhole(fd, MAX_LIST_BYTES, ALLOW_LIST)));
  } catch (error) {
    if (error instanceof SystemError) throw unreadable(error.message);
    throw error;
  } finally {
    sys.close(fd);
  }
}

function unreadable(reason: string): CniError {
  return new CniError(
    IO_FAILURE,
    `cannot read ${ALLOW_LIST}: ${reason}`,
    "it says which sysctls may be set: without it none may; remove it to allow all",
  );
}

/** The patterns in a text. Empty lines are none. @throws CniError 7 */
export function parseAllowList(text: string): Pattern[] {
  const patterns: Pattern[] = [];
  let number = 0;
  for (const line of text.split("\n")) {
    number += 1;
    const trimmed = line.trim();
    if (trimmed !== "") patterns.push(compiled(trimmed, number));
  }
  return patterns;
}

function compiled(text: string, line: number): Pattern {
  try {
    return compilePattern(text);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw new CniError(
      INVALID_CONFIG,
      `${ALLOW_LIST}, line ${line}: "${clip(text)}" is no pattern: ${error.message}`,
      "known are characters, ., [], (), |, *, +, ?, {n,m}, ^, $, and \\ before a character, d, D, w, W, s, S",
    );
  }
}

/** @throws CniError 7 for the first key that no pattern matches, as it is written in the configuration */
export function checkAllowed(sysctls: readonly TunedSysctl[], allowed: readonly Pattern[]): void {
  for (const { key } of sysctls) {
    if (allowed.some((pattern) => matches(pattern, key))) continue;
    const list = allowed.map((pattern) => pattern.text).join(" ");
    throw new CniError(
      INVALID_CONFIG,
      `Sysctl ${clip(key)} is not allowed. Only the following sysctls are allowed: [${list.length > 1000 ? `${list.slice(0, 1000)}...` : list}]`,
      `the list is ${ALLOW_LIST}: a regular expression a line, for keys as the configuration has them`,
    );
  }
}
