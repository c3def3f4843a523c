/** Certificates for tests: authorities, servers and clients, as PEM. */
// The library below asks for it.
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";

export type KeyType = "ecdsa" | "rsa";

/** A certificate and its key, as PEM. */
export interface Issued {
  /** With those between it and the authority, if there are any, the server's first. */
  readonly certificate: string;
  readonly key: string;
}

export interface CertificateParts {
  /** The common name: for clients, the user. */
  readonly name: string;
  /** Organizations: for clients, the groups. */
  readonly groups?: readonly string[];
  readonly use: "server" | "client";
  /** IP addresses and DNS names that it is for. */
  readonly names?: readonly string[];
  readonly key?: KeyType;
  /** From yesterday, if nothing is said. */
  readonly from?: Date;
  /** For ten years, if nothing is said. */
  readonly until?: Date;
}

const DAY = 86_400_000;
const YESTERDAY = (): Date => new Date(Date.now() - DAY);
const IN_TEN_YEARS = (): Date => new Date(Date.now() + 3650 * DAY);

const ALGORITHMS = {
  ecdsa: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  rsa: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", publicExponent: new Uint8Array([1, 0, 1]), modulusLength: 2048 },
} as const;

export interface AuthorityOptions {
  readonly name?: string;
  readonly key?: KeyType;
}

/** Somebody who signs. */
export class Authority {
  /** What clients must trust: the root's own certificate. */
  readonly certificate: string;
  readonly #own: x509.X509Certificate;
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #keyType: KeyType;
  /** Certificates between those it signs and the root. */
  readonly #chain: string;

  private constructor(own: x509.X509Certificate, keys: webcrypto.CryptoKeyPair, keyType: KeyType, above?: Authority) {
    this.#own = own;
    this.#keys = keys;
    this.#keyType = keyType;
    this.certificate = above?.certificate ?? pem(own);
    this.#chain = above === undefined ? "" : pem(own) + above.#chain;
  }

  /** A root of its own. */
  static async create({ name = "kubernetes", key = "ecdsa" }: AuthorityOptions = {}): Promise<Authority> {
    const keys = await keyPair(key);
    const own = await x509.X509CertificateGenerator.createSelfSigned({
      ...common(YESTERDAY(), IN_TEN_YEARS(), key),
      name: `CN=${name}`,
      keys,
      extensions: await authorityExtensions(keys),
    });
    return new Authority(own, keys, key);
  }

  /** An authority between this one and what it signs. */
  async intermediate({ name = "kubernetes-intermediate", key = "ecdsa" }: AuthorityOptions = {}): Promise<Authority> {
    const keys = await keyPair(key);
    const own = await x509.X509CertificateGenerator.create({
      ...common(YESTERDAY(), IN_TEN_YEARS(), this.#keyType),
      subject: `CN=${name}`,
      issuer: this.#own.subject,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      extensions: await authorityExtensions(keys),
    });
    return new Authority(own, keys, key, this);
  }

  async issue(parts: CertificateParts): Promise<Issued> {
    const { name, groups = [], use, names = [], key = "ecdsa" } = parts;
    const keys = await keyPair(key);
    const purpose = use === "server" ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth;
    const own = await x509.X509CertificateGenerator.create({
      ...common(parts.from ?? YESTERDAY(), parts.until ?? IN_TEN_YEARS(), this.#keyType),
      subject: [...groups.map((group) => `O=${group}`), `CN=${name}`].join(", "),
      issuer: this.#own.subject,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
        new x509.ExtendedKeyUsageExtension([purpose]),
        await x509.AuthorityKeyIdentifierExtension.create(this.#keys.publicKey),
        ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names.map(alternativeName))]),
      ],
    });
    return { certificate: pem(own) + this.#chain, key: await keyPem(keys.privateKey) };
  }
}

function keyPair(key: KeyType): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHMS[key], true, ["sign", "verify"]) as Promise<webcrypto.CryptoKeyPair>;
}

function common(notBefore: Date, notAfter: Date, signer: KeyType) {
  return { notBefore, notAfter, signingAlgorithm: ALGORITHMS[signer] };
}

async function authorityExtensions({ publicKey }: webcrypto.CryptoKeyPair): Promise<x509.Extension[]> {
  return [
    new x509.BasicConstraintsExtension(true, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    await x509.SubjectKeyIdentifierExtension.create(publicKey),
  ];
}

function alternativeName(name: string): x509.JsonGeneralName {
  return { type: isIP(name) === 0 ? "dns" : "ip", value: name };
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const bytes = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${bytes.replace(/.{64}/g, "$&\n").trimEnd()}\n-----END PRIVATE KEY-----\n`;
}
