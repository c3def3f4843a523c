/** The header and the batches of netfilter's messages (include/uapi/linux/netfilter/nfnetlink.h). */
import { itemAt } from "../lists.ts";
import type { Exchange } from "./exchange.ts";
import { MessageWriter } from "./message-writer.ts";
import { NLM_F_ACK, NLM_F_REQUEST } from "./netlink.ts";
import type { NetlinkError } from "./refusal.ts";

const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
const NFNL_SUBSYS_NFTABLES = 10;

/**
 * Requests to nf_tables that take effect together or not at all. Each is written with `request(type, flags)`, then the
 * writer's fields and attributes, then the writer's `end()`; `commit` or `attempt` sends them. A batch is used once.
 */
export class Batch {
  readonly #exchange: Exchange;
  readonly #messages = new MessageWriter();

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#writeEdge(NFNL_MSG_BATCH_BEGIN);
  }

  /** How many requests the batch holds: the index of the one written next. */
  get length(): number {
    return this.#messages.count - 1;
  }

  /** Begins a request and returns the writer to complete it with. */
  request(type: number, flags: number): MessageWriter {
    this.#messages.begin(type, flags | NLM_F_REQUEST);
    return this.#messages;
  }

  /**
   * Sends the batch; an empty one is not sent. On an error nothing of it took effect.
   * @throws NetlinkError for the first request that was refused; `index` counts from 0, -1 is the batch as a whole
   *   (EPERM; EOPNOTSUPP without nf_tables); CniError 11, SystemError
   */
  commit(): void {
    const refusal = itemAt(this.attempt(), 0);
    if (refusal !== null) throw refusal.copy();
  }

  /**
   * `commit` that returns the refusals instead, in the order of the requests: none means that the batch took effect.
   * @throws CniError 11, SystemError
   */
  attempt(): NetlinkError[] {
    if (this.length === 0) return [];
    this.#messages.addFlags(NLM_F_ACK);
    this.#writeEdge(NFNL_MSG_BATCH_END);
    return this.#exchange.runBatch(this.#messages);
  }

  /** Writes the message that begins or ends the batch. */
  #writeEdge(type: number): void {
    this.#messages.begin(type, NLM_F_REQUEST);
    writeNetfilterHeader(this.#messages, 0, NFNL_SUBSYS_NFTABLES);
    this.#messages.end();
  }
}

/** Writes the fixed part of a netfilter message, struct nfgenmsg: family, version, resource. */
export function writeNetfilterHeader(writer: MessageWriter, family: number, resource: number): void {
  writer.u8(family);
  writer.u8(0);
  writer.be16(resource);
}
