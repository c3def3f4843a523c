/** The agent's TLS (lib/sys/tls.ts) against Node's servers, good and bad: testbed/probes/tls-client connects and tells. */

import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket, TlsOptions } from "node:tls";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Certificate, issue, type Wanted } from "../../testbed/certificates.ts";
import { probe } from "./probes.ts";
import { byteByByte, cuttable, type Listening, tcpServer, tlsServer } from "./tls-servers.ts";

const VERSIONS = ["TLSv1.2", "TLSv1.3"] as const;
const DAY_MS = 86_400_000;
const HOSTS = ["one.example", "127.0.0.1", "::1"];

let root = "";
let authority: Certificate;
let server: Certificate;
let listening: Listening[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "podwire-tls-"));
  authority = issue({ name: "authority", isAuthority: true });
  server = issued({});
});

afterEach(async () => {
  await Promise.all(listening.map((one) => one.close()));
  listening = [];
});

afterAll(() => rm(root, { recursive: true, force: true }));

/** A server's certificate, good but for what is said. */
function issued(wanted: Partial<Wanted>): Certificate {
  return issue({ name: "server", hosts: HOSTS, signer: authority, ...wanted });
}

/** Answers what comes first with a greeting, and ends. Node sends no close_notify if it ends right after the handshake. */
function greet(socket: TLSSocket): void {
  socket.once("data", () => socket.end("hello"));
}

async function serve(
  options: TlsOptions,
  handle: (socket: TLSSocket) => void = greet,
  address?: string,
): Promise<number> {
  const one = await tlsServer({ cert: server.certificate, key: server.key, ...options }, handle, address);
  listening.push(one);
  return one.port;
}

async function through<T extends Listening>(proxy: Promise<T>): Promise<T> {
  const one = await proxy;
  listening.push(one);
  return one;
}

interface Credentials {
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly host?: string;
}

let files = 0;

async function fileOf(text: string | undefined): Promise<string> {
  if (text === undefined) return "-";
  files += 1;
  const file = join(root, `${files}.pem`);
  await writeFile(file, text);
  return file;
}

/** What the client says, line by line. */
async function client(port: number, name: string, credentials: Credentials, ...actions: string[]): Promise<string[]> {
  const { ca = authority.certificate, certificate, key, host = "127.0.0.1" } = credentials;
  const list = [await fileOf(ca), await fileOf(certificate), await fileOf(key)];
  const { stdout, stderr, signal } = await execa(probe("tls-client"), [host, `${port}`, name, ...list, ...actions], {
    reject: false,
    timeout: 60_000,
  });
  expect([stderr, signal]).toEqual(["", undefined]);
  return stdout.split("\n");
}

/** The sum of bytes that the client prints of what it reads. */
function sumOf(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 0);
}

const HELLO = `received 5 ${sumOf(Buffer.from("hello"))}`;
/** What a client does with a server that greets, and what it says of that. */
const TALK = ["say=hi", "read"];
const TALKED = ["handshake", "sent 2", HELLO, "closed"];

