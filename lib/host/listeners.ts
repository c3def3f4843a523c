/**
 * Whether a program listens on a port of the host. The first test is to bind a socket to the port, which costs four or five
 * system calls. Only if that fails, the kernel's tables of sockets are read (proc(5), /proc/net/tcp): an outgoing connection
 * that uses the port makes the bind fail, too.
 */

import { type Address, addressOf, formatAddress, parseAddress, sameAddress } from "../ip/address.ts";
import { textAt } from "../lists.ts";
import { EADDRINUSE, EAFNOSUPPORT, SystemError } from "../sys/errno.ts";
import * as network from "../sys/network.ts";
import * as sys from "../sys/sys.ts";
import { isDigits } from "../text.ts";
import { listNames, openDirectory, readBeginning, readLargeText } from "./directory.ts";
import { readText } from "./io.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPPROTO_SCTP = 132;

/** TCP_LISTEN of include/net/tcp_states.h, which SCTP uses too; a UDP socket that is not connected is in TCP_CLOSE. */
const LISTENING = 10;
const UNCONNECTED = 7;

/* Listening sockets come first in TCP's tables. 1 MiB holds 7000 of them, however many connections there are. */
const TCP_TABLE_BYTES = 1024 * 1024;
const TABLE_BYTES = 256 * 1024 * 1024;

/** A listening socket. */
export interface Listener {
  readonly address: Address;
  /** The socket's inode: it identifies the process. */
  readonly inode: number;
}

/** A port and address as a listening program would bind to them. */
interface Wanted {
  readonly protocol: string;
  /** Null for any address of the family. */
  readonly hostIp: Address | null;
  readonly family: 0 | 4 | 6;
  readonly port: number;
}

/** Who listens on a port. */
export interface Listeners {
  /** The program that has all that is wanted: "process 1234 (nginx) listening on 0.0.0.0:80"; null if there is none. */
  readonly taker: string | null;
  /** If any address is wanted: the single addresses on which programs listen, which are more specific. */
  readonly addresses: readonly Address[];
}

const NOBODY: Listeners = { taker: null, addresses: [] };

/**
 * Finds the program that listens on a port, in the network namespace of the process. Addresses overlap as for bind(2): the wildcard
 * with each address of its family, and an IPv6 wildcard with IPv4 too unless its socket is IPv6 only. SCTP is looked at
 * only where the kernel has it loaded. An address that the host does not have is free.
 * @param protocol "tcp", "udp" or "sctp"
 * @param hostIp null for any address
 * @param family 4, 6, or 0 for both if `hostIp` is null
 * @param containerId the container whose runtime may listen: podman's conmon reserves a container's ports by listening on them,
 *   and has the container's ID among its arguments
 */
export function listenersOn(
  protocol: string,
  hostIp: Address | null,
  family: 0 | 4 | 6,
  port: number,
  containerId: string,
): Listeners {
  const wanted: Wanted = { protocol, hostIp, family: hostIp === null ? family : hostIp.family, port };
  if (protocol === "sctp" && sys.fstatat(sys.AT_FDCWD, "/proc/net/sctp", 0) === null) return NOBODY;
  if (probe(wanted) !== -EADDRINUSE) return NOBODY;
  const addresses: Address[] = [];
  let taker: string | null = null;
  for (const listener of listenersInTheWay(wanted)) {
    const { address } = listener;
    const pid = processWith(listener.inode);
    if (pid !== "" && (readText(`/proc/${pid}/cmdline`) ?? "").split("\0").includes(containerId)) continue;
    if (hostIp === null && !isZero(address)) {
      if (!addresses.some((other) => sameAddress(other, address))) addresses.push(address);
    } else if (taker === null) taker = listenerText(pid, address, port);
  }
  return { taker, addresses };
}

/** A program that listens on a port, on any addresses: "process 1234 (nginx) listening on 0.0.0.0:80"; null if there is none. */
export function anyListener(protocol: string, port: number): string | null {
  for (const { address, inode } of listenersInTheWay({ protocol, hostIp: null, family: 0, port })) {
    return listenerText(processWith(inode), address, port);
  }
  return null;
}

