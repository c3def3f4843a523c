/**
 * One connection to the API server, for one request after another: looks the server up, connects, makes the TLS handshake,
 * sends, receives. A state machine over `Transport`: nothing in it waits, and each phase has a limit of time.
 *
 * A connection is kept for the next request if the server lets it. Token and certificates are read for each request, since
 * they are replaced while connections stay: changed certificates, or a token that is refused, make a new connection.
 */

import { itemAt } from "../lists.ts";
import { Timed } from "../loop/timers.ts";
import { formatRequest, hostHeader, type Request } from "./http-request.ts";
import { type ResponseHead, ResponseParser, ResponseReceiver } from "./http-response.ts";
import type { Scheduler } from "./scheduler.ts";
import { type ApiServer, type Credentials, ServerError } from "./server.ts";
import { FAILED, READABLE, type Transport, WANT_READ, WRITABLE } from "./transport.ts";

const CONNECT_MS = 10_000;
const HANDSHAKE_MS = 10_000;
const SEND_MS = 30_000;
/** The server closes a connection after 90 s without a request: one that is sent at that moment would be lost. */
const IDLE_MS = 60_000;
/** One TLS record. */
const BUFFER = 16_384;
/** So much is read before the loop gets its turn. */
const PORTION = 1024 * 1024;

/** Is told what comes of a request: head, body in parts, then one of `complete`, `stopped`, `broken` and `timedOut`. */
export abstract class Exchange {
  abstract head(head: ResponseHead): void;
  /** A part of the body, good only during the call. @returns false if no more is wanted: `stopped` follows */
  abstract body(bytes: Uint8Array, start: number, end: number): boolean;
  abstract complete(): void;
  abstract stopped(): void;
  /** There was no answer, or not all of it. @param reason a phrase for people */
  abstract broken(reason: string): void;
  /** How long the answer may still take, in ms; if it is nothing, `timedOut` follows. */
  abstract remainingMs(): number;
  abstract timedOut(): void;
}

type State = "closed" | "connecting" | "handshake" | "sending" | "receiving" | "kept";

/** Hands the answer on, and notes what the connection needs to know of it. */
class Listener extends ResponseReceiver {
  exchange: Exchange | null = null;
  status = 0;
  isUnwanted = false;

  begin(exchange: Exchange): void {
    this.exchange = exchange;
    this.status = 0;
    this.isUnwanted = false;
  }

  head(head: ResponseHead): void {
    this.status = head.status;
    if (this.exchange !== null) this.exchange.head(head);
  }

  body(bytes: Uint8Array, start: number, end: number): void {
    if (this.isUnwanted || this.exchange === null) return;
    this.isUnwanted = !this.exchange.body(bytes, start, end);
  }

  complete(): void {
    /* The connection tells it when the parser has returned. */
  }
}

export class Connection extends Timed {
  readonly #server: ApiServer;
  readonly #userAgent: string;
  readonly #transport: Transport;
  readonly #scheduler: Scheduler;
  readonly #listener = new Listener();
  readonly #parser: ResponseParser;
  readonly #buffer = new Uint8Array(BUFFER);
  #state: State = "closed";
  /** What the connection was made with. */
  #credentials: Credentials = { ca: "", token: "", certificate: "", key: "" };
  #addresses: readonly Uint8Array[] = [];
  #nextAddress = 0;
  #request: Request | null = null;
  #bytes: Uint8Array = new Uint8Array(0);
  #sent = 0;
  /** Whether the request was sent on a connection that was kept: it may have died meanwhile. */
  #isReused = false;
  /** Whether reading goes on as soon as the loop has had its turn. */
  #isPaused = false;

  /** @param userAgent "podwire-agent/1.2.3" */
  constructor(server: ApiServer, userAgent: string, transport: Transport, scheduler: Scheduler) {
    super();
    this.#server = server;
    this.#userAgent = userAgent;
    this.#transport = transport;
    this.#scheduler = scheduler;
    this.#parser = new ResponseParser(this.#listener);
  }

