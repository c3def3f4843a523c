/** Certificates for tests are what they are meant to be: OpenSSL, in Node, is the judge. */
import { beforeAll, expect, test } from "vitest";
import { ApiServer, type ApiServerOptions } from "./api-server.ts";
import { Authority, type CertificateParts } from "./certificates.ts";
import { RawClient } from "./raw-client.ts";

let authority: Authority;
beforeAll(async () => {
  authority = await Authority.create();
});

const SERVER = { name: "kube-apiserver", use: "server", names: ["127.0.0.1", "kubernetes.default.svc"] } as const;

/** How a connection comes about with this certificate. @returns the version of TLS */
async function connect(parts: Partial<CertificateParts>, options: ApiServerOptions = {}, trusted = authority) {
  const signer = options.authority ?? authority;
  const certificate = await signer.issue({ ...SERVER, ...parts });
  const server = await ApiServer.start({ ...options, authority: signer, certificate });
  try {
    const client = await RawClient.connect({ host: server.host, port: server.port, ca: trusted.certificate });
    const { status } = await client.exchange({ target: "/livez" });
    expect(status).toBe(200);
    const { tlsVersion } = client;
    client.close();
    return tlsVersion;
  } finally {
    await server.stop();
  }
}

test("a good one, of either kind of key, with either version of TLS", async () => {
  expect(await connect({})).toBe("TLSv1.3");
  expect(await connect({ key: "rsa" }, { maxTls: "TLSv1.2" })).toBe("TLSv1.2");
});

test("one whose signer is signed by the authority comes with its chain", async () => {
  const between = await authority.intermediate();
  expect(await connect({}, { authority: between })).toBe("TLSv1.3");
});

const YEAR = 365 * 86_400_000;
test.each<[string, Partial<CertificateParts>, RegExp]>([
  ["for another name", { names: ["10.0.0.1", "elsewhere.example"] }, /altnames/],
  ["that has expired", { from: new Date(Date.now() - 2 * YEAR), until: new Date(Date.now() - YEAR) }, /expired/],
  [
    "that is not valid yet",
    { from: new Date(Date.now() + YEAR), until: new Date(Date.now() + 2 * YEAR) },
    /not yet valid/,
  ],
])("one %s is refused", async (_, parts, message) => {
  await expect(connect(parts)).rejects.toThrow(message);
});

test("one of an authority that the client does not know is refused", async () => {
  await expect(connect({}, {}, await Authority.create({ key: "rsa" }))).rejects.toThrow(/self-signed|unable to/);
});

test("another one can be shown to connections that come later", async () => {
  const server = await ApiServer.start({ authority });
  server.present(await authority.issue({ ...SERVER, names: ["elsewhere.example"] }));
  const place = { host: server.host, port: server.port, ca: authority.certificate };
  await expect(RawClient.connect(place)).rejects.toThrow(/altnames/);
  await server.stop();
});
