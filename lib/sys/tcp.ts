/** System calls for TCP connections. As in sys.ts, each returns its result or the negative error number; the C side is tcp.c. */
import { setsockopt, socket } from "./network.ts";
import { must } from "./sys.ts";

declare function sys_connect(fd: number, address: Uint8Array): number;
declare function sys_getsockopt(fd: number, level: number, option: number): number;
declare function sys_listen(fd: number, backlog: number): number;
declare function sys_accept(fd: number): number;
declare function sys_look_up(host: string, port: number, buffer: Uint8Array): number;

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;

/** Bytes of a `struct sockaddr_in` and a `struct sockaddr_in6`; sys_look_up uses the latter for both. */
const IPV4_SIZE = 16;
const IPV6_SIZE = 28;
/** How many addresses of a host are looked at. */
const MOST_ADDRESSES = 16;

/** A look-up failed for now: EAI_AGAIN of musl's netdb.h. */
const EAI_AGAIN = -3;

/** A socket for a connection to an address, which does not block. @param address a `struct sockaddr` as bytes */
export function tcpSocket(address: Uint8Array): number {
  return socket(
    new DataView(address.buffer, address.byteOffset).getUint16(0, true),
    SOCK_STREAM | SOCK_NONBLOCK,
    IPPROTO_TCP,
  );
}

/**
 * Begins to connect (connect(2)): mostly -EINPROGRESS. Then the socket becomes writable, and `connectionError` tells the result.
 * @param address a `struct sockaddr` as bytes, as `lookUp` returns it
 */
export function connect(fd: number, address: Uint8Array): number {
  return sys_connect(fd, address);
}

/** The error that a socket's connection has met since this was last asked, as a positive number; 0 for none. */
export function connectionError(fd: number): number {
  return Math.abs(sys_getsockopt(fd, SOL_SOCKET, SO_ERROR));
}

/** When a connection on which nothing comes is asked whether it is alive, and when it is given up. */
export interface KeepAlive {
  /** Seconds without a word until the first question, and between questions. */
  readonly idleS: number;
  readonly intervalS: number;
  /** How many questions without an answer end the connection. */
  readonly count: number;
  /** Milliseconds for which sent bytes may stay without an acknowledgement. */
  readonly unansweredMs: number;
}

/** Has the kernel find out whether a connection is alive (tcp(7)), and send what is written at once. @throws SystemError */
export function keepAlive(fd: number, { idleS, intervalS, count, unansweredMs }: KeepAlive): void {
  const action = "set up a connection";
  must(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1), action);
  must(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, idleS), action);
  must(setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, intervalS), action);
  must(setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, count), action);
  must(setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, unansweredMs), action);
  must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1), action);
}

/** Lets a bound socket take connections; at most `backlog` wait to be accepted. */
export function listen(fd: number, backlog: number): number {
  return sys_listen(fd, backlog);
}

/** The next connection of a listening socket: its descriptor, non-blocking; -EAGAIN if none waits. */
export function accept(fd: number): number {
  return sys_accept(fd);
}

/** The addresses of a host; or why there are none. */
export interface Found {
  /** Each as a `struct sockaddr`, in the order in which they should be tried. */
  readonly addresses: readonly Uint8Array[];
  /** "" if there are addresses. */
  readonly problem: string;
}

/**
 * The addresses of a host, with a port: those of a name, or the one that the text is, without looking anything up. It asks the
 * name servers of /etc/resolv.conf and **blocks** meanwhile: with none of them answering 5 s, or what the option "timeout" says,
 * for the name itself and for each domain of "search" that is tried with it.
 */
export function lookUp(host: string, port: number): Found {
  const buffer = new Uint8Array(MOST_ADDRESSES * IPV6_SIZE);
  const count = sys_look_up(host, port, buffer);
  if (count <= 0) {
    const problem = count === EAI_AGAIN ? "no name server answers" : "no such host";
    return { addresses: [], problem: `cannot look up ${host}: ${problem}` };
  }
  const addresses: Uint8Array[] = [];
  for (let at = 0; at < count * IPV6_SIZE; at += IPV6_SIZE) {
    const isIpv4 = buffer[at] === AF_INET;
    addresses.push(buffer.slice(at, at + (isIpv4 ? IPV4_SIZE : IPV6_SIZE)));
  }
  return { addresses, problem: "" };
}
