/** Connections that a change of published ports makes wrong: the kernel would go on translating them as before. */
import {
  flushStale,
  flushTranslated,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  type PublishedPort,
} from "../netlink/conntrack.ts";
import { NetlinkError, type NetlinkSocket } from "../netlink/socket.ts";
import type { HostPort } from "./hostports.ts";
import { refused } from "./refusals.ts";

/**
 * After ports were published: makes the kernel forget connections to them that began before and go elsewhere. TCP connections
 * are forgotten only if another pod had the port: those to the host itself are in use, and the SYN of the next connection
 * passes the rules. `conntrack -D`
 * @param takenOver whether one of the ports led to another pod, or may have
 * @throws CniError 100, 11
 */
export function forgetConnections(socket: NetlinkSocket, ports: readonly HostPort[], takenOver: boolean): void {
  const concerned = takenOver ? ports : ports.filter((port) => port.protocol !== "tcp");
  try {
    flushStale(socket, publishedPorts(concerned));
  } catch (error) {
    if (error instanceof NetlinkError) throw refused(error, "remove connections to the published ports");
    throw error;
  }
}

/** After ports are no longer published: makes the kernel forget connections to them that go to the pod. @throws CniError 100, 11 */
export function forgetTranslated(socket: NetlinkSocket, ports: readonly HostPort[]): void {
  try {
    flushTranslated(socket, publishedPorts(ports));
  } catch (error) {
    if (error instanceof NetlinkError) throw refused(error, "remove connections of the pod");
    throw error;
  }
}

function publishedPorts(ports: readonly HostPort[]): PublishedPort[] {
  const published: PublishedPort[] = [];
  for (const { protocol, hostIp, hostPort, pod, containerPort } of ports) {
    published.push({
      protocol: protocol === "tcp" ? IPPROTO_TCP : protocol === "udp" ? IPPROTO_UDP : IPPROTO_SCTP,
      hostAddress: hostIp,
      hostPort,
      podAddress: pod,
      podPort: containerPort,
    });
  }
  return published;
}
