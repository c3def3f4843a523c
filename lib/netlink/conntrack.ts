/**
 * Connections that must go when a published port comes or goes: an entry in the kernel's table decides where the
 * packets of its connection are sent for as long as there are any, whatever the rules have become meanwhile.
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

/*
 * What looking at the table costs, in microseconds. The kernel lists it bucket by bucket with a lock for each of them, full
 * or empty, and there are 262,144 as a rule; an entry that its filter stops is cheap, one that reaches us is not.
 */
const LISTING_US = 8700;
const STOPPED_ENTRY_US = 0.2;
const ENTRY_US = 6.3;

/**
 * /proc/net/nf_conntrack takes no locks: 200 us and 2 us an entry. But before Linux 6.15 each page of it (20 entries) is
 * found by counting from the beginning. Up to so many entries it is the quicker way all the same. Not every kernel has it.
 */
const SMALL_TABLE = 1000;
const TABLE_PATH = "/proc/self/net/nf_conntrack";
const TABLE_BYTES = 1024 * 1024;

/**
 * After ports were published: removes the connections to them that go elsewhere, because they began before, or when the
 * port led to another pod. Connections to other hosts are left alone, those that go to the pod already, and those of TCP
 * to a process of the host: cut off here, they would be sent to the pod, which knows nothing of them.
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
 * After ports are no longer published: removes the connections to them that go to the pod, whichever address of the host
 * they are for. Whoever gets the pod's address next must not get its traffic.
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

/** Whether the connection is one to a published port that goes to the pod's. */
function isPublished(connection: Connection, ports: readonly PublishedPort[]): boolean {
  const { source, sourcePort } = connection.reply;
  return ports.some(
    (port) => isToPort(connection, port) && sourcePort === port.podPort && sameAddress(source, port.podAddress),
  );
}

/** Whether it is a connection of TCP that is not translated: the answers come from where the packets are sent. */
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

/** The entries wanted by way of /proc if there are few and the kernel offers it; null otherwise. */
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

/** Filters that let the connections to the published ports through: one a port, or one for all where that is cheaper. */
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

/** Filters that let the connections to the pod through: one an IPv4 address; for IPv6 that does not work. */
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
    /* A kernel that does not take such filters: every entry is looked at. */
    return listConnections(socket, NO_FILTER, isWanted);
  }
}