describe.each(VERSIONS)("%s", (version) => {
  const only = { minVersion: version, maxVersion: version } as const;

  test.each(["ec", "ec384", "rsa"] as const)(
    "a server with a certificate of kind %s, by name and by address",
    async (kind) => {
      const signer = issue({ name: "authority", isAuthority: true, kind });
      const { certificate, key } = issued({ kind, signer });
      const seen: (string | false | null)[] = [];
      const port = await serve({ ...only, cert: certificate, key }, (socket) => {
        seen.push(socket.getProtocol(), socket.servername);
        greet(socket);
      });
      for (const name of HOSTS) expect(await client(port, name, { ca: signer.certificate }, ...TALK)).toEqual(TALKED);
      /* Addresses are no server names (RFC 6066). */
      expect(seen).toEqual([version, "one.example", version, false, version, false]);
    },
  );

  test.each(["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])(
    "%s",
    async (suite) => {
      const short = suite.replace("TLS_", "ECDHE-ECDSA-").replaceAll("_", "-").replace("AES-", "AES");
      const ciphers =
        version === "TLSv1.3" ? suite : short.replace(/-SHA256$/, suite.includes("CHACHA") ? "" : "-SHA256");
      const port = await serve({ ...only, ciphers });
      expect(await client(port, "one.example", {}, ...TALK)).toEqual(TALKED);
    },
  );

  test.each(["P-256", "P-384", "P-521", "X25519"])("keys are agreed on with %s", async (ecdhCurve) => {
    const port = await serve({ ...only, ecdhCurve });
    expect(await client(port, "one.example", {}, ...TALK)).toEqual(TALKED);
  });

  test("a chain over another CA, sent in full; several CAs in one file", async () => {
    const middle = issue({ name: "middle", isAuthority: true, signer: authority });
    const { certificate, key } = issued({ signer: middle });
    const others = ["x", "y"].map((name) => issue({ name, isAuthority: true }).certificate);
    const ca = ["some words\n", others[0], "# more\n", authority.certificate, others[1]].join("");
    const whole = await serve({ ...only, cert: certificate + middle.certificate, key });
    expect(await client(whole, "one.example", { ca }, ...TALK)).toEqual(TALKED);
    const lacking = await serve({ ...only, cert: certificate, key });
    expect(await client(lacking, "one.example", { ca })).toEqual([
      'failed: the certificate "CN=server" is signed by "CN=middle", and no trusted CA with that name and key is known',
    ]);
  });

  test("certificates that are not good are refused, with the reason", async () => {
    const past = new Date(Date.now() - DAY_MS / 2);
    const future = new Date(Date.now() + DAY_MS / 2);
    const other = issue({ name: "other", isAuthority: true });
    /* The right name, another key. */
    const impostor = issue({ name: "authority", isAuthority: true });
    const cases: readonly (readonly [Certificate, string | RegExp])[] = [
      [issued({ signer: other }), /^failed: the certificate "CN=server" is signed by "CN=other", and no trusted CA/],
      [
        issued({ signer: impostor }),
        /^failed: the certificate "CN=server" is signed by "CN=authority", and no trusted CA/,
      ],
      [issue({ name: "server", hosts: HOSTS }), /^failed: the certificate "CN=server" is signed by itself and is not/],
      [
        issued({ until: past }),
        /^failed: the certificate "CN=server" expired on \d{4}-.* UTC; here it is \d{4}-.* UTC by/,
      ],
      [issued({ from: future }), /^failed: the certificate "CN=server" is valid only from \d{4}-.* UTC on; here it is/],
      [
        issued({ hosts: ["two.example", "192.0.2.7", "2001:db8::7"] }),
        "failed: the server's certificate is for two.example, 192.0.2.7, 2001:db8::7, and not for one.example",
      ],
      [issued({ hosts: [] }), `failed: the server's certificate is for "CN=server", and not for one.example`],
    ];
    for (const [{ certificate, key }, reason] of cases) {
      const [line = "", ...others] = await client(await serve({ ...only, cert: certificate, key }), "one.example", {});
      if (reason instanceof RegExp) expect(line).toMatch(reason);
      else expect(line).toBe(reason);
      expect(others).toEqual([]);
    }
  });

  test("a name must be in the certificate as what it is: names as names, addresses as addresses", async () => {
    const { certificate, key } = issued({ hosts: ["*.wild.example", "192.0.2.7"] });
    const port = await serve({ ...only, cert: certificate, key });
    for (const name of ["a.wild.example", "A.Wild.Example", "192.0.2.7"])
      expect(await client(port, name, {}, ...TALK), name).toEqual(TALKED);
    for (const name of ["wild.example", "a.b.wild.example", "192.0.2.8", "::ffff:192.0.2.7", "192.0.2.7.example"])
      expect(await client(port, name, {}), name).toEqual([
        `failed: the server's certificate is for *.wild.example, 192.0.2.7, and not for ${name}`,
      ]);
    const named = issued({ hosts: ["192.0.2.9.example"], name: "192.0.2.9" });
    const other = await serve({ ...only, cert: named.certificate, key: named.key });
    expect((await client(other, "192.0.2.9", {}))[0]).toContain("and not for 192.0.2.9");
  });

  test("an expired CA between is named", async () => {
    const middle = issue({ name: "middle", isAuthority: true, signer: authority, until: new Date(Date.now() - 1000) });
    const { certificate, key } = issued({ signer: middle });
    const port = await serve({ ...only, cert: certificate + middle.certificate, key });
    expect((await client(port, "one.example", {}))[0]).toMatch(/^failed: the certificate "CN=middle" expired on/);
  });

  test("a certificate that is no CA's signs nothing", async () => {
    const middle = issue({ name: "middle", signer: authority });
    const { certificate, key } = issued({ signer: middle });
    const port = await serve({ ...only, cert: certificate + middle.certificate, key });
    expect((await client(port, "one.example", {}))[0]).toMatch(
      /^failed: the certificate "CN=server" is signed by "CN=middle"/,
    );
  });

  test.each(["ec", "rsa"] as const)("a client certificate of kind %s", async (kind) => {
    const mine = issue({ name: "me", signer: authority, kind });
    const names: string[] = [];
    const port = await serve({ ...only, ca: authority.certificate, requestCert: true }, (socket) => {
      names.push(String(socket.getPeerCertificate().subject.CN));
      greet(socket);
    });
    expect(await client(port, "one.example", mine, ...TALK)).toEqual(TALKED);
    expect(names).toEqual(["me"]);
  });

  test("a client certificate that is missing, or that the server does not trust", async () => {
    const own = await Promise.all([server.certificate, server.key, authority.certificate].map(fileOf));
    const name = version.replace(".", "_");
    const strict = execa("/usr/bin/python3", ["-I", "-S", join(import.meta.dirname, "strict-server.py"), name, ...own]);
    const [line] = (await once(strict.stdout, "data")) as [Buffer];
    const port = Number(line.toString());
    const foreign = issue({ name: "me", signer: issue({ name: "other", isAuthority: true }) });
    const good = await client(port, "one.example", issue({ name: "me", signer: authority }), ...TALK);
    const missing = await client(port, "one.example", {}, ...TALK);
    const refused = await client(port, "one.example", foreign, ...TALK);
    strict.kill();
    await strict.catch(() => {});
    expect(good).toEqual(TALKED);
    if (version === "TLSv1.3")
      expect(missing.at(-1)).toBe(
        "failed: the server wants a client certificate, and there is none (alert 116, certificate required)",
      );
    else
      expect(missing).toEqual([
        expect.stringContaining("it may want a client certificate (alert 40, handshake failure)"),
      ]);
    expect(refused.at(-1)).toMatch(/^failed: the server refused the client certificate \(alert \d+, /);
  });

  test("much is read and written, whole and in order", async () => {
    const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => (at * 7 + (at >>> 8)) & 0xff));
    let received: Buffer[] = [];
    const port = await serve(only, (socket) => {
      received = [];
      socket.pause();
      /* The client's socket is full by then. */
      setTimeout(() => socket.resume(), 200);
      socket.on("data", (data: Buffer) => {
        received.push(data);
        if (received.reduce((sum, { length }) => sum + length, 0) === bytes.length) socket.end(Buffer.concat(received));
      });
    });
    expect(await client(port, "one.example", {}, `send=${bytes.length}`, "read")).toEqual([
      "handshake",
      `sent ${bytes.length}`,
      `received ${bytes.length} ${sumOf(bytes)}`,
      "closed",
    ]);
    expect(Buffer.concat(received).equals(bytes)).toBe(true);
  });

  test("a handshake that comes byte by byte", async () => {
    const proxy = await through(byteByByte(await serve(only)));
    expect(await client(proxy.port, "one.example", {}, ...TALK)).toEqual(TALKED);
  });

  test("an end without close_notify is no end, and a broken connection says so", async () => {
    for (const [how, reason] of [
      ["end", "failed: the connection ended without the server's word (close_notify): what came may be cut off"],
      ["resetAndDestroy", "failed: the connection broke: reset by the server"],
    ] as const) {
      const port = await serve(only, (socket) => {
        socket.write("hello");
        socket.on("data", () => proxy.cut((one) => one.unpipe()[how]()));
      });
      const proxy = await through(cuttable(port));
      const lines = await client(proxy.port, "one.example", {}, "wait", "say=go", "read");
      expect(lines).toEqual(["handshake", HELLO, "sent 2", "received 0 0", reason]);
    }
  });

  test("two hundred connections, one after the other, take no more memory than twenty", async () => {
    const mine = issue({ name: "me", signer: authority });
    const port = await serve({ ...only, ca: authority.certificate, requestCert: true });
    const lines = await client(port, "one.example", mine, ...TALK, "times=200");
    expect(lines.filter((line) => line === "closed")).toHaveLength(200);
    const [early = 0, late = 0] = lines.flatMap((line) => /^memory (\d+) kB$/.exec(line)?.slice(1).map(Number) ?? []);
    expect(early).toBeGreaterThan(0);
    expect(late - early, `${early} kB, then ${late} kB`).toBeLessThanOrEqual(64);
  });
});