function listenerText(pid: string, address: Address, port: number): string {
  const shown = formatAddress(address);
  return `${processText(pid)} listening on ${address.family === 4 ? shown : `[${shown}]`}:${port}`;
}

/** Binds a socket to what is wanted and closes it: 0, or the negative error number. Without IPv6 "both" is IPv4. */
function probe(wanted: Wanted): number {
  if (wanted.family === 4) return probeFamily(wanted, 4);
  const result = probeFamily(wanted, 6);
  return result === -EAFNOSUPPORT && wanted.family === 0 ? probeFamily(wanted, 4) : result;
}

function probeFamily(wanted: Wanted, family: 4 | 6): number {
  const type = wanted.protocol === "udp" ? SOCK_DGRAM : SOCK_STREAM;
  const domain = family === 4 ? AF_INET : AF_INET6;
  const fd = network.socket(domain, type, wanted.protocol === "sctp" ? IPPROTO_SCTP : 0);
  if (fd < 0) return fd;
  /* For TCP: the port is free while old connections on it are in TIME_WAIT. For UDP two sockets would share the port. */
  if (wanted.protocol === "tcp") network.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (family === 6) network.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, wanted.family === 0 ? 0 : 1);
  const result = network.bind(fd, socketAddress(domain, wanted.hostIp, wanted.port));
  sys.close(fd);
  return result;
}

/** struct sockaddr_in (netinet/in.h), 16 bytes, or sockaddr_in6, 28: family, port, [flow], address, [scope]. */
function socketAddress(domain: number, address: Address | null, port: number): Uint8Array {
  const bytes = new Uint8Array(domain === AF_INET ? 16 : 28);
  bytes[0] = domain;
  bytes[2] = port >> 8;
  bytes[3] = port & 0xff;
  if (address !== null) bytes.set(address.bytes, domain === AF_INET ? 4 : 8);
  return bytes;
}

/** The listeners that overlap with what is wanted, those on all addresses first. */
function listenersInTheWay(wanted: Wanted): Listener[] {
  const listeners = wanted.protocol === "sctp" ? sctpListeners(wanted.port) : ipListeners(wanted.protocol, wanted.port);
  const found = listeners.filter((listener) => overlaps(wanted, listener.address));
  if (wanted.family === 4) {
    const both = listeners.filter((listener) => listener.address.family === 6 && isZero(listener.address));
    if (both.length > 0 && takesIpv4(wanted)) found.push(...both);
  }
  const general = found.filter((listener) => isZero(listener.address));
  return [...general, ...found.filter((listener) => !isZero(listener.address))];
}

/** Whether two sockets of the same IP version could not be bound to both at once. */
function overlaps(wanted: Wanted, address: Address): boolean {
  if (wanted.family !== 0 && wanted.family !== address.family) return false;
  return wanted.hostIp === null || isZero(address) || sameAddress(wanted.hostIp, address);
}

/**
 * Whether an IPv6 wildcard socket takes IPv4 as well. The tables do not say. A bind to a loopback address that no program
 * uses tells: only a wildcard socket makes it fail.
 */
function takesIpv4(wanted: Wanted): boolean {
  const hostIp = addressOf(new Uint8Array([127, 219, 37, 113]));
  return probeFamily({ protocol: wanted.protocol, hostIp, family: 4, port: wanted.port }, 4) !== 0;
}

function ipListeners(protocol: string, port: number): Listener[] {
  const listeners: Listener[] = [];
  for (const path of [`/proc/self/net/${protocol}`, `/proc/self/net/${protocol}6`]) {
    const text = protocol === "tcp" ? tcpTable(path) : (readLargeText(path, TABLE_BYTES) ?? "");
    listeners.push(...parseSocketTable(text, protocol === "tcp" ? LISTENING : UNCONNECTED, port));
  }
  return listeners;
}

/** The first part of a TCP table, with all listening sockets. */
function tcpTable(path: string): string {
  for (let limit = TCP_TABLE_BYTES; ; limit *= 8) {
    const text = readBeginning(path, limit) ?? "";
    if (text.length <= limit || !endsListening(text)) return text;
  }
}

