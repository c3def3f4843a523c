/** Why a TLS session has failed, in a sentence for people. Pure. */
import { textAt } from "../lists.ts";
import { errnoText } from "./errno.ts";

/* Error codes of mbedTLS (mbedtls/ssl.h, net_sockets.h, x509.h). */
export const SSL_CLOSE_NOTIFY = -0x7880;
export const SSL_CONNECTION_END = -0x7280;
export const SSL_FATAL_ALERT = -0x7780;
export const CERTIFICATE_NOT_VERIFIED = -0x2700;
const SSL_BAD_CERTIFICATE = -0x7a00;
const SSL_INVALID_RECORD = -0x7200;
const SSL_BAD_VERSION = -0x6e80;
export const NET_RECV_FAILED = -0x4c;
const NET_SEND_FAILED = -0x4e;

/* MBEDTLS_X509_BADCERT flags (mbedtls/x509.h). */
export const EXPIRED = 0x01;
export const WRONG_NAME = 0x04;
export const NOT_TRUSTED = 0x08;
export const NOT_YET_VALID = 0x200;
/** KEY_USAGE, EXT_KEY_USAGE and NS_CERT_TYPE */
const WRONG_USAGE = 0x3800;
/** BAD_MD, BAD_PK and BAD_KEY */
const TOO_WEAK = 0x1c000;

/* Alerts (RFC 8446, section 6) with which a server refuses a client's certificate, or the lack of one. */
const HANDSHAKE_FAILURE = 40;
const BAD_CERTIFICATE = 42;
const ACCESS_DENIED = 49;
const CERTIFICATE_REQUIRED = 116;

const ALERTS: readonly (readonly [number, string])[] = [
  [10, "unexpected message"],
  [20, "bad record MAC"],
  [22, "record overflow"],
  [40, "handshake failure"],
  [42, "bad certificate"],
  [43, "unsupported certificate"],
  [44, "certificate revoked"],
  [45, "certificate expired"],
  [46, "certificate unknown"],
  [47, "illegal parameter"],
  [48, "unknown CA"],
  [49, "access denied"],
  [50, "decode error"],
  [51, "decrypt error"],
  [70, "protocol version"],
  [71, "insufficient security"],
  [80, "internal error"],
  [109, "missing extension"],
  [112, "unrecognized name"],
  [116, "certificate required"],
];

/** What is known of a failure. */
export interface TlsFailure {
  /** mbedTLS's error code; 0 for the end of the connection without close_notify. */
  readonly code: number;
  /** mbedTLS's words for the code. */
  readonly text: string;
  /** What is wrong with the server's certificate: flags. */
  readonly flags: number;
  /** What that certificate says, a line each: subject, issuer, from when and until when it is valid, its names. */
  readonly about: string;
  /** The clock as it was when the certificate was checked, written like its dates. */
  readonly now: string;
  /** The alert that the server has sent; -1 for none. */
  readonly alert: number;
  /** The error number of the socket; 0 for none. */
  readonly errno: number;
  /** The name that the server's certificate must have. */
  readonly name: string;
  /** Whether the client has a certificate. */
  readonly hasCertificate: boolean;
  /** Whether the handshake was done. */
  readonly isOpen: boolean;
}

export function reasonOf(failure: TlsFailure): string {
  const { code, errno, isOpen } = failure;
  if (code === SSL_CLOSE_NOTIFY) return "the server has closed the connection";
  if (
    (code === NET_RECV_FAILED || code === NET_SEND_FAILED || code === 0 || code === SSL_CONNECTION_END) &&
    errno !== 0
  )
    return `the connection broke: ${connectionText(errno)}`;
  if (code === 0 || code === SSL_CONNECTION_END) {
    return isOpen
      ? "the connection ended without the server's word (close_notify): what came may be cut off"
      : "the server closed the connection during the handshake";
  }
  if (code === CERTIFICATE_NOT_VERIFIED || code === SSL_BAD_CERTIFICATE) return aboutCertificate(failure);
  if (code === SSL_FATAL_ALERT) return aboutAlert(failure);
  if (!isOpen && code === SSL_INVALID_RECORD) return `the server does not speak TLS (${failure.text})`;
  if (!isOpen && code === SSL_BAD_VERSION) return `the server has neither TLS 1.2 nor 1.3 (${failure.text})`;
  return isOpen ? failure.text : `the handshake failed: ${failure.text}`;
}

function aboutCertificate({ flags, about, name, now, text }: TlsFailure): string {
  const lines = about.split("\n");
  const subject = textAt(lines, 0);
  const issuer = textAt(lines, 1);
  const from = textAt(lines, 2);
  const until = textAt(lines, 3);
  const names = textAt(lines, 4);
  if ((flags & NOT_TRUSTED) !== 0) {
    return subject === issuer
      ? `the certificate "${subject}" is signed by itself and is not one of the trusted CAs`
      : `the certificate "${subject}" is signed by "${issuer}", and no trusted CA with that name and key is known`;
  }
  if ((flags & EXPIRED) !== 0)
    return `the certificate "${subject}" expired on ${until} UTC; here it is ${now} UTC by the clock`;
  if ((flags & NOT_YET_VALID) !== 0)
    return `the certificate "${subject}" is valid only from ${from} UTC on; here it is ${now} UTC by the clock`;
  if ((flags & WRONG_NAME) !== 0)
    return `the server's certificate is for ${names === "" ? `"${subject}"` : names}, and not for ${name}`;
  if ((flags & WRONG_USAGE) !== 0) return `the certificate "${subject}" must not be used for this (key usage)`;
  if ((flags & TOO_WEAK) !== 0)
    return `the certificate "${subject}" has a key or a signature of a kind that is not accepted`;
  return `the server's certificate is not accepted: ${text}`;
}

function aboutAlert({ alert, hasCertificate, isOpen }: TlsFailure): string {
  const said = `alert ${alert}${alertText(alert)}`;
  if (alert === CERTIFICATE_REQUIRED) return `the server wants a client certificate, and there is none (${said})`;
  if (alert >= BAD_CERTIFICATE && alert <= ACCESS_DENIED)
    return hasCertificate ? `the server refused the client certificate (${said})` : `the server refused (${said})`;
  if (alert === HANDSHAKE_FAILURE && !isOpen && !hasCertificate)
    return `the server refused the handshake: it may want a client certificate (${said})`;
  return `the server ended the session (${said})`;
}

function alertText(alert: number): string {
  for (const [number, text] of ALERTS) {
    if (number === alert) return `, ${text}`;
  }
  return "";
}

/* errno.h; errno.ts leaves out what the plugins never see. */
const CONNECTION_ERRORS: readonly (readonly [number, string])[] = [
  [32, "closed by the server"],
  [104, "reset by the server"],
  [110, "timed out"],
  [111, "refused: nothing listens there"],
];

/** What an error number of a connection means in words. */
export function connectionText(errno: number): string {
  for (const [number, text] of CONNECTION_ERRORS) {
    if (number === errno) return text;
  }
  return errnoText(errno);
}
