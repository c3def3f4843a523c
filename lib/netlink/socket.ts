/** A netlink socket: requests and their answers (netlink(7); Documentation/userspace-api/netlink/intro.rst). */
import { CniError, TRY_AGAIN_LATER } from "../errors.ts";
import { throwIfInterrupted } from "../host/interrupt.ts";
import { EAGAIN, EINTR, EPERM } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import {
  type Message,
  MessageWriter,
  NetlinkFormatError,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  readI32,
  splitMessages,
} from "./codec.ts";
import { decodeError, NetlinkError } from "./refusal.ts";
import { behindMessage, type RowsHandler, rowsFrom } from "./rows.ts";

export { NetlinkError };

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;

/* Batches of netfilter (linux/netfilter/nfnetlink.h). */
const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_BATCH_GENID = 1;

const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
/** The kernel fills answers of up to 32 KiB, and no more. */
const RECEIVE_BYTES = 32768;
/** A dump that changes under our eyes is begun again this often. */
const DUMP_TRIES = 10;
/**
 * A socket's buffers hold 208 KiB by default, and what is sent may be no longer. In the other direction an answer counts
 * for 1 KiB at least, and all answers come before the first is read.
 */
const LARGE_SEND_BYTES = 200_000;
const MANY_REQUESTS = 60;
const ANSWER_BYTES = 4096;

/** Takes a message that answers the request of the given index. */
export type MessageHandler = (message: Message, index: number) => void;

/**
 * A socket in the network namespace that the process was in when it was opened. Requests are written with
 * `request(type, flags)`, then the writer's fields and attributes, then `end()`; `execute` sends all that were written.
 */
export class NetlinkSocket {
  readonly #fd: number;
  readonly #words = new Int32Array(RECEIVE_BYTES / 4);
  /** The same memory. */
  readonly #buffer: Uint8Array;
  #sequence = 1;
  readonly #pending = new MessageWriter();
  readonly #protocol: number;
  /** Whether what is pending is a batch. */
  #batch = false;
  /** Whether what is pending is a series. */
  #series = false;
  /** For each pending request whether one message answers it, without an acknowledgement. */
  #queries: boolean[] = [];

