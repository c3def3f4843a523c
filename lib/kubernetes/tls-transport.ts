/** A TLS connection over TCP, watched by the loop. */
import { type Loop, Watched } from "../loop/loop.ts";
import { EINPROGRESS, SystemError } from "../sys/errno.ts";
import { close } from "../sys/sys.ts";
import { connect, connectionError, keepAlive, lookUp, tcpSocket } from "../sys/tcp.ts";
import { closeTls, handshake, openTls, readTls, tlsReason, writeTls } from "../sys/tls.ts";
import { connectionText } from "../sys/tls-reason.ts";
import type { Connection } from "./connection.ts";
import type { Credentials } from "./server.ts";
import { type Addresses, Transport } from "./transport.ts";

/** Another end that has vanished is given up within a minute: a silent connection is asked after 30 s, then each 10 s. */
const KEEP_ALIVE = { idleS: 30, intervalS: 10, count: 3, unansweredMs: 30_000 };

/** Tells the connection that something can be done. */
class Ready extends Watched {
  connection: Connection | null = null;

  ready(_events: number): void {
    if (this.connection !== null) this.connection.ready();
  }
}

export class TlsTransport extends Transport {
  readonly #loop: Loop;
  readonly #ready = new Ready();
  #fd = -1;
  #session = -1;

  constructor(loop: Loop) {
    super();
    this.#loop = loop;
  }

  /** Whom to tell what happens; to be called before the connection is used. */
  attach(connection: Connection): void {
    this.#ready.connection = connection;
  }

  lookUp(host: string, port: number): Addresses {
    return lookUp(host, port);
  }

  connect(address: Uint8Array): string {
    this.#fd = tcpSocket(address);
    if (this.#fd < 0) return new SystemError(-this.#fd, "open a socket").message;
    try {
      keepAlive(this.#fd, KEEP_ALIVE);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return error.message;
    }
    const result = connect(this.#fd, address);
    return result === 0 || result === -EINPROGRESS ? "" : connectionText(-result);
  }

  connectionProblem(): string {
    const error = connectionError(this.#fd);
    return error === 0 ? "" : connectionText(error);
  }

  startTls(name: string, credentials: Credentials): string {
    const { ca, certificate, key } = credentials;
    this.#session = openTls(this.#fd, ca, name, certificate, key);
    return this.#session < 0 ? tlsReason() : "";
  }

  handshake(): number {
    return handshake(this.#session);
  }

  read(buffer: Uint8Array): number {
    return readTls(this.#session, buffer, 0, buffer.length);
  }

  write(bytes: Uint8Array, offset: number): number {
    return writeTls(this.#session, bytes, offset, bytes.length - offset);
  }

  reason(): string {
    return tlsReason();
  }

  waitFor(events: number): void {
    if (events === 0) this.#loop.unwatch(this.#fd);
    else this.#loop.watch(this.#fd, events, this.#ready);
  }

  close(): void {
    if (this.#session >= 0) closeTls(this.#session);
    this.#session = -1;
    if (this.#fd < 0) return;
    this.#loop.unwatch(this.#fd);
    close(this.#fd);
    this.#fd = -1;
  }
}
