/** The one error class of the project, and the codes of the CNI specification (section "Error"). Every layer throws it. */

export const INCOMPATIBLE_VERSION = 1;
export const INVALID_ENVIRONMENT = 4;
export const IO_FAILURE = 5;
export const DECODE_FAILURE = 6;
export const INVALID_CONFIG = 7;
/** CNI_NETNS names no usable network namespace (a code of the reference library, not in the specification's table). */
export const INVALID_NETNS = 8;
export const TRY_AGAIN_LATER = 11;
/** STATUS: no ADD can be served now. */
export const NOT_AVAILABLE = 50;
/** The kernel refused or lacks something: the first plugin-specific code. */
export const KERNEL_REFUSED = 100;
/** CHECK: something that ADD made is missing or different. */
export const CHECK_FAILED = 101;
/** A conflict with something that another owner has: a link, an address, a lease. */
export const CONFLICT = 102;
/** No address is left to give. */
export const NO_ADDRESS = 103;
/** A delegated plugin could not be found or gave no usable answer. */
export const DELEGATE_FAILED = 104;
/** A defect of Podwire itself, the reference library's code for everything that has none. */
export const INTERNAL = 999;

/**
 * A failure as a runtime and a person see it: `code` for the machine, `message` in one line, `details` with what was
 * expected, what was found and what to do.
 */
export class CniError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details = "") {
    super(message);
    this.name = "CniError";
    this.code = code;
    this.details = details;
  }
}
