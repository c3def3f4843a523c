/**
 * The socket to nf_tables and the transaction that is written on it. Each request has a label, so that an error can name the
 * object that the kernel has refused.
 */
import { CniError } from "../errors.ts";
import type { Batch } from "../netlink/netfilter.ts";
import { NETLINK_NETFILTER } from "../netlink/netlink.ts";
import { NetlinkError, NetlinkSocket } from "../netlink/socket.ts";
import { EEXIST, EINVAL, ENOENT, EPERM, isShortage, SystemError } from "../sys/errno.ts";
import { noNftables, refused } from "./refusals.ts";

export class FilterSocket {
  #socket: NetlinkSocket | null = null;
  #batch: Batch | null = null;
  #labels: string[] = [];
  /** What to do on a kernel without nf_tables. */
  readonly #advice: string;
  /** Whether the kernel has shown that it has no nf_tables. */
  absent = false;

  /** @param advice for errors on a kernel without nf_tables; "" for the general one */
  constructor(advice: string) {
    this.#advice = advice;
  }

  /** Opened when it is first needed. @throws CniError 100 if the kernel has no netfilter; SystemError */
  get netlink(): NetlinkSocket {
    const socket = this.#socket ?? this.#open();
    this.#socket = socket;
    return socket;
  }

  #open(): NetlinkSocket {
    try {
      return new NetlinkSocket(NETLINK_NETFILTER);
    } catch (error) {
      /* A lack of memory or of privileges does not say that the kernel has no netfilter. */
      if (!(error instanceof SystemError) || error.errno === EPERM || isShortage(error.errno)) throw error;
      this.absent = true;
      throw noNftables(error.message, this.#advice);
    }
  }

  close(): void {
    this.#socket?.abandon();
  }

  /**
   * Notes how a question was refused. Without nf_tables that is EINVAL: then nothing is there, which is right for whoever
   * removes something.
   * @throws CniError 100, 11 unless the object is missing
   */
  checkRefusal(refusal: NetlinkError): void {
    if (refusal.errno === EINVAL) this.absent = true;
    else if (refusal.errno !== ENOENT) throw refused(refusal, "read the packet filter");
  }

  /** @throws CniError 100 if the kernel has shown that it has no nf_tables */
  requireNftables(): void {
    if (this.absent) throw noNftables("netlink does not know it", this.#advice);
  }

  /** Begins a transaction. Nothing of it takes effect before `commit`. */
  begin(): void {
    this.#labels = [];
    this.#batch = this.netlink.batch();
  }

  /** The transaction that was begun: what requests are written to. */
  get batch(): Batch {
    if (this.#batch === null) throw new Error("no transaction was begun");
    return this.#batch;
  }

  /** Labels the requests that were written since the last label: "make set inet podwire hostports4". */
  label(text: string): void {
    while (this.#labels.length < this.batch.length) this.#labels.push(text);
  }

  /**
   * Sends the transaction.
   * @returns false if the kernel refused because an object was removed after it was read, or because an element that must be
   *   new exists
   * @throws CniError 100 that names the object the kernel refused, 11 if trying again may help
   */
  commit(): boolean {
    try {
      this.batch.commit();
      return true;
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      if (this.absent && this.#labels.length === 0) return true;
      this.requireNftables();
      const label = this.#labels[error.index] ?? "change the packet filter";
      if (error.errno === EEXIST && label.startsWith("add to")) return false;
      if (error.errno === ENOENT && !label.startsWith("make") && !label.startsWith("add rule")) return false;
      const cause = refused(error, label);
      throw error.errno === ENOENT ? new CniError(cause.code, cause.message, MODULES) : cause;
    }
  }
}

/** For a kernel that does not know what a chain or a rule is made of, and says no more than that. */
const MODULES =
  "the kernel lacks what this takes: load the modules nft_chain_nat, nft_ct, nft_fib_inet, nft_masq and nft_nat, or use a kernel that has them";
