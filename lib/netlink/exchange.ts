/**
 * The exchange of requests and answers on a netlink socket (Documentation/userspace-api/netlink/intro.rst).
 *
 * The kernel works through all requests of one send in order, also after one that it refuses, and answers in the same
 * order. It answers each request that it refuses, and of the others only those that ask for it. So the answer to the last
 * request shows that the kernel has finished, and only the last one needs to be acknowledged.
 */
import { isTracing, trace } from "../host/trace.ts";
import { itemAt } from "../lists.ts";
import { EINTR, EPERM } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { describeAnswers, describeRequests } from "./describe.ts";
import { splitMessages } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR } from "./netlink.ts";
import { decodeError, NetlinkError } from "./refusal.ts";
import { behindMessage, HEADER_WORDS, rowsFrom } from "./rows.ts";
import type { Transport } from "./transport.ts";

/**
 * How the kernel answers a request that it does not refuse: with an acknowledgement, possibly after objects; with one object;
 * with all objects that match, and a message that ends them.
 */
export type Reply = "acknowledgement" | "object" | "dump";

/** Takes objects that answer the request of an index: messages with their headers, the words [from, to). */
type ObjectsHandler = (words: Int32Array, from: number, to: number, index: number) => void;

/** Which answers belong to an exchange, and which one ends it. */
interface Expected {
  /** The sequence number of the request with index 0. */
  readonly first: number;
  /** The index of the first message: -1 for the one that begins a batch. */
  readonly from: number;
  /** The index of the last request, and how it is answered. */
  readonly last: number;
  readonly reply: Reply;
}

export class Exchange {
  readonly #protocol: number;
  readonly #transport: Transport;
  /** Random, so that nothing that was meant for another socket looks like an answer. 30 bits: no process reaches 2^31. */
  #sequence = (sys.random() >>> 2) + 1;

  constructor(protocol: number, transport: Transport) {
    this.#protocol = protocol;
    this.#transport = transport;
  }

  /**
   * Sends requests and hands on the objects that answer them.
   * @param reply how the last request is answered
   * @returns the refusals, in the order of the requests; EINTR for a dump that changed while it was read
   * @throws CniError 11 if no answer comes; SystemError
   */
  run(requests: MessageWriter, reply: Reply, handler: ObjectsHandler): NetlinkError[] {
    const first = this.#send(requests);
    return this.#collect({ first, from: 0, last: requests.count - 1, reply }, handler);
  }

  /**
   * Sends a batch: one message that begins it, the requests, of which the last is acknowledged, and one that ends it.
   * @returns the refusals, in the order of the requests; index -1 is the batch as a whole
   * @throws CniError 11 if no answer comes; SystemError
   */
  runBatch(messages: MessageWriter): NetlinkError[] {
    const first = this.#send(messages) + 1;
    return this.#collect({ first, from: -1, last: messages.count - 3, reply: "acknowledgement" }, ignoreObjects);
  }

  #traceAnswers(length: number): void {
    for (const line of describeAnswers(this.#protocol, this.#transport.bytes.subarray(0, length))) trace(line);
  }

  /** @returns the sequence number of the first message */
  #send(messages: MessageWriter): number {
    const first = this.#sequence;
    messages.number(first);
    this.#sequence = first + messages.count;
    if (isTracing()) for (const line of describeRequests(this.#protocol, messages.bytes)) trace(line);
    this.#transport.send(messages.bytes, messages.count);
    return first;
  }

  #collect(expected: Expected, handler: ObjectsHandler): NetlinkError[] {
    const { first, from, last, reply } = expected;
    const { words } = this.#transport;
    const refusals: NetlinkError[] = [];
    let changed = false;
    for (;;) {
      const length = this.#transport.receive();
      if (isTracing()) this.#traceAnswers(length);
      const end = (length + 3) >>> 2;
      for (let at = 0; at < end; ) {
        const start = at;
        const next = behindMessage(words, start, end);
        const type = (words[start + 1] ?? 0) & 0xffff;
        const sequence = words[start + 2] ?? 0;
        const index = sequence - first;
        if (type !== NLMSG_ERROR && type !== NLMSG_DONE) {
          const objects = rowsFrom(words, start, end, sequence);
          at = objects.to;
          if (index < from || index > last) continue;
          if (objects.interrupted) changed = true;
          handler(words, start, at, index);
          if (reply === "object" && index === last) return refusals;
          continue;
        }
        at = next;
        if (index < from || index > last) continue;
        if ((((words[start + 1] ?? 0) >>> 16) & NLM_F_DUMP_INTR) !== 0) changed = true;
        const refusal = this.#refusalIn(start, next, index);
        if (refusal !== null) refusals.push(refusal);
        if (refusal !== null && this.#isForAll(refusal, from))
          return from === 0 ? refusalForEach(refusal, last) : refusals;
        if (index !== last || (reply === "dump" && type === NLMSG_ERROR && refusal === null)) continue;
        if (changed && refusals.length === 0) refusals.push(new NetlinkError(EINTR, "", index));
        return refusals;
      }
    }
  }

  /** The refusal in an NLMSG_ERROR or NLMSG_DONE message, the words [from, to); null for an acknowledgement. */
  #refusalIn(from: number, to: number, index: number): NetlinkError | null {
    const { words, bytes } = this.#transport;
    const errno = to > from + HEADER_WORDS ? -(words[from + HEADER_WORDS] ?? 0) : 0;
    if (errno === 0) return null;
    const message = itemAt(splitMessages(bytes.subarray(from * 4, to * 4)), 0);
    if (message === null || message.type === NLMSG_ERROR) return message === null ? null : decodeError(message, index);
    /* rtnetlink ends the dump of a missing link or table like this: there are no objects. */
    return this.#protocol === NETLINK_ROUTE && errno !== EINTR ? null : new NetlinkError(errno, "", index);
  }

  /**
   * Whether a refusal is the only answer to all that was sent. A batch is refused as a whole by a refusal of its first
   * message; netfilter checks the permission of the sender once for all messages (nfnetlink_rcv).
   */
  #isForAll({ errno, index }: NetlinkError, from: number): boolean {
    if (index !== from) return false;
    return from === -1 || (errno === EPERM && this.#protocol === NETLINK_NETFILTER);
  }
}

/** The same refusal for each of the requests 0 to `last`. */
function refusalForEach({ errno, text }: NetlinkError, last: number): NetlinkError[] {
  const refusals: NetlinkError[] = [];
  for (let index = 0; index <= last; index += 1) refusals.push(new NetlinkError(errno, text, index));
  return refusals;
}

function ignoreObjects(_words: Int32Array, _from: number, _to: number, _index: number): void {}
