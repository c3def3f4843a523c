/** A netlink socket: requests, and what the kernel answers (netlink(7)). */
import { itemAt } from "../lists.ts";
import { EINTR } from "../sys/errno.ts";
import { Exchange, type Reply } from "./exchange.ts";
import { type Message, splitMessages } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import { Batch } from "./netfilter.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from "./netlink.ts";
import { NetlinkError } from "./refusal.ts";
import type { RowsHandler } from "./rows.ts";
import { Transport } from "./transport.ts";

export { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError };

/** A dump that changes while it is read is repeated this often. */
const DUMP_TRIES = 10;

/** Takes an object that answers the request of an index. Its bytes are valid during the call. */
type MessageHandler = (message: Message, index: number) => void;

/**
 * A socket in the network namespace that the process was in when it was opened.
 *
 * A request is begun by the method that says how the kernel answers it: `request`, `query` or `dump`. The writer that it
 * returns completes it, with fields, attributes and `end()`. Then one exchange sends all requests that were written:
 *
 * | begun by           | sent by                        |
 * |--------------------|--------------------------------|
 * | `request`, `query` | `run`, `attempt`, `exchange`   |
 * | `query`, alone     | `answer`                       |
 * | `dump`, alone      | `list`, `listEach`, `listRows` |
 */
export class NetlinkSocket {
  readonly #transport: Transport;
  readonly #exchange: Exchange;
  readonly #requests = new MessageWriter();
  /** How the request written last is answered. */
  #reply: Reply = "acknowledgement";

  /** @param protocol NETLINK_ROUTE, NETLINK_NETFILTER or NETLINK_GENERIC @throws SystemError */
  constructor(protocol: number) {
    this.#transport = new Transport(protocol);
    this.#exchange = new Exchange(protocol, this.#transport);
  }

  close(): void {
    this.#transport.close();
  }

  /** Closes the socket without waiting for nf_tables: see `Transport.abandon`. */
  abandon(): void {
    this.#transport.abandon();
  }

  /** Begins a request that is acknowledged. @param flags NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_ECHO */
  request(type: number, flags: number): MessageWriter {
    return this.#begin(type, flags, "acknowledgement");
  }

  /** Begins a request that one object answers. */
  query(type: number): MessageWriter {
    return this.#begin(type, 0, "object");
  }

  /** Begins a request that all objects answer which match it. */
  dump(type: number): MessageWriter {
    return this.#begin(type, NLM_F_DUMP, "dump");
  }

  /** Begins a batch of requests to nf_tables. */
  batch(): Batch {
    return new Batch(this.#exchange);
  }

  /** Sends the requests. @throws NetlinkError for the first that was refused; CniError 11, SystemError */
  run(): void {
    const refusal = itemAt(this.exchange(ignore), 0);
    if (refusal !== null) throw refusal.copy();
  }

  /**
   * Sends the requests.
   * @returns the error number of the first that was refused, 0 if none was
   * @throws CniError 11, SystemError
   */
  attempt(): number {
    return itemAt(this.exchange(ignore), 0)?.errno ?? 0;
  }

  /**
   * Sends the requests and hands on each object that answers one.
   * @returns the refusals, in the order of the requests
   * @throws CniError 11, SystemError
   */
  exchange(handler: MessageHandler): NetlinkError[] {
    if (this.#requests.count === 0) return [];
    if (this.#reply === "acknowledgement") this.#requests.addFlags(NLM_F_ACK);
    try {
      return this.#exchange.run(this.#requests, this.#reply, (_words, from, to, index) => {
        for (const message of splitMessages(this.#received(from, to))) handler(message, index);
      });
    } finally {
      this.#requests.reset();
    }
  }

  /**
   * Sends the one query.
   * @param absent the error numbers by which the kernel says that there is no such object
   * @returns the body of the object that answers it, valid until the next exchange; null if there is none
   * @throws NetlinkError for any other refusal; CniError 11, SystemError
   */
  answer(absent: readonly number[]): Uint8Array | null {
    let body: Uint8Array | null = null;
    const refusals = this.exchange((message) => {
      body = message.body;
    });
    for (const refusal of refusals) {
      if (!absent.includes(refusal.errno)) throw refusal.copy();
    }
    return body;
  }

  /** Sends the one dump request. @returns the objects, copied @throws NetlinkError, CniError 11, SystemError */
  list(): Message[] {
    let messages: Message[] = [];
    this.#list(
      (from, to) => {
        /* The next receive overwrites the memory. */
        const copy = new Uint8Array((to - from) * 4);
        copy.set(this.#received(from, to));
        for (const message of splitMessages(copy)) messages.push(message);
      },
      () => {
        messages = [];
      },
    );
    return messages;
  }

  /**
   * `list` that hands on each object and copies none: for hundreds of objects, or to keep few of many.
   * @param restart drops what the handler gathered: the dump has changed while it was read, and is repeated
   */
  listEach(handler: MessageHandler, restart: () => void): void {
    this.#list((from, to) => {
      for (const message of splitMessages(this.#received(from, to))) handler(message, 0);
    }, restart);
  }

  /**
   * `list` for thousands of objects.
   * @param handler gets many messages at once, as words
   * @param restart drops what the handler gathered: the dump has changed while it was read, and is repeated
   */
  listRows(handler: RowsHandler, restart: () => void): void {
    const { words } = this.#transport;
    this.#list((from, to) => handler(words, from, to), restart);
  }

  #list(handler: (from: number, to: number) => void, restart: () => void): void {
    try {
      for (let attempt = 1; ; attempt += 1) {
        restart();
        const refusals = this.#exchange.run(this.#requests, "dump", (_words, from, to, _index) => handler(from, to));
        const refusal = itemAt(refusals, 0);
        if (refusal === null) return;
        if (refusal.errno !== EINTR) throw refusal.copy();
        if (attempt === DUMP_TRIES) throw new NetlinkError(EINTR, "the dump kept changing while it was read", 0);
      }
    } finally {
      this.#requests.reset();
    }
  }

  #begin(type: number, flags: number, reply: Reply): MessageWriter {
    this.#reply = reply;
    this.#requests.begin(type, flags | NLM_F_REQUEST);
    return this.#requests;
  }

  /** Some of the words that were received, as bytes. */
  #received(from: number, to: number): Uint8Array {
    return this.#transport.bytes.subarray(from * 4, to * 4);
  }
}

function ignore(_message: Message, _index: number): void {}
