/** The calls of one TLS connection, none of which waits but `lookUp`. Apart from them, so that connections are tested without a network. */
import type { Credentials } from "./server.ts";

/** What `handshake`, `read` and `write` return besides numbers of bytes. */
export const WANT_READ = -1;
export const WANT_WRITE = -2;
export const FAILED = -3;

export const READABLE = 1;
export const WRITABLE = 4;

/** The addresses of a host, in the order in which they should be tried; or why there are none. */
export interface Addresses {
  /** In a form that only `connect` knows. */
  readonly addresses: readonly Uint8Array[];
  /** "" if there are addresses */
  readonly problem: string;
}

export abstract class Transport {
  abstract lookUp(host: string, port: number): Addresses;
  /** Begins to connect. @returns "", or why that cannot be */
  abstract connect(address: Uint8Array): string;
  /** Whether the connection stands, once it is writable: "", or why not. */
  abstract connectionProblem(): string;
  /** Begins TLS. @param name what the server's certificate must have @returns "", or why that cannot be */
  abstract startTls(name: string, credentials: Credentials): string;
  /** @returns 0 when done, else WANT_READ, WANT_WRITE, FAILED */
  abstract handshake(): number;
  /** @returns how many bytes were read; 0 if the server has closed; WANT_READ, WANT_WRITE, FAILED */
  abstract read(buffer: Uint8Array): number;
  /** Writes from `offset` on. @returns how many bytes were written; WANT_READ, WANT_WRITE, FAILED */
  abstract write(bytes: Uint8Array, offset: number): number;
  /** Why the last call FAILED, a phrase for people. */
  abstract reason(): string;
  /** Has the connection told when it is readable or writable. @param events READABLE, WRITABLE, or 0 for neither */
  abstract waitFor(events: number): void;
  /** Closes the connection, if there is one. */
  abstract close(): void;
}
