/** Published ports as values. Pure. */
import { type Address, formatAddress, sameAddress } from "../ip/address.ts";

/** One published port for one IP version, which is the pod's. */
export interface HostPort {
  /** "tcp", "udp" or "sctp". */
  readonly protocol: string;
  readonly hostPort: number;
  /** The one address of the host; null for all of the pod's IP version. */
  readonly hostIp: Address | null;
  readonly pod: Address;
  readonly containerPort: number;
}

/** A port of one of the host's addresses that a program listens on: a port for all addresses is not published there. */
export interface ListenerPort {
  readonly protocol: string;
  readonly hostPort: number;
  readonly address: Address;
}

/**
 * Whether two published ports cannot both be had: they have IP version, protocol and number in common, and one is for all
 * addresses or both are for the same. bind(2) has the same rule.
 */
export function overlap(a: HostPort, b: HostPort): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort || a.pod.family !== b.pod.family) return false;
  return a.hostIp === null || b.hostIp === null || sameAddress(a.hostIp, b.hostIp);
}

/** The same port for all addresses of its IP version. */
export function onAllAddresses({ protocol, hostPort, pod, containerPort }: HostPort): HostPort {
  return { protocol, hostPort, hostIp: null, pod, containerPort };
}

/** The same text for all ports that differ only in the host's address or in where they lead: "4 tcp 80". */
export function portNumberName(port: HostPort): string {
  return `${port.pod.family} ${port.protocol} ${port.hostPort}`;
}

/** A published port in a message: "tcp/80 on 10.0.0.1". */
export function hostPortText(port: HostPort): string {
  const address = port.hostIp === null ? `every IPv${port.pod.family} address` : formatAddress(port.hostIp);
  return `${port.protocol}/${port.hostPort} on ${address}`;
}