  /** Sends a request. The exchange before must be over. */
  start(request: Request, exchange: Exchange): void {
    this.#request = request;
    this.#listener.begin(exchange);
    const credentials = this.#readCredentials();
    if (credentials === null) return;
    this.#isReused = this.#state === "kept" && isSameLink(credentials, this.#credentials);
    this.#credentials = credentials;
    if (this.#isReused) this.#send();
    else this.#open();
  }

  /** Closes the connection. A request that is under way is told nothing more. */
  close(): void {
    this.#listener.exchange = null;
    this.#closeTransport();
  }

  /** The connection is readable or writable, as `waitFor` asked for. */
  ready(): void {
    switch (this.#state) {
      case "connecting":
        this.#connected();
        break;
      case "handshake":
        this.#handshake();
        break;
      case "sending":
        this.#write();
        break;
      case "receiving":
        this.#receive();
        break;
      default:
        /* Nothing was asked: the server closes the connection, or is out of step. */
        this.#closeTransport();
    }
  }

  due(): void {
    switch (this.#state) {
      case "connecting":
        this.#tryNext(`no connection within ${CONNECT_MS / 1000} s`);
        break;
      case "handshake":
        this.#tryNext(`no TLS handshake within ${HANDSHAKE_MS / 1000} s`);
        break;
      case "sending":
        this.#break(`the request could not be sent within ${SEND_MS / 1000} s`);
        break;
      case "receiving":
        /* Also a server whose answer never pauses has no more time than another. */
        if (this.#isPaused && this.#remainingMs() > 0) this.#receive();
        else this.#checkTime();
        break;
      default:
        this.#closeTransport();
    }
  }

  #readCredentials(): Credentials | null {
    try {
      return this.#server.credentials();
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#break(error.message);
      return null;
    }
  }

  #open(): void {
    this.#closeTransport();
    const { addresses, problem } = this.#transport.lookUp(this.#server.host, this.#server.port);
    this.#addresses = addresses;
    this.#nextAddress = 0;
    this.#tryNext(problem);
  }

  /** Connects to the next address of the server. @param problem why the one before did not do */
  #tryNext(problem: string): void {
    let reason = problem;
    for (;;) {
      this.#closeTransport();
      const address = itemAt(this.#addresses, this.#nextAddress);
      if (address === null) {
        this.#break(`no connection to ${hostHeader(this.#server.host, this.#server.port)}: ${reason}`);
        return;
      }
      this.#nextAddress += 1;
      reason = this.#transport.connect(address);
      if (reason === "") break;
    }
    this.#enter("connecting", CONNECT_MS);
    this.#transport.waitFor(WRITABLE);
  }

