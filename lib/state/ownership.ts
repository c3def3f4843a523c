/**
 * Whose interface a namespace has: the runtime may call DEL for a container late, when the namespace, or another one at its
 * path, is the next container's. Then what is there by the name of the interface is not to be touched.
 */
import type { Result } from "../cni/result.ts";
import { formatMac, parseMac } from "../ip/mac.ts";
import type { Link } from "../netlink/link.ts";
import { type AttachmentNames, OWNER_MARK } from "./names.ts";

/** "unknown": links of other suites name no owner, and there is no previous result that would tell. */
export type Owner = "own" | "other" | "unknown";

/**
 * Tells whether an interface is that of an attachment. A link that the previous result lists is; so is one whose other end
 * says so. Where that end says nothing, the interface's MAC in the previous result decides.
 * @param outside the proven other end of the interface (`hostEndOf`); null if it is not on the host
 */
export function ownerOf(
  names: AttachmentNames,
  ifname: string,
  previous: Result | null,
  inside: Link,
  outside: Link | null,
): Owner {
  const told = previous?.interfaces ?? [];
  if (outside !== null) {
    if (told.some((item) => item.sandbox === "" && item.name === outside.name)) return "own";
    if (outside.alias.startsWith(OWNER_MARK)) return isNamedBy(names, outside) ? "own" : "other";
  }
  const described = told.find((item) => item.name === ifname && item.sandbox !== "");
  const mac = parseMac(described?.mac ?? "");
  /* Links of kind ipvlan all have their parent's MAC. */
  if (mac === null || inside.kind === "ipvlan") return "unknown";
  return formatMac(mac) === inside.mac ? "own" : "other";
}

/** Whether a host end has the attachment's alias. Long container IDs have no room in one: then name or MAC decide. */
function isNamedBy(names: AttachmentNames, outside: Link): boolean {
  if (outside.alias !== names.alias) return false;
  const whole = !names.alias.includes(" - ");
  return whole || outside.name === names.hostLink || outside.mac === formatMac(names.hostMac);
}