test("IPv6", async () => {
  const port = await serve({}, undefined, "::1");
  expect(await client(port, "::1", { host: "::1" }, ...TALK)).toEqual(TALKED);
});

test("an older version of TLS is refused", async () => {
  const port = await serve({ minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" });
  expect((await client(port, "one.example", {}))[0]).toMatch(/^failed: .*(version|neither)/);
});

test("a server that hangs up during the handshake", async () => {
  const { port } = await through(tcpServer((socket) => socket.on("data", () => socket.end())));
  expect(await client(port, "one.example", {})).toEqual([
    "failed: the server closed the connection during the handshake",
  ]);
});

test("a server that speaks something else", async () => {
  for (const words of [
    "HTTP/1.1 400 Bad Request\r\n\r\n",
    "SSH-2.0-x\r\n",
    "\0".repeat(300),
    "\x16\x03\x03\xff\xff".repeat(99),
  ]) {
    const { port } = await through(tcpServer((socket) => socket.on("data", () => socket.end(words, "latin1"))));
    const lines = await client(port, "one.example", {});
    expect(lines).toEqual([expect.stringMatching(/^failed: the (server does not speak TLS|handshake failed)/)]);
  }
});

test("nothing that listens, and names that are none", async () => {
  const one = await tcpServer(() => {});
  await one.close();
  expect((await client(one.port, "one.example", {}))[0]).toBe("failed: refused: nothing listens there");
  expect(await client(one.port, "x", { host: "no host" })).toEqual(["failed: cannot look up no host: no such host"]);
});

test("texts that are no certificates and keys, or do not belong together", async () => {
  const port = await serve({});
  const mine = issue({ name: "me", signer: authority });
  const other = issue({ name: "me", signer: authority });
  const cases: readonly (readonly [Credentials, string])[] = [
    [{ ca: "x" }, "the CA certificates cannot be read: "],
    [{ ca: authority.certificate.replace("M", "N") }, "the CA certificates cannot be read: "],
    [{ certificate: "x", key: mine.key }, "the client certificate cannot be read: "],
    [{ certificate: mine.certificate, key: "x" }, "the client key cannot be read: "],
    [{ certificate: mine.certificate, key: other.key }, "the client key is not the key of the client certificate: "],
    [{ certificate: mine.certificate }, "there is a client certificate without a key"],
    [{ key: mine.key }, "there is a client key without a certificate"],
  ];
  for (const [credentials, reason] of cases)
    expect((await client(port, "one.example", credentials))[0]).toContain(`failed: ${reason}`);
});
