/** System calls for sockets, network namespaces and interfaces. As in sys.ts, each returns its result or the negative error number. */

declare function sys_socket(domain: number, type: number, protocol: number): number;
declare function sys_socketpair(buffer: Uint8Array): number;
declare function sys_send_descriptors(fd: number, first: number, second: number): number;
declare function sys_setsockopt(fd: number, level: number, option: number, value: number): number;
declare function sys_bind(fd: number, address: Uint8Array): number;
declare function sys_send(fd: number, buffer: Uint8Array, offset: number, length: number): number;
declare function sys_recvfrom(fd: number, buffer: Uint8Array, flags: number, address: Uint8Array): number;
declare function sys_setns(fd: number, type: number): number;
declare function sys_unshare(flags: number): number;
declare function sys_namespace_type(fd: number): number;
declare function sys_if_index(name: string): number;

export function socket(domain: number, type: number, protocol: number): number {
  return sys_socket(domain, type, protocol);
}

/** Two connected datagram sockets of the Unix family; null if there are none to be had. */
export function socketPair(): { readonly first: number; readonly second: number } | null {
  const buffer = new Uint8Array(8);
  if (sys_socketpair(buffer) < 0) return null;
  const view = new DataView(buffer.buffer);
  return { first: view.getInt32(0, true), second: view.getInt32(4, true) };
}

/** Sends two descriptors to a socket's peer (SCM_RIGHTS, unix(7)). */
export function sendDescriptors(fd: number, first: number, second: number): number {
  return sys_send_descriptors(fd, first, second);
}

export function setsockopt(fd: number, level: number, option: number, value: number): number {
  return sys_setsockopt(fd, level, option, value);
}

/** bind(2) to a `struct sockaddr_in` or `sockaddr_in6`, given as bytes. */
export function bind(fd: number, address: Uint8Array): number {
  return sys_bind(fd, address);
}

export function send(fd: number, buffer: Uint8Array, offset: number, length: number): number {
  return sys_send(fd, buffer, offset, length);
}

/** recvfrom(2). @param address is filled with the sender's `struct sockaddr`, as far as it has room */
export function recvfrom(fd: number, buffer: Uint8Array, flags: number, address: Uint8Array): number {
  return sys_recvfrom(fd, buffer, flags, address);
}

export function setns(fd: number, type: number): number {
  return sys_setns(fd, type);
}

export function unshare(flags: number): number {
  return sys_unshare(flags);
}

/** The kind of an open namespace as its CLONE_NEW flag, or the negative error number. */
export function namespaceType(fd: number): number {
  return sys_namespace_type(fd);
}

/** The index of an interface in the current network namespace; -ENODEV if there is none, or another negative error number. */
export function interfaceIndex(name: string): number {
  return sys_if_index(name);
}