/** Whether the last complete line of a table is a listening socket: then more of them may follow. */
export function endsListening(text: string): boolean {
  const lines = completeLines(text);
  return fieldsOf(textAt(lines, lines.length - 1))[3] === hex(LISTENING, 2);
}

function sctpListeners(port: number): Listener[] {
  return parseSctpTable(readLargeText("/proc/self/net/sctp/eps", TABLE_BYTES) ?? "", port);
}

/**
 * Reads a table of the form of /proc/net/tcp and udp: `sl local_address rem_address st ...`, the inode in the tenth column.
 * @param state the state that a listening socket has
 */
export function parseSocketTable(text: string, state: number, port: number): Listener[] {
  const listeners: Listener[] = [];
  const suffix = `:${hex(port, 4)}`;
  for (const line of completeLines(text)) {
    if (!line.includes(suffix)) continue;
    const fields = fieldsOf(line);
    const local = textAt(fields, 1);
    if (fields[3] !== hex(state, 2) || !local.endsWith(suffix)) continue;
    const address = parseKernelAddress(local.slice(0, local.length - suffix.length));
    if (address !== null) listeners.push({ address, inode: parseInt(fields[9] ?? "0", 10) });
  }
  return listeners;
}

/** Reads /proc/net/sctp/eps (net/sctp/proc.c): `ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS...`. */
export function parseSctpTable(text: string, port: number): Listener[] {
  const listeners: Listener[] = [];
  for (const line of completeLines(text)) {
    const fields = fieldsOf(line);
    if (fields[3] !== `${LISTENING}` || fields[5] !== `${port}`) continue;
    for (let i = 8; i < fields.length; i += 1) {
      const address = parseAddress(textAt(fields, i));
      if (address !== null) listeners.push({ address, inode: parseInt(fields[7] ?? "0", 10) });
    }
  }
  return listeners;
}

/** The lines of a text that may have been cut short. */
function completeLines(text: string): string[] {
  const lines = text.split("\n");
  return lines.slice(0, lines.length - 1);
}

function fieldsOf(line: string): string[] {
  return line.split(" ").filter((field) => field !== "");
}

function hex(value: number, digits: number): string {
  let text = "";
  for (let i = digits - 1; i >= 0; i -= 1) text += "0123456789ABCDEF".charAt((value >> (i * 4)) & 15);
  return text;
}

/** One or four 32-bit words in hex, each in the machine's order: "0100007F" is 127.0.0.1. An IPv4-mapped one is IPv4. */
function parseKernelAddress(text: string): Address | null {
  if (text.length !== 8 && text.length !== 32) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i += 1) {
    bytes[i ^ 3] = parseInt(text.slice(i * 2, i * 2 + 2), 16);
  }
  const mapped = text.startsWith("0000000000000000FFFF0000");
  return addressOf(mapped ? bytes.subarray(12) : bytes);
}

function isZero(address: Address): boolean {
  for (let i = 0; i < address.bytes.length; i += 1) {
    if (address.bytes[i] !== 0) return false;
  }
  return true;
}

/** The pid of the process that has a socket open; "" if none is found. */
function processWith(inode: number): string {
  const proc = openDirectory(sys.AT_FDCWD, "/proc");
  if (proc < 0) return "";
  try {
    for (const pid of listNames(proc)) {
      if (isDigits(pid) && hasOpen(proc, pid, `socket:[${inode}]`)) return pid;
    }
    return "";
  } finally {
    sys.close(proc);
  }
}

/** "process 1234 (nginx)" */
function processText(pid: string): string {
  if (pid === "") return "an unseen process or the kernel (a VXLAN or WireGuard tunnel)";
  return `process ${pid} (${readText(`/proc/${pid}/comm`) ?? "?"})`;
}

/** Whether a process has a file open under the name that /proc/<pid>/fd shows. Processes end while they are looked at. */
function hasOpen(proc: number, pid: string, target: string): boolean {
  let directory = -1;
  try {
    directory = openDirectory(proc, `${pid}/fd`);
    if (directory < 0) return false;
    for (const name of listNames(directory)) {
      if (sys.readlink(`/proc/${pid}/fd/${name}`) === target) return true;
    }
    return false;
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  } finally {
    sys.close(directory);
  }
}
