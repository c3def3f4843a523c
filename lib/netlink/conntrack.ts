/**
 * Connections that must be forgotten when a port is published or no longer published. As long as a connection has an entry in
 * the kernel's table, its packets go where the entry says, also after the rules have changed.
 */
import { readLargeText } from "../host/directory.ts";
import { type Address, sameAddress } from "../ip/address.ts";
import { EINVAL, EOPNOTSUPP } from "../sys/errno.ts";
import {
  type Connection,
  type ConnectionFilter,
  countEntries,
  listConnections,
  NO_FILTER,
  parseConnections,
  removeConnections,
} from "./connections.ts";
import { areLocal } from "./local.ts";
import { NETLINK_ROUTE, NetlinkError, NetlinkSocket } from "./socket.ts";

export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_SCTP = 132;

/** A port of the host that is translated to a port of a pod. */
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

/*
 * The cost of listing the table, in microseconds. The kernel takes a lock for each bucket, also for empty ones, and there are
 * usually 262,144. An entry that the kernel's filter rejects is cheap; one that is sent to us is not.
 */
const LISTING_US = 8700;
const STOPPED_ENTRY_US = 0.2;
const ENTRY_US = 6.3;

/**
 * To read /proc/net/nf_conntrack takes no locks: 200 us, and 2 us an entry. But before Linux 6.15 the kernel counts from the
 * beginning for each page (20 entries). It is faster up to this many entries. Not every kernel has it.
 */
const SMALL_TABLE = 1000;
const TABLE_PATH = "/proc/self/net/nf_conntrack";
const TABLE_BYTES = 1024 * 1024;

/**
 * After ports were published: removes the connections to them that go elsewhere, because they are older, or because the port
 * was published for another pod. These stay: connections to other hosts, connections that go to the pod already, and TCP
 * connections to a process of the host, whose packets would otherwise go to the pod, which does not know them.
 * @param socket a NETLINK_NETFILTER socket in the host's namespace; this function must run in that namespace too
 * @returns how many were removed
 * @throws NetlinkError, SystemError
 */
export function flushStale(socket: NetlinkSocket, ports: readonly PublishedPort[]): number {
  const entries = ports.length === 0 ? 0 : countEntries(socket);
  if (entries === 0) return 0;
  const isStale = (connection: Connection): boolean =>
    !isPublished(connection, ports) && !isDirectTcp(connection) && ports.some((port) => isTo(connection, port));
  const stale =
    readSmallTable(entries, ports, isStale) ?? listAll(socket, filtersByPort(ports, entries, false), isStale);
  const toOneAddress = (connection: Connection): boolean =>
    ports.some((port) => port.hostAddress !== null && isTo(connection, port));
  const certain = stale.filter((connection) => toOneAddress(connection));
  const perhaps = stale.filter((connection) => !toOneAddress(connection));
  return removeConnections(socket, certain.concat(toThisHost(perhaps)));
}

/**
 * After ports are no longer published: removes the connections to them that go to the pod, for any address of the host. The
 * next pod with the same address must not get their packets.
 * @param socket a NETLINK_NETFILTER socket in the host's namespace; this function must run in that namespace too
 * @returns how many were removed
 * @throws NetlinkError, SystemError
 */
export function flushTranslated(socket: NetlinkSocket, ports: readonly PublishedPort[]): number {
  const entries = ports.length === 0 ? 0 : countEntries(socket);
  if (entries === 0) return 0;
  const isOwn = (connection: Connection): boolean => isPublished(connection, ports);
  const own = readSmallTable(entries, ports, isOwn) ?? listAll(socket, filtersByPod(ports, entries), isOwn);
  return removeConnections(socket, own);
}

/** Whether the connection is to a published port and goes to the pod's port. */
function isPublished(connection: Connection, ports: readonly PublishedPort[]): boolean {
  const { source, sourcePort } = connection.reply;
  return ports.some(
    (port) => isToPort(connection, port) && sourcePort === port.podPort && sameAddress(source, port.podAddress),
  );
}

/** Whether it is a TCP connection that is not translated: the replies come from its destination. */
function isDirectTcp(connection: Connection): boolean {
  const { original, reply } = connection;
  return (
    connection.protocol === IPPROTO_TCP &&
    original.destinationPort === reply.sourcePort &&
    sameAddress(original.destination, reply.source)
  );
}

function isToPort(connection: Connection, port: PublishedPort): boolean {
  return connection.protocol === port.protocol && connection.original.destinationPort === port.hostPort;
}

/** Whether the connection may be to the published port, wherever its packets go. */
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

/** The wanted entries, read from /proc if there are few entries and the kernel has the file; null otherwise. */
function readSmallTable(
  entries: number,
  ports: readonly PublishedPort[],
  isWanted: (connection: Connection) => boolean,
): Connection[] | null {
  if (entries > SMALL_TABLE) return null;
  const text = readLargeText(TABLE_PATH, TABLE_BYTES);
  if (text === null) return null;
  const hostPorts = ports.map((port) => port.hostPort);
  return parseConnections(text, hostPorts).filter((connection) => isWanted(connection));
}

/** Filters for the connections to the published ports: one for each port, or one for all if that is cheaper. */
function filtersByPort(ports: readonly PublishedPort[], entries: number, translated: boolean): ConnectionFilter[] {
  const filters: ConnectionFilter[] = [];
  for (const { protocol, hostPort, podAddress } of ports) {
    const { family } = podAddress;
    if (filters.some((f) => f.family === family && f.protocol === protocol && f.destinationPort === hostPort)) continue;
    if (filters.length * (LISTING_US + entries * STOPPED_ENTRY_US) > entries * ENTRY_US) {
      const both = ports.some((port) => port.podAddress.family !== family);
      return [{ family: both ? 0 : family, protocol: 0, destinationPort: 0, replySource: null, translated }];
    }
    filters.push({ family, protocol, destinationPort: hostPort, replySource: null, translated });
  }
  return filters;
}

/** Filters for the connections to the pod: one for each IPv4 address; for IPv6 see `ConnectionFilter.replySource`. */
function filtersByPod(ports: readonly PublishedPort[], entries: number): ConnectionFilter[] {
  const filters: ConnectionFilter[] = [];
  for (const { podAddress } of ports) {
    if (podAddress.family === 6) continue;
    if (filters.some((f) => f.replySource !== null && sameAddress(f.replySource, podAddress))) continue;
    filters.push({ family: 4, protocol: 0, destinationPort: 0, replySource: podAddress, translated: true });
  }
  const ports6 = ports.filter((port) => port.podAddress.family === 6);
  return filters.concat(filtersByPort(ports6, entries, true));
}

function listAll(
  socket: NetlinkSocket,
  filters: readonly ConnectionFilter[],
  isWanted: (connection: Connection) => boolean,
): Connection[] {
  try {
    let found: Connection[] = [];
    for (const filter of filters) found = found.concat(listConnections(socket, filter, isWanted));
    return found;
  } catch (error) {
    if (!(error instanceof NetlinkError) || (error.errno !== EINVAL && error.errno !== EOPNOTSUPP)) throw error;
    /* The kernel does not know such filters: each entry is checked here. */
    return listConnections(socket, NO_FILTER, isWanted);
  }
}
