/**
 * Which link of the host is the other end of a container's interface. What stands in the container's namespace does not
 * tell: whoever may make links there can make a veth of any index, with a peer of any index in any namespace of its own.
 * So the host's link is asked, and has to lead back: to that index, in that namespace.
 */
import { isOwnNamespace, type Namespace } from "../host/namespace.ts";
import type { Link } from "../netlink/link.ts";
import { getLinkAndNamespace } from "../netlink/namespace-number.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Kernel } from "./kernel.ts";

/** The other end of an interface in the container's namespace; null if it is no veth, or its other end is not on the host. */
export function hostEndOf(kernel: Kernel, inside: Link): Link | null {
  if (kernel.namespace === null || inside.kind !== "veth" || inside.peer === 0) return null;
  if (inside.peerNamespace < 0 && !isOwnNamespace(kernel.namespace)) return null;
  const end = vethInto(kernel.host, inside.peer, kernel.namespace);
  return end !== null && end.peer === inside.index ? end : null;
}

/** The host's veth of an index if its other end is in a namespace, else null. */
export function vethInto(host: NetlinkSocket, index: number, namespace: Namespace): Link | null {
  const { link, number } = getLinkAndNamespace(host, index, namespace.fd);
  if (link === null || link.kind !== "veth") return null;
  const leads = link.peerNamespace < 0 ? isOwnNamespace(namespace) : link.peerNamespace === number;
  return leads ? link : null;
}
