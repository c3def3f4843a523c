/** The result of the plugin before in the list. */
import type { Call } from "../cni/plugin.ts";
import { type Result, type ResultInterface, type ResultIp, resultInterface } from "../cni/result.ts";
import { CniError, INVALID_CONFIG } from "../errors.ts";
import type { AttachmentNames } from "../state/names.ts";

/** An Ethernet address that the previous result does not tell. */
export const NOT_COMPARED = new Uint8Array(0);

/**
 * The result that a plugin cannot do without.
 * @param advice where in the list the plugin belongs, for the error
 * @param message of the error: the words of the reference's plugin
 * @throws CniError 7
 */
export function requirePrevious(call: Call, advice: string, message = "must be called as chained plugin"): Result {
  const previous = call.config.prevResult();
  if (previous !== null) return previous;
  throw new CniError(INVALID_CONFIG, message, advice);
}

/**
 * The result of the plugin before, or for CHECK of the last one.
 * @param details why there must be one, for the error
 * @throws CniError 7
 */
export function requireResult(
  call: Call,
  details = "CHECK compares with the result of ADD, which the runtime keeps",
): Result {
  return requirePrevious(call, details, "Required prevResult missing");
}

/** What a result tells of the two ends of an attachment with a veth pair, and of the container's addresses. */
export interface ReportedLinks {
  /** Without MAC and MTU if the result does not tell of the container's end. */
  readonly inside: ResultInterface;
  /** Under the name that is derived, and without MAC and MTU, if the result does not tell of the host's end. */
  readonly outside: ResultInterface;
  readonly ips: readonly ResultIp[];
}

export function reportedLinks(previous: Result, names: AttachmentNames, ifname: string, netns: string): ReportedLinks {
  const index = previous.interfaces.findIndex((item) => item.name === ifname && item.sandbox !== "");
  const hostLinks = previous.interfaces.filter((item) => item.sandbox === "" && item.name.startsWith("veth"));
  return {
    inside: previous.interfaces[index] ?? resultInterface(ifname, "", 0, netns),
    outside:
      hostLinks.find((item) => item.name === names.hostLink) ??
      hostLinks[0] ??
      resultInterface(names.hostLink, "", 0, ""),
    ips: previous.ips.filter((ip) => ip.interface === null || ip.interface === index),
  };
}
