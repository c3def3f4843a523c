/**
 * Connections that must go when a published port comes or goes: an entry in the kernel's table decides where the
 * packets of its connection are sent for as long as there are any, whatever the rules have become meanwhile.
 */
import { readLargeText } from "../host/directory.ts";
import { type Address, sameAddress } from "../ip/address.ts";
import {
  type Connection,
  type ConnectionFilter,
  countEntries,
  listConnections,
  parseConnections,
  removeConnections,
} from "./connections.ts";
import { areLocal } from "./local.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "./socket.ts";

export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_SCTP = 132;

/** A port of the host that leads to one of a pod. */
export interface PublishedPort {
  /** IPPROTO_*. */
  readonly protocol: number;
  /** Null for any address of the host. */
  readonly hostAddress: Address | null;
  readonly hostPort: number;
  /** Of the same family as `hostAddress`. */
  readonly podAddress: Address;
  readonly podPort: number;
}

/**
 * The kernel lists its table bucket by bucket with a lock for each: 8.7 ms for the usual 262,144 buckets even if they are
 * empty, and 1.5 us an entry (0.2 us for one that it filters out). /proc/net/nf_conntrack takes no locks: 0.2 ms and 1.6 us
 * an entry; but before Linux 6.15 each page of it (20 entries) is found by counting from the beginning. Up to so many
 * entries it is the quicker way in all cases. Not every kernel has it.
 */
const SMALL_TABLE = 1000;
const TABLE_PATH = "/proc/self/net/nf_conntrack";
const TABLE_BYTES = 1024 * 1024;

/** A listing for each port means walking through all buckets each time; from so many entries for each it pays. */
const ENTRIES_FOR_ONE_MORE = 10_000;
const MOST_LISTINGS = 4;

/**
 * After ports were published: removes the connections to them that go elsewhere, because they began before, or when the
 * port led to another pod. Connections to other hosts are left alone, and so are those that go to the pod already.
 * @param socket a NETLINK_NETFILTER socket in the host's namespace; this function must run in that namespace too
 * @returns how many were removed
 * @throws NetlinkError, SystemError
 */
export function flushStale(socket: NetlinkSocket, ports: readonly PublishedPort[]): number {
  const entries = ports.length === 0 ? 0 : countEntries(socket);
  if (entries === 0) return 0;
  const found = readSmallTable(entries) ?? listByPort(socket, ports, entries);
  const certain: Connection[] = [];
  const perhaps: Connection[] = [];
  for (const connection of found) {
    if (isPublished(connection, ports)) continue;
    if (ports.some((port) => port.hostAddress !== null && isTo(connection, port))) certain.push(connection);
    else if (ports.some((port) => isTo(connection, port))) perhaps.push(connection);
  }
  return removeConnections(socket, certain.concat(toThisHost(perhaps)));
}

/**
 * After ports are no longer published: removes the connections to them that go to the pod, whichever address of the host
 * they are for. Whoever gets the pod's address next must not get its traffic.
 * @param socket a NETLINK_NETFILTER socket in the host's namespace; this function must run in that namespace too
 * @returns how many were removed
 * @throws NetlinkError, SystemError
 */
export function flushTranslated(socket: NetlinkSocket, ports: readonly PublishedPort[]): number {
  const entries = ports.length === 0 ? 0 : countEntries(socket);
  if (entries === 0) return 0;
  const found = readSmallTable(entries) ?? listByPod(socket, ports);
  return removeConnections(
    socket,
    found.filter((connection) => isPublished(connection, ports)),
  );
}

/** Whether the connection is one to a published port that goes to the pod's. */
function isPublished(connection: Connection, ports: readonly PublishedPort[]): boolean {
  const { source, sourcePort } = connection.reply;
  return ports.some(
    (port) => isToPort(connection, port) && sourcePort === port.podPort && sameAddress(source, port.podAddress),
  );
}

function isToPort(connection: Connection, port: PublishedPort): boolean {
  return connection.protocol === port.protocol && connection.original.destinationPort === port.hostPort;
}

/** Whether the connection may be one to the published port, wherever it goes. */
function isTo(connection: Connection, port: PublishedPort): boolean {
  const { destination } = connection.original;
  if (!isToPort(connection, port) || destination.family !== port.podAddress.family) return false;
  return port.hostAddress === null || sameAddress(destination, port.hostAddress);
}

function toThisHost(connections: readonly Connection[]): Connection[] {
  if (connections.length === 0) return [];
  const routes = new NetlinkSocket(NETLINK_ROUTE);
  try {
    const addresses = connections.map((connection) => connection.original.destination);
    const local = areLocal(routes, addresses);
    return connections.filter((_connection, i) => local[i] === true);
  } finally {
    routes.close();
  }
}

/** The entries by way of /proc if they are few and the kernel offers it; null otherwise. */
function readSmallTable(entries: number): Connection[] | null {
  if (entries > SMALL_TABLE) return null;
  const text = readLargeText(TABLE_PATH, TABLE_BYTES);
  return text === null ? null : parseConnections(text);
}

/** At least the entries whose original destination port is one of those published. */
function listByPort(socket: NetlinkSocket, ports: readonly PublishedPort[], entries: number): Connection[] {
  const filters: ConnectionFilter[] = [];
  for (const { protocol, hostPort, podAddress } of ports) {
    const { family } = podAddress;
    if (filters.some((f) => f.family === family && f.protocol === protocol && f.destinationPort === hostPort)) continue;
    filters.push({ family, protocol, destinationPort: hostPort, replySource: null });
  }
  const few = filters.length <= MOST_LISTINGS && entries >= (filters.length - 1) * ENTRIES_FOR_ONE_MORE;
  return few ? listAll(socket, filters) : listConnections(socket, null);
}

/** At least the entries whose packets go to one of the pod's addresses. */
function listByPod(socket: NetlinkSocket, ports: readonly PublishedPort[]): Connection[] {
  const filters: ConnectionFilter[] = [];
  for (const { podAddress } of ports) {
    if (filters.some((f) => f.replySource !== null && sameAddress(f.replySource, podAddress))) continue;
    filters.push({ family: podAddress.family, protocol: 0, destinationPort: 0, replySource: podAddress });
  }
  return listAll(socket, filters);
}

function listAll(socket: NetlinkSocket, filters: readonly ConnectionFilter[]): Connection[] {
  let found: Connection[] = [];
  for (const filter of filters) found = found.concat(listConnections(socket, filter));
  return found;
}
