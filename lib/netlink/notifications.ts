/** What the kernel tells of changes that anybody makes: multicast groups of netlink (netlink(7)). */
import { EAGAIN, EINTR, ENOBUFS, SystemError } from "../sys/errno.ts";
import * as network from "../sys/network.ts";
import * as sys from "../sys/sys.ts";
import { type Message, readU32, splitMessages } from "./message-reader.ts";

const AF_NETLINK = 16;
const SOCK_RAW_NONBLOCK = 3 | 0x800;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const MSG_DONTWAIT = 0x40;
const SOCKADDR_BYTES = 12;
const SOCKADDR_PORT = 4;
const RECEIVE_BYTES = 32_768;
/** struct sockaddr_nl of AF_NETLINK with port 0: one that is free. */
const ANY_PORT = new Uint8Array([AF_NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/* Groups of rtnetlink (linux/rtnetlink.h) and of nfnetlink (linux/netfilter/nfnetlink.h). */
export const RTNLGRP_LINK = 1;
export const RTNLGRP_IPV4_ROUTE = 7;
export const RTNLGRP_IPV6_ROUTE = 11;
export const NFNLGRP_NFTABLES = 7;

/** A socket that receives the messages of some groups, for `poll`. */
export class Notifications {
  /** For `poll`. */
  readonly fd: number;
  readonly #bytes = new Uint8Array(RECEIVE_BYTES);
  readonly #sender = new Uint8Array(SOCKADDR_BYTES);

  /** Opens the socket in the network namespace of the process. @throws SystemError */
  constructor(protocol: number, groups: readonly number[]) {
    this.fd = sys.must(network.socket(AF_NETLINK, SOCK_RAW_NONBLOCK, protocol), "open a netlink socket");
    /* A socket without a port of its own would count as the kernel's, which is not told what it has done itself. */
    this.#require(network.bind(this.fd, ANY_PORT), "give a netlink socket a port");
    for (const group of groups) {
      const joined = network.setsockopt(this.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
      this.#require(joined, `join netlink group ${group}`);
    }
  }

  #require(result: number, what: string): void {
    if (result >= 0) return;
    sys.close(this.fd);
    throw new SystemError(-result, what);
  }

  /**
   * The messages of the next datagram; empty if there is none. Null if messages were lost since the buffer was full: then anything
   * may have changed.
   * @throws SystemError
   */
  read(): Message[] | null {
    for (;;) {
      const length = network.recvfrom(this.fd, this.#bytes, MSG_DONTWAIT, this.#sender);
      if (length === -EINTR) continue;
      if (length === -EAGAIN) return [];
      if (length === -ENOBUFS) return null;
      sys.must(length, "receive a netlink notification");
      /* Only the kernel, which has port 0, sends to groups; other processes may send to this socket. */
      if (readU32(this.#sender, SOCKADDR_PORT) === 0) return splitMessages(this.#bytes.subarray(0, length));
    }
  }

  close(): void {
    sys.close(this.fd);
  }
}