  #connected(): void {
    const problem = this.#transport.connectionProblem();
    if (problem !== "") {
      this.#tryNext(problem);
      return;
    }
    const refused = this.#transport.startTls(this.#server.name, this.#credentials);
    if (refused !== "") {
      this.#break(refused);
      return;
    }
    this.#enter("handshake", HANDSHAKE_MS);
    this.#handshake();
  }

  #handshake(): void {
    const result = this.#transport.handshake();
    if (result === FAILED) this.#tryNext(this.#transport.reason());
    else if (result < 0) this.#wait(result);
    else this.#send();
  }

  #send(): void {
    const request = this.#request;
    if (request === null) return;
    const target = `${this.#server.basePath}${request.target}`;
    const host = hostHeader(this.#server.host, this.#server.port);
    this.#bytes = formatRequest(
      { ...request, target },
      { host, token: this.#credentials.token, userAgent: this.#userAgent },
    );
    this.#sent = 0;
    this.#parser.begin(request.method);
    this.#enter("sending", SEND_MS);
    this.#write();
  }

  #write(): void {
    while (this.#sent < this.#bytes.length) {
      const result = this.#transport.write(this.#bytes, this.#sent);
      if (result === FAILED) {
        this.#lost(this.#transport.reason());
        return;
      }
      if (result < 0) {
        this.#wait(result);
        return;
      }
      this.#sent += result;
    }
    this.#bytes = new Uint8Array(0);
    this.#enter("receiving", this.#remainingMs());
    this.#receive();
  }

  /** Reads until there is nothing more for now: TLS may hold bytes of which the socket says nothing. */
  #receive(): void {
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#enter("receiving", this.#remainingMs());
    }
    for (let portion = 0; portion < PORTION; ) {
      const result = this.#transport.read(this.#buffer);
      if (result === FAILED) {
        this.#lost(this.#transport.reason());
        return;
      }
      if (result < 0) {
        this.#wait(result);
        return;
      }
      if (this.#take(result)) return;
      portion += result;
    }
    this.#isPaused = true;
    this.#transport.waitFor(0);
    this.#scheduler.after(0, this);
  }

  /** Takes bytes of the answer, or its end if there are none. Returns whether the request is over. */
  #take(length: number): boolean {
    const isRead = length > 0 ? this.#parser.feed(this.#buffer, 0, length) : this.#parser.closed();
    if (this.#listener.isUnwanted) {
      this.#closeTransport();
      const exchange = this.#endExchange();
      if (exchange !== null) exchange.stopped();
      return true;
    }
    if (!isRead) {
      if (length > 0) this.#break(this.#parser.problem);
      else this.#lost(this.#parser.problem);
      return true;
    }
    if (!this.#parser.isDone) return false;
    this.#complete();
    return true;
  }

  #complete(): void {
    /* After 401 the credentials are shown on a new connection. */
    if (this.#parser.canReuse && this.#listener.status !== 401) {
      this.#enter("kept", IDLE_MS);
      this.#transport.waitFor(READABLE);
    } else {
      this.#closeTransport();
    }
    const exchange = this.#endExchange();
    if (exchange !== null) exchange.complete();
  }

  /** The connection has died. A kept one may have died before it took the request, which is then sent again, once. */
  #lost(reason: string): void {
    const isSafe = this.#request !== null && this.#request.method === "GET";
    if (this.#isReused && isSafe && !this.#parser.hasBegun) {
      this.#isReused = false;
      this.#open();
    } else {
      this.#break(reason);
    }
  }

  #break(reason: string): void {
    this.#closeTransport();
    const exchange = this.#endExchange();
    if (exchange !== null) exchange.broken(reason);
  }

  #checkTime(): void {
    const left = this.#remainingMs();
    if (left > 0) {
      this.#scheduler.after(left, this);
      return;
    }
    this.#closeTransport();
    const exchange = this.#endExchange();
    if (exchange !== null) exchange.timedOut();
  }

  #remainingMs(): number {
    const { exchange } = this.#listener;
    return exchange === null ? 0 : exchange.remainingMs();
  }

  /** The request is over: its exchange, to be told so. It may start the next request at once. */
  #endExchange(): Exchange | null {
    const { exchange } = this.#listener;
    this.#listener.exchange = null;
    this.#request = null;
    return exchange;
  }

  #enter(state: State, limitMs: number): void {
    this.#state = state;
    this.#scheduler.after(limitMs, this);
  }

  #wait(result: number): void {
    this.#transport.waitFor(result === WANT_READ ? READABLE : WRITABLE);
  }

  #closeTransport(): void {
    this.#state = "closed";
    this.#isPaused = false;
    this.#scheduler.cancel(this);
    this.#transport.close();
  }
}

/** Whether a connection that was made with one of these can be used with the other: tokens are sent with each request. */
function isSameLink(one: Credentials, other: Credentials): boolean {
  return one.ca === other.ca && one.certificate === other.certificate && one.key === other.key;
}
