/**
 * A client's TLS sessions over sockets that are connected. Nothing here waits: a function that would have to returns
 * WANT_READ or WANT_WRITE, and is called again with the same arguments when the socket is ready for that. The C side is tls.c.
 *
 * TLS 1.2 and 1.3 with forward secrecy. The server's certificate must be signed by one of the given CAs, be valid by this
 * machine's clock, and have the given name.
 */
import { itemAt } from "../lists.ts";
import { reasonOf, SSL_CLOSE_NOTIFY } from "./tls-reason.ts";

declare function tls_open(fd: number): number;
declare function tls_trust(session: number, ca: string): number;
declare function tls_certificate(session: number, certificate: string): number;
declare function tls_key(session: number, key: string): number;
declare function tls_check_pair(session: number): number;
declare function tls_start(session: number, name: string): number;
declare function tls_handshake(session: number): number;
declare function tls_read(session: number, buffer: Uint8Array, offset: number, length: number): number;
declare function tls_write(session: number, buffer: Uint8Array, offset: number, length: number): number;
declare function tls_close(session: number): number;
declare function tls_flags(session: number): number;
declare function tls_alert(session: number): number;
declare function tls_socket_error(session: number): number;
declare function tls_about(session: number, buffer: Uint8Array): number;
declare function tls_now(buffer: Uint8Array): number;
declare function tls_error_text(code: number, buffer: Uint8Array): number;
declare function tls_version(buffer: Uint8Array): number;

/** The socket must become readable first. */
export const WANT_READ = -1;
/** The socket must become writable first. */
export const WANT_WRITE = -2;
/** The session cannot be used any more, only closed; `tlsReason` says why. */
export const FAILED = -3;

/** mbedTLS's codes for the same. */
const SSL_WANT_READ = -0x6900;
const SSL_WANT_WRITE = -0x6880;

/** More than any certificate or bundle of them has, in UTF-16 units. */
const LONGEST_TEXT = 1024 * 1024;

/** What tls.c does not know of a session. */
class Session {
  readonly name: string;
  readonly hasCertificate: boolean;
  isOpen = false;

  constructor(name: string, hasCertificate: boolean) {
    this.name = name;
    this.hasCertificate = hasCertificate;
  }
}

const NONE = new Session("", false);
/** By their numbers. */
const sessions: Session[] = [];
let lastReason = "";
const textBuffer = new Uint8Array(1024);

function textIn(length: number): string {
  return length <= 0 ? "" : new TextDecoder().decode(textBuffer.subarray(0, length));
}

function errorText(code: number): string {
  return textIn(tls_error_text(code, textBuffer));
}

/**
 * Begins a TLS client session over a connected socket. The socket stays the caller's.
 * @param ca the certificates of the CAs that may have signed the server's, as PEM
 * @param name the host name or the IP address, as text, that the server's certificate must have
 * @param certificate the client's certificate as PEM, with those that lead to its CA behind it; "" for none
 * @param key the private key of that certificate as PEM, without a password; "" for none
 * @returns the session's number, or FAILED
 */
export function openTls(fd: number, ca: string, name: string, certificate: string, key: string): number {
  const problem = problemOf(ca, name, certificate, key);
  if (problem !== "") return failed(problem);
  const session = tls_open(fd);
  if (session < 0) return failed(session === -1 ? "there are too many TLS sessions" : errorText(session));
  const refusal = prepare(session, ca, name, certificate, key);
  if (refusal !== "") {
    tls_close(session);
    return failed(refusal);
  }
  while (sessions.length <= session) sessions.push(NONE);
  sessions[session] = new Session(name, certificate !== "");
  return session;
}

function problemOf(ca: string, name: string, certificate: string, key: string): string {
  if (ca === "") return "there is no CA to check the server's certificate with";
  if (name === "") return "there is no name to check the server's certificate with";
  if (certificate === "" && key !== "") return "there is a client key without a certificate";
  if (certificate !== "" && key === "") return "there is a client certificate without a key";
  if (ca.length > LONGEST_TEXT || certificate.length > LONGEST_TEXT || key.length > LONGEST_TEXT)
    return "a certificate or key is longer than 1 MiB";
  return "";
}

/** What is wrong with the texts; "" if nothing is. */
function prepare(session: number, ca: string, name: string, certificate: string, key: string): string {
  let code = tls_trust(session, ca);
  if (code < 0) return `the CA certificates cannot be read: ${errorText(code)}`;
  if (certificate !== "") {
    code = tls_certificate(session, certificate);
    if (code < 0) return `the client certificate cannot be read: ${errorText(code)}`;
    code = tls_key(session, key);
    if (code < 0) return `the client key cannot be read: ${errorText(code)}`;
    code = tls_check_pair(session);
    if (code < 0) return `the client key is not the key of the client certificate: ${errorText(code)}`;
  }
  code = tls_start(session, name);
  return code < 0 ? `TLS cannot begin: ${errorText(code)}` : "";
}

/** Goes on with the handshake: 0 when it is done, else WANT_READ, WANT_WRITE or FAILED. */
export function handshake(session: number): number {
  const code = tls_handshake(session);
  if (code !== 0) return waits(session, code);
  stateOf(session).isOpen = true;
  return 0;
}

/**
 * Reads up to `length` bytes, more than 0. Bytes may have arrived that the socket does not show any more: read until WANT_READ
 * before waiting for the socket.
 * @returns how many; 0 when the server has closed the session properly; WANT_READ, WANT_WRITE or FAILED
 */
export function readTls(session: number, buffer: Uint8Array, offset: number, length: number): number {
  const code = tls_read(session, buffer, offset, length);
  if (code > 0) return code;
  return code === SSL_CLOSE_NOTIFY ? 0 : waits(session, code);
}

/**
 * Writes up to `length` bytes, more than 0. After WANT_WRITE or WANT_READ the call must be made again with the same bytes.
 * @returns how many were taken; WANT_READ, WANT_WRITE or FAILED
 */
export function writeTls(session: number, buffer: Uint8Array, offset: number, length: number): number {
  const code = tls_write(session, buffer, offset, length);
  return code > 0 ? code : waits(session, code);
}

/** Why the last FAILED was returned, for people. */
export function tlsReason(): string {
  return lastReason;
}

/** Ends a session: tells the server, as far as the socket takes it now, and wipes keys. The socket stays open. */
export function closeTls(session: number): void {
  tls_close(session);
  if (session >= 0 && session < sessions.length) sessions[session] = NONE;
}

/** The version of mbedTLS: "3.6.7". */
export function tlsVersion(): string {
  return textIn(tls_version(textBuffer));
}

function stateOf(session: number): Session {
  return itemAt(sessions, session) ?? NONE;
}

/** The answer for a call that did not succeed at once. */
function waits(session: number, code: number): number {
  if (code === SSL_WANT_READ) return WANT_READ;
  if (code === SSL_WANT_WRITE) return WANT_WRITE;
  const { name, hasCertificate, isOpen } = stateOf(session);
  const about = textIn(tls_about(session, textBuffer));
  const now = textIn(tls_now(textBuffer));
  return failed(
    reasonOf({
      code,
      text: errorText(code),
      flags: tls_flags(session),
      about,
      now,
      alert: tls_alert(session),
      errno: tls_socket_error(session),
      name,
      hasCertificate,
      isOpen,
    }),
  );
}

function failed(reason: string): number {
  lastReason = reason;
  return FAILED;
}
