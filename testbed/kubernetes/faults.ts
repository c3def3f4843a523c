/** What goes wrong: each fault is switched on by a method and holds until it is ended or has struck so many times. */
import {
  expired,
  Failure,
  failureStatus,
  internalError,
  tooManyRequests,
  tooManyRequestsText,
  unauthorized,
  unavailable,
} from "./failure.ts";
import type { Target } from "./target.ts";
import type { Cut, Impairment } from "./wire.ts";

/** Which requests a fault strikes; what is left out counts for all. */
export interface Where {
  readonly verb?: string;
  /** The plural: `nodes`; or the path of what is no resource. */
  readonly resource?: string;
  readonly name?: string;
  /** How often it strikes before it is over. */
  readonly times?: number;
}

/** What is done to a request; everything is optional. */
export interface Effect {
  /** The answer instead of the real one. */
  readonly failure?: Failure;
  /** Before the header is sent, ms. */
  readonly delay?: number;
  readonly impairment?: Impairment;
  /** Content-Length is wrong by so much. */
  readonly lengthError?: number;
  /** Compressed although the client did not ask for it. */
  readonly compressed?: boolean;
  /** What never ends: a header of many lines, one line of it, the JSON of an answer or an event. */
  readonly endless?: "header" | "header line" | "body";
  /** The answer is JSON nested so deep. */
  readonly nesting?: number;
  /** The answer's body is this text. */
  readonly body?: string;
  /** A watch ends as soon as it has begun. */
  readonly endsAtOnce?: boolean;
  /** A watch begins with an ERROR event. */
  readonly errorEvent?: { readonly code: number; readonly reason: string; readonly message: string };
  /** A watch says nothing and does not end. */
  readonly silence?: boolean;
}

export class Fault {
  readonly effect: Effect;
  readonly #where: Where;
  #left: number;
  /** How often it has struck. */
  hits = 0;

  constructor(effect: Effect, where: Where) {
    this.effect = effect;
    this.#where = where;
    this.#left = where.times ?? Number.POSITIVE_INFINITY;
  }

  /** It is over. */
  end(): void {
    this.#left = 0;
  }

  /** Whether it strikes this request; that counts. */
  strikes({ verb, path, resource }: Target): boolean {
    const { verb: onlyVerb, resource: onlyResource, name } = this.#where;
    if (this.#left <= 0) return false;
    if (onlyVerb !== undefined && onlyVerb !== verb) return false;
    if (onlyResource !== undefined && onlyResource !== (resource?.resource ?? path)) return false;
    if (name !== undefined && name !== resource?.name) return false;
    this.#left--;
    this.hits++;
    return true;
  }
}

export class Faults {
  #faults: Fault[] = [];
  /** What happens to connections before TLS: `hang` accepts them and says nothing, `break` closes them at the first byte. */
  handshakes: "normal" | "hang" | "break" = "normal";

  /** All faults are over. */
  clear(): void {
    this.#faults = [];
    this.handshakes = "normal";
  }

  /** What is done to a request: the faults that strike it, the newest last. */
  effectOn(target: Target): Effect {
    return Object.assign({}, ...this.#faults.filter((fault) => fault.strikes(target)).map(({ effect }) => effect));
  }

  add(effect: Effect, where: Where = {}): Fault {
    const fault = new Fault(effect, where);
    this.#faults.push(fault);
    return fault;
  }

  /** A server or a network that is slow. */
  slow(how: { delay?: number; bytesPerSecond?: number }, where?: Where): Fault {
    const { delay = 0, bytesPerSecond } = how;
    return this.add({ delay, ...(bytesPerSecond === undefined ? {} : { impairment: { bytesPerSecond } }) }, where);
  }

  /** The connection ends after so many bytes that follow the header: in the middle of a chunk, most likely. */
  cut(cut: Cut, cutAfter: number, where?: Where): Fault {
    return this.add({ impairment: { cut, cutAfter } }, where);
  }

  /** 401, as of a token that is not good any more. */
  unauthorized(where?: Where): Fault {
    return this.add({ failure: unauthorized() }, where);
  }

  /** 403, as if a role had been taken away. */
  forbidden(where?: Where): Fault {
    const message = "forbidden by the test";
    const body = failureStatus({ code: 403, message, reason: "Forbidden", details: {} });
    return this.add({ failure: new Failure({ status: 403, body }) }, where);
  }

  /** HTTP 410, which real servers send for lists only. */
  gone(where?: Where): Fault {
    return this.add({ failure: expired("The resourceVersion for the provided list is too old.") }, where);
  }

  /** A watch that begins with 410 as an ERROR event. */
  goneEvent(where?: Where): Fault {
    return this.errorEvent({ code: 410, reason: "Expired", message: "too old resource version: 1 (2)" }, where);
  }

  /** A watch that begins with an ERROR event of whatever code; 500 is what comes while etcd hangs. */
  errorEvent(
    error = { code: 500, reason: "InternalError", message: "context deadline exceeded" },
    where?: Where,
  ): Fault {
    return this.add({ errorEvent: error }, where);
  }

  /** 429: text as of priority and fairness, or a Status as of a cache that is not ready. */
  tooManyRequests(how: { as?: "text" | "status"; retryAfter?: number } = {}, where?: Where): Fault {
    const seconds = how.retryAfter ?? 1;
    const failure = how.as === "status" ? tooManyRequests(seconds) : tooManyRequestsText(seconds);
    return this.add({ failure }, where);
  }

  /** 500 with what a server says that has lost etcd. */
  internalError(where?: Where): Fault {
    const message = "rpc error: code = Unavailable desc = keepalive ping failed to receive ACK within timeout";
    return this.add({ failure: internalError(message) }, where);
  }

  /** 503, as of a load balancer's server that shuts down. */
  unavailable(where?: Where): Fault {
    return this.add({ failure: unavailable("apiserver is shutting down") }, where);
  }

  /** Any other body with status 200: broken JSON, an HTML page, an empty answer. */
  body(text: string, where?: Where): Fault {
    return this.add({ body: text }, where);
  }
}