  /** @throws SystemError */
  constructor(protocol: number) {
    this.#protocol = protocol;
    this.#buffer = Buffer.from(this.#words.buffer);
    this.#fd = sys.must(sys.socket(AF_NETLINK, SOCK_RAW, protocol), "open a netlink socket");
    /* Old kernels lack these; then error texts are missing and dumps are filtered by us. */
    sys.setsockopt(this.#fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
    sys.setsockopt(this.#fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    if (protocol === NETLINK_ROUTE) sys.setsockopt(this.#fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  }

  close(): void {
    sys.close(this.#fd);
  }

  /**
   * Closes the socket without waiting for what the kernel still has to do. Where objects of nf_tables were deleted a moment
   * ago, by whomever, close sleeps 12 to 15 ms, until no CPU can be looking at them any more (nft_rcv_nl_event in
   * net/netfilter); they are gone for everybody by then, so nobody gains by waiting. So the socket is sent to one that is
   * in flight to itself, where nobody can ever receive it. The collector of such circles (net/unix/garbage.c) closes
   * both: in a thread of the kernel's as of Linux 6.18; kernels that do it within close of a Unix socket gain nothing.
   */
  abandon(): void {
    const pair = sys.socketPair();
    if (pair !== null) {
      sys.sendDescriptors(pair.first, this.#fd, pair.second);
      sys.close(pair.second);
    }
    sys.close(this.#fd);
    /* The last to be closed: this is what starts the collector. */
    if (pair !== null) sys.close(pair.first);
  }

  /** Begins a request and returns the writer to complete it with. */
  request(type: number, flags: number): MessageWriter {
    if (this.#batch || this.#series) return this.#begin(type, flags | NLM_F_REQUEST);
    return this.#begin(type, flags | NLM_F_REQUEST | NLM_F_ACK);
  }

  /** Begins a request for one object, to be completed and then run by `executeAll`: the answer is all that comes back. */
  query(type: number): MessageWriter {
    const index = this.#pending.count;
    while (this.#queries.length < index) this.#queries.push(false);
    this.#queries.push(true);
    return this.#begin(type, NLM_F_REQUEST);
  }

  /**
   * Begins a batch of nf_tables: the requests that follow take effect together or not at all, with `commitBatch`. A batch
   * that was begun before and not committed is dropped.
   * @param generation if not 0, the ruleset's generation that the batch is based on; if it is another meanwhile, the batch
   *   is refused with ERESTART
   */
  beginBatch(generation = 0): void {
    this.#pending.reset();
    this.#batch = true;
    const writer = this.#begin(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST);
    writeNetfilterHeader(writer, 0, NFNL_SUBSYS_NFTABLES);
    if (generation !== 0) writer.attributeBe32(NFNL_BATCH_GENID, generation);
    writer.end();
  }

  /** How many requests the batch holds so far: the `index` of the one written next. */
  get batchLength(): number {
    return this.#pending.count - 1;
  }

  /**
   * Sends the batch. An error means that nothing of it took effect.
   * @throws NetlinkError for the first request that was refused; `index` counts from 0, -1 is the batch as a whole
   *   (ERESTART: the generation is not the given one; EPERM; EOPNOTSUPP without nf_tables); SystemError
   */
  commitBatch(): void {
    let first: NetlinkError | null = null;
    for (const failure of this.attemptBatch()) first = first ?? failure;
    if (first !== null) throw first;
  }

  /**
   * `commitBatch` that returns every refusal instead, in the order of the requests: none means that the batch took effect.
   * @throws SystemError
   */
  attemptBatch(): NetlinkError[] {
    const failures: NetlinkError[] = [];
    const length = this.batchLength;
    /* One answer, to the last request, shows that the kernel is through; errors are sent in any case, and before it. */
    if (length > 0) this.#pending.addFlags(NLM_F_ACK);
    const writer = this.#begin(NFNL_MSG_BATCH_END, NLM_F_REQUEST);
    writeNetfilterHeader(writer, 0, NFNL_SUBSYS_NFTABLES);
    writer.end();
    this.#batch = false;
    const first = this.#sequence + 1;
    if (length <= 0) {
      this.#pending.reset();
      return failures;
    }
    this.#send();
    for (;;) {
      for (const message of this.#receive()) {
        const index = message.sequence - first;
        if (message.type !== NLMSG_ERROR || index < -1 || index >= length) continue;
        const error = decodeError(message, index);
        if (error !== null) failures.push(error);
        if (index === length - 1 || error?.index === -1) return failures;
      }
    }
  }

  /**
   * Sends the requests written since the last time and waits until the kernel has answered each. The kernel works through
   * all of them even if one fails.
   * @throws NetlinkError for the first that was refused; SystemError if the socket fails
   */
  execute(handler: MessageHandler): void {
    const first = this.#sequence;
    const count = this.#send();
    let failure: NetlinkError | null = null;
    let answered = 0;
    while (answered < count) {
      for (const message of this.#receive()) {
        const index = message.sequence - first;
        if (index < 0 || index >= count) continue;
        if (message.type !== NLMSG_ERROR) {
          handler(message, index);
          continue;
        }
        answered += 1;
        const error = decodeError(message, index);
        if (error !== null && this.#isForAll(error.errno)) throw error;
        if (error !== null && failure === null) failure = error;
      }
    }
    if (failure !== null) throw failure;
  }

  /** Whether a refusal is the only answer to all that was sent: netfilter asks once whether we may ask (nfnetlink_rcv). */
  #isForAll(errno: number): boolean {
    return errno === EPERM && this.#protocol === NETLINK_NETFILTER;
  }

  /**
   * `execute` for requests of which each may be refused: returns the error number of each, 0 for success. The kernel works
   * through all of them.
   * @throws SystemError
   */
  executeAll(handler: MessageHandler): number[] {
    if (this.#pending.count === 0) return [];
    const first = this.#sequence;
    const queries = this.#queries;
    const errors: number[] = [];
    const count = this.#send();
    while (errors.length < count) errors.push(0);
    let answered = 0;
    while (answered < count) {
      for (const message of this.#receive()) {
        const index = message.sequence - first;
        if (index < 0 || index >= count) continue;
        const last = message.type === NLMSG_ERROR;
        const errno = last ? 0 - readI32(message.body, 0) : 0;
        if (this.#isForAll(errno)) return errors.map(() => EPERM);
        if (last) errors[index] = errno;
        else handler(message, index);
        if (last || queries[index] === true) answered += 1;
      }
    }
    return errors;
  }

  /** Begins a series: of the requests that follow, each is answered only if it is refused. `executeSeries` runs them. */
  beginSeries(): void {
    this.#series = true;
  }

  /**
   * Runs the requests written since `beginSeries`. The kernel works through all of them.
   * @returns those that were refused, in their order
   * @throws SystemError
   */
  executeSeries(): NetlinkError[] {
    this.#series = false;
    const refused: NetlinkError[] = [];
    if (this.#pending.count === 0) return refused;
    /* One acknowledgement, of the last request, shows that the kernel is through; errors come in any case, and before it. */
    this.#pending.addFlags(NLM_F_ACK);
    const first = this.#sequence;
    const count = this.#send();
    for (;;) {
      for (const message of this.#receive()) {
        const index = message.sequence - first;
        if (message.type !== NLMSG_ERROR || index < 0 || index >= count) continue;
        const error = decodeError(message, index);
        if (error !== null) refused.push(error);
        if (index === count - 1 || (error !== null && this.#isForAll(error.errno))) return refused;
      }
    }
  }

  /** `execute` where no answer but success is wanted. */
  run(): void {
    this.execute(ignore);
  }

  /** Runs the one request written and returns the error number with which the kernel refused it, 0 if it did not. */
  attempt(): number {
    try {
      this.run();
      return 0;
    } catch (error) {
      if (error instanceof NetlinkError) return error.errno;
      throw error;
    }
  }

  /**
   * Lists objects: `write` completes the request, `handler` gets each message. A listing that changed meanwhile is begun
   * again, so `restart` must drop what was gathered.
   * @throws NetlinkError
   */
  dump(type: number, write: (writer: MessageWriter) => void, handler: MessageHandler, restart: () => void): void {
    const each = (_words: Int32Array, from: number, to: number): void => {
      for (const message of this.#messages(from, to)) handler(message, 0);
    };
    this.dumpRows(type, write, each, restart);
  }

  /** `dump` for long listings, whose handler gets many messages at once, as words. */
  dumpRows(type: number, write: (writer: MessageWriter) => void, handler: RowsHandler, restart: () => void): void {
    for (let attempt = 0; attempt < DUMP_TRIES; attempt += 1) {
      restart();
      write(this.request(type, NLM_F_DUMP));
      if (this.#dumpOnce(handler)) return;
    }
    throw new NetlinkError(EINTR, "the listing kept changing while it was read", 0);
  }

  /** False if the kernel says that the listing is not of one moment. */
  #dumpOnce(handler: RowsHandler): boolean {
    const sequence = this.#sequence;
    this.#send();
    let consistent = true;
    for (;;) {
      const end = (this.#receiveBytes() + 3) >>> 2;
      let at = 0;
      while (at < end) {
        const { to, interrupted } = rowsFrom(this.#words, at, end, sequence);
        if (interrupted) consistent = false;
        if (to > at) handler(this.#words, at, to);
        if (to === end) break;
        at = behindMessage(this.#words, to, end);
        for (const message of this.#messages(to, at)) {
          if (message.sequence !== sequence) continue;
          if ((message.flags & NLM_F_DUMP_INTR) !== 0) consistent = false;
          const errno = this.#errorAtEnd(message);
          if (errno === EINTR) return false;
          if (message.type === NLMSG_DONE) return consistent;
        }
      }
    }
  }

  /** The error number of the message that ends a listing: 0 or EINTR. @throws NetlinkError for any other */
  #errorAtEnd(message: Message): number {
    if (message.type === NLMSG_DONE) {
      const errno = message.body.length < 4 ? 0 : -readI32(message.body, 0);
      /* For rtnetlink this is how the listing of a missing link or table ends: there is nothing. */
      if (errno > 0 && errno !== EINTR && this.#protocol !== NETLINK_ROUTE) throw new NetlinkError(errno, "", 0);
      return errno === EINTR ? EINTR : 0;
    }
    const error = decodeError(message, 0);
    if (error === null) return 0;
    if (error.errno === EINTR) return EINTR;
    throw error;
  }

  #begin(type: number, flags: number): MessageWriter {
    this.#pending.beginExact(type, flags, this.#sequence + this.#pending.count);
    return this.#pending;
  }

  #send(): number {
    /* The kernel would wait for the rest of the batch, and we for the kernel. */
    if (this.#batch) throw new Error("a batch is sent by commitBatch only");
    const count = this.#pending.count;
    const bytes = this.#pending.bytes;
    if (bytes.length > LARGE_SEND_BYTES) sys.setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes.length);
    if (count > MANY_REQUESTS) sys.setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, count * ANSWER_BYTES);
    this.#queries = [];
    this.#sequence += count;
    let sent = -EINTR;
    while (sent === -EINTR) sent = sys.send(this.#fd, bytes, 0, bytes.length);
    this.#pending.reset();
    sys.must(sent, "send a netlink request");
    return count;
  }

  #receive(): Message[] {
    return splitMessages(this.#buffer.subarray(0, this.#receiveBytes()));
  }

  /** The messages in some of the words that were received. */
  #messages(from: number, to: number): Message[] {
    return splitMessages(this.#buffer.subarray(from * 4, to * 4));
  }

  /** How many bytes were received into the buffer. @throws CniError 11 if nothing comes; SystemError */
  #receiveBytes(): number {
    for (;;) {
      const length = sys.recv(this.#fd, this.#buffer, MSG_TRUNC | MSG_DONTWAIT);
      if (length === -EINTR) continue;
      if (length === -EAGAIN) {
        waitForAnswer(this.#fd);
        continue;
      }
      sys.must(length, "receive a netlink answer");
      if (length > this.#buffer.length) throw new NetlinkFormatError(`netlink answer of ${length} bytes`);
      return length;
    }
  }
}

function ignore(_message: Message, _index: number): void {}

/**
 * The kernel works on a request while it is sent, and on a listing while it is received, however long that takes. So an
 * answer is there when it is looked for, and one that is not has most likely been lost.
 */
const ANSWER_MS = 10_000;
/** Once an answer was lost, what is still to be taken back must not wait as long for each of its own. */
const LOST_ANSWER_MS = 1000;
const TICK_MS = 100;
let patienceMs = ANSWER_MS;

function waitForAnswer(fd: number): void {
  const end = sys.clockMs(sys.CLOCK_MONOTONIC) + patienceMs;
  while (sys.clockMs(sys.CLOCK_MONOTONIC) < end) {
    throwIfInterrupted();
    const ready = sys.poll(fd, sys.POLLIN, TICK_MS);
    if (ready > 0) return;
    if (ready !== -EINTR) sys.must(ready, "wait for a netlink answer");
  }
  const waited = patienceMs / 1000;
  patienceMs = LOST_ANSWER_MS;
  throw new CniError(
    TRY_AGAIN_LATER,
    `the kernel has not answered a netlink request within ${waited} s`,
    "what it had done may be there all the same; try again, and see dmesg if it goes on",
  );
}

/** Writes the fixed part of a netfilter message, struct nfgenmsg: family, version, resource. */
export function writeNetfilterHeader(writer: MessageWriter, family: number, resource: number): void {
  writer.u8(family);
  writer.u8(0);
  writer.be16(resource);
}
