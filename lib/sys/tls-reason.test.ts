import { describe, expect, it } from "vitest";
import {
  CERTIFICATE_NOT_VERIFIED,
  EXPIRED,
  NET_RECV_FAILED,
  NOT_TRUSTED,
  NOT_YET_VALID,
  reasonOf,
  SSL_CLOSE_NOTIFY,
  SSL_CONNECTION_END,
  SSL_FATAL_ALERT,
  type TlsFailure,
  WRONG_NAME,
} from "./tls-reason.ts";

const PLAIN: TlsFailure = {
  code: 0,
  text: "SSL - words",
  flags: 0,
  about: "CN=server\nCN=authority\n2026-01-01 00:00:00\n2026-02-01 00:00:00\none.example, 192.0.2.1\n",
  now: "2026-03-01 00:00:00",
  alert: -1,
  errno: 0,
  name: "two.example",
  hasCertificate: false,
  isOpen: false,
};

const reason = (failure: Partial<TlsFailure>) => reasonOf({ ...PLAIN, ...failure });
const code = CERTIFICATE_NOT_VERIFIED;

describe("the reason", () => {
  it("says what is wrong with the server's certificate: first who signed it, then dates, then names", () => {
    expect(reason({ code, flags: NOT_TRUSTED | EXPIRED | WRONG_NAME })).toBe(
      'the certificate "CN=server" is signed by "CN=authority", and no trusted CA with that name and key is known',
    );
    expect(reason({ code, flags: NOT_TRUSTED, about: "CN=a\nCN=a\n" })).toBe(
      'the certificate "CN=a" is signed by itself and is not one of the trusted CAs',
    );
    expect(reason({ code, flags: EXPIRED | WRONG_NAME })).toBe(
      'the certificate "CN=server" expired on 2026-02-01 00:00:00 UTC; here it is 2026-03-01 00:00:00 UTC by the clock',
    );
    expect(reason({ code, flags: NOT_YET_VALID })).toContain(
      "is valid only from 2026-01-01 00:00:00 UTC on; here it is",
    );
    expect(reason({ code, flags: WRONG_NAME })).toBe(
      "the server's certificate is for one.example, 192.0.2.1, and not for two.example",
    );
    expect(reason({ code, flags: WRONG_NAME, about: "CN=server\n" })).toContain('is for "CN=server", and not for');
    expect(reason({ code, flags: 0x800 })).toContain("key usage");
    expect(reason({ code, flags: 0x4000 })).toContain("not accepted");
    expect(reason({ code, flags: 0 })).toBe("the server's certificate is not accepted: SSL - words");
  });

  it("tells an end without close_notify from a proper one, and from one during the handshake", () => {
    expect(reason({ code: 0, isOpen: true })).toContain("without the server's word (close_notify)");
    expect(reason({ code: SSL_CONNECTION_END })).toBe("the server closed the connection during the handshake");
    expect(reason({ code: SSL_CLOSE_NOTIFY, isOpen: true })).toBe("the server has closed the connection");
    for (const broken of [NET_RECV_FAILED, SSL_CONNECTION_END, 0])
      expect(reason({ code: broken, errno: 104 })).toBe("the connection broke: reset by the server");
  });

  it("says what the server has against the client", () => {
    const refused = { code: SSL_FATAL_ALERT, isOpen: true };
    expect(reason({ ...refused, alert: 116 })).toBe(
      "the server wants a client certificate, and there is none (alert 116, certificate required)",
    );
    expect(reason({ ...refused, alert: 48, hasCertificate: true })).toBe(
      "the server refused the client certificate (alert 48, unknown CA)",
    );
    expect(reason({ ...refused, alert: 40, isOpen: false })).toContain("it may want a client certificate (alert 40,");
    expect(reason({ ...refused, alert: 200 })).toBe("the server ended the session (alert 200)");
  });

  it("says that a server speaks something else", () => {
    expect(reason({ code: -0x7200 })).toBe("the server does not speak TLS (SSL - words)");
    expect(reason({ code: -0x6e80 })).toBe("the server has neither TLS 1.2 nor 1.3 (SSL - words)");
    expect(reason({ code: -0x6e80, isOpen: true })).toBe("SSL - words");
    expect(reason({ code: -0x6600 })).toBe("the handshake failed: SSL - words");
  });
});
