/** A netlink socket as the kernel sees it: bytes that are sent, bytes that are received (netlink(7)). */
import { CniError, TRY_AGAIN_LATER } from "../errors.ts";
import { throwIfInterrupted } from "../host/interrupt.ts";
import { EAGAIN, EINTR } from "../sys/errno.ts";
import * as network from "../sys/network.ts";
import * as sys from "../sys/sys.ts";
import { NetlinkFormatError, readU32 } from "./message-reader.ts";
import { NETLINK_ROUTE } from "./netlink.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

/** struct sockaddr_nl: family, padding, port, groups. The kernel has port 0. */
const SOCKADDR_BYTES = 12;
const SOCKADDR_PORT = 4;

/** The kernel fills at most 32 KiB of one receive. */
const RECEIVE_BYTES = 32768;
/**
 * A socket's buffers hold 208 KiB by default, which also limits one send. In the receive buffer an answer counts for at
 * least 1 KiB, and all answers arrive before the first is read.
 */
const LARGE_SEND_BYTES = 200_000;
const MANY_REQUESTS = 60;
const ANSWER_BYTES = 4096;

/**
 * The kernel works on a request while it is sent, and on a dump while it is received, however long that takes. So an
 * answer that is not there at once has most likely been lost.
 */
const ANSWER_MS = 10_000;
/** After one lost answer, the requests that undo work wait less for each of theirs. */
const LOST_ANSWER_MS = 1000;
const POLL_MS = 100;
let patienceMs = ANSWER_MS;

/** For a process that outlives a call: from now on answers are waited for as at the start. */
export function forgetLostAnswers(): void {
  patienceMs = ANSWER_MS;
}

export class Transport {
  readonly #fd: number;
  readonly #sender = new Uint8Array(SOCKADDR_BYTES);
  /** What was received last, as 32-bit words. */
  readonly words = new Int32Array(RECEIVE_BYTES / 4);
  /** The same memory as bytes. */
  readonly bytes: Uint8Array;

  /** Opens the socket in the network namespace of the process, where it stays. @throws SystemError */
  constructor(protocol: number) {
    this.bytes = Buffer.from(this.words.buffer);
    this.#fd = sys.must(network.socket(AF_NETLINK, SOCK_RAW, protocol), "open a netlink socket");
    /* Old kernels lack these options: then error texts are missing, and the callers filter what a dump returns. */
    network.setsockopt(this.#fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
    network.setsockopt(this.#fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    if (protocol === NETLINK_ROUTE) network.setsockopt(this.#fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  }

  /** @param count how many messages the bytes hold: the buffer gets room for their answers @throws SystemError */
  send(bytes: Uint8Array, count: number): void {
    if (bytes.length > LARGE_SEND_BYTES) network.setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes.length);
    if (count > MANY_REQUESTS) network.setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, count * ANSWER_BYTES);
    let sent = -EINTR;
    while (sent === -EINTR) sent = network.send(this.#fd, bytes, 0, bytes.length);
    sys.must(sent, "send a netlink request");
  }

  /**
   * Receives one datagram from the kernel into `words`. Datagrams of other senders are dropped.
   * @returns its length in bytes
   * @throws CniError 11 if none comes; SystemError; NetlinkFormatError if it is too long
   */
  receive(): number {
    for (;;) {
      const length = network.recvfrom(this.#fd, this.bytes, MSG_TRUNC | MSG_DONTWAIT, this.#sender);
      if (length === -EINTR) continue;
      if (length === -EAGAIN) {
        waitForAnswer(this.#fd);
        continue;
      }
      sys.must(length, "receive a netlink answer");
      if (readU32(this.#sender, SOCKADDR_PORT) !== 0) continue;
      if (length > this.bytes.length) throw new NetlinkFormatError(`netlink answer of ${length} bytes`);
      return length;
    }
  }

  close(): void {
    sys.close(this.#fd);
  }

  /**
   * Closes the socket without waiting for work that the kernel still has to do. If objects of nf_tables were deleted a
   * moment ago, by any process, close(2) sleeps for 12 to 15 ms, until no CPU can still read them (nft_rcv_nl_event in
   * net/netfilter). They are gone for every observer by then, so the wait has no use. Instead the socket is sent over a
   * Unix socket that is in flight to itself, where no process can receive it. The kernel's garbage collector for such
   * circles (net/unix/garbage.c) closes both, as of Linux 6.18 in a thread of its own. A kernel that collects in close(2)
   * of a Unix socket gains nothing.
   */
  abandon(): void {
    const pair = network.socketPair();
    if (pair !== null) {
      network.sendDescriptors(pair.first, this.#fd, pair.second);
      sys.close(pair.second);
    }
    sys.close(this.#fd);
    /* This one last: closing it starts the garbage collector. */
    if (pair !== null) sys.close(pair.first);
  }
}

/** @throws CniError 11 if no answer comes in time, or if a signal asks the process to end; SystemError */
function waitForAnswer(fd: number): void {
  const end = sys.clockMs(sys.CLOCK_MONOTONIC) + patienceMs;
  while (sys.clockMs(sys.CLOCK_MONOTONIC) < end) {
    throwIfInterrupted();
    const ready = sys.poll(fd, sys.POLLIN, POLL_MS);
    if (ready > 0) return;
    if (ready !== -EINTR) sys.must(ready, "wait for a netlink answer");
  }
  const waited = patienceMs / 1000;
  patienceMs = LOST_ANSWER_MS;
  throw new CniError(
    TRY_AGAIN_LATER,
    `the kernel has not answered a netlink request within ${waited} s`,
    "the kernel may have done what was requested all the same; try again, and see dmesg if this happens again",
  );
}
