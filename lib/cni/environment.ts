/** The CNI_* variables of a call: which verb requires which, and their valid values (specification section "Parameters"). */
import { CniError, INVALID_ENVIRONMENT } from "../errors.ts";
import * as sys from "../sys/sys.ts";
import { asciiLower } from "../text.ts";

export type Verb = "ADD" | "CHECK" | "DEL" | "GC" | "STATUS" | "VERSION";

/** The request of a runtime; the variables that its verb requires are validated. A variable that is not set is "". */
export interface Request {
  /** CNI_COMMAND. An unknown verb is refused only after the configuration was read. */
  readonly command: string;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  readonly args: string;
  /** CNI_PATH, split. */
  readonly path: readonly string[];
  /** CNI_NETNS_OVERRIDE: CNI_NETNS may be the plugin's own namespace. */
  readonly netnsOverride: boolean;
}

interface Variable {
  readonly name: string;
  readonly requiredBy: readonly string[];
  readonly validate: (value: string) => void;
}

/* In the order in which they are checked and reported. */
const VARIABLES: readonly Variable[] = [
  { name: "CNI_COMMAND", requiredBy: ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"], validate: acceptAny },
  { name: "CNI_CONTAINERID", requiredBy: ["ADD", "CHECK", "DEL"], validate: validateContainerId },
  { name: "CNI_NETNS", requiredBy: ["ADD", "CHECK"], validate: acceptAny },
  { name: "CNI_IFNAME", requiredBy: ["ADD", "CHECK", "DEL"], validate: validateInterfaceName },
  { name: "CNI_PATH", requiredBy: ["ADD", "CHECK", "DEL", "GC", "STATUS"], validate: acceptAny },
];

/** A name becomes part of file names, which have at most 255 bytes. Runtimes use much shorter names. */
export const MAX_NAME_LENGTH = 200;

/** Reads one environment variable; "" if it is not set. */
export function environmentVariable(name: string): string {
  return sys.getenv(name) ?? "";
}

/**
 * Reads and validates the request.
 * @param read returns an environment variable's value, "" if it is not set
 * @throws CniError 4 for the first invalid variable, or for all missing ones together
 */
export function readRequest(read: (name: string) => string): Request {
  const command = read("CNI_COMMAND");
  const missing: string[] = [];
  for (const variable of VARIABLES) {
    if (!variable.requiredBy.includes(command) && variable.name !== "CNI_COMMAND") continue;
    const value = read(variable.name);
    if (value === "") missing.push(variable.name);
    else validate(variable, value);
  }
  if (missing.length > 0) {
    throw new CniError(INVALID_ENVIRONMENT, `required env variables [${missing.join(",")}] missing`);
  }
  const override = read("CNI_NETNS_OVERRIDE");
  return {
    command,
    containerId: read("CNI_CONTAINERID"),
    netns: read("CNI_NETNS"),
    ifname: read("CNI_IFNAME"),
    args: read("CNI_ARGS"),
    path: read("CNI_PATH").split(":"),
    netnsOverride: override === "1" || asciiLower(override) === "true",
  };
}

/** The message stays that of the reference's library, which does not name the variable; the details do, as specified. */
function validate(variable: Variable, value: string): void {
  try {
    variable.validate(value);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    const more = error.details === "" ? "" : `: ${error.details}`;
    throw new CniError(error.code, error.message, `wrong variable ${variable.name}${more}`);
  }
}

/** Whether a text may be a network name or container ID: letters, digits and, except as the first character, "_", "." and "-". */
export function isValidName(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    const lower = unit | 0x20;
    const alphanumeric = (unit >= 0x30 && unit <= 0x39) || (lower >= 0x61 && lower <= 0x7a);
    const inner = unit === 0x5f || unit === 0x2e || unit === 0x2d;
    if (!alphanumeric && (i === 0 || !inner)) return false;
  }
  return text !== "" && text.length <= MAX_NAME_LENGTH;
}

/** @throws CniError 4 */
function validateContainerId(value: string): void {
  if (value.length > MAX_NAME_LENGTH) {
    throw new CniError(
      INVALID_ENVIRONMENT,
      "containerID is too long",
      `a container ID has at most ${MAX_NAME_LENGTH} characters`,
    );
  }
  if (!isValidName(value)) throw new CniError(INVALID_ENVIRONMENT, "invalid characters in containerID", value);
}

/**
 * Whether the kernel accepts an interface name (IFNAMSIZ, dev_valid_name in net/core/dev.c).
 * @throws CniError 4
 */
export function validateInterfaceName(value: string): void {
  if (new TextEncoder().encode(value).length > 15) {
    throw new CniError(
      INVALID_ENVIRONMENT,
      "interface name is too long",
      "interface name should be less than 16 characters",
    );
  }
  if (value === "." || value === "..") {
    throw new CniError(INVALID_ENVIRONMENT, "interface name is . or ..");
  }
  if (hasForbiddenCharacter(value)) {
    throw new CniError(INVALID_ENVIRONMENT, "interface name contains / or : or whitespace characters");
  }
}

/* Code points above ASCII that are white space in Unicode. */
const WIDE_SPACES = [0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000];

function hasForbiddenCharacter(value: string): boolean {
  for (let i = 0; i < value.length; i += 1) {
    const unit = value.charCodeAt(i);
    if (unit === 0x2f || unit === 0x3a || unit <= 0x20 || unit === 0x7f) return true;
    if (WIDE_SPACES.includes(unit) || (unit >= 0x2000 && unit <= 0x200a)) return true;
  }
  return false;
}

function acceptAny(_value: string): void {}
