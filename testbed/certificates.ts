/** Certificates for tests (X.509, RFC 5280), written here byte by byte, so that any date and any mistake can be had. */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

/** What a certificate is to be. */
export interface Wanted {
  /** The common name of its subject. */
  readonly name: string;
  /** Host names and IP addresses that it is for. */
  readonly hosts?: readonly string[];
  /** Who signs it; itself if left out. */
  readonly signer?: Certificate;
  /** Whether it may sign others. */
  readonly isAuthority?: boolean;
  /** The kind of its key; "ec" if left out. */
  readonly kind?: KeyKind;
  /** From when and until when it is valid: yesterday and tomorrow if left out. */
  readonly from?: Date;
  readonly until?: Date;
}

export type KeyKind = "ec" | "ec384" | "rsa";

export interface Certificate {
  readonly name: string;
  /** PEM */
  readonly certificate: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;

/* Tags of ASN.1 (X.690). */
const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const NULL = 0x05;
const OBJECT_IDENTIFIER = 0x06;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const SEQUENCE = 0x30;
const SET = 0x31;

function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  if (body.length < 128) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  const digits = length.subarray(length.findIndex((byte) => byte !== 0));
  return Buffer.concat([Buffer.from([tag, 0x80 + digits.length]), digits, body]);
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...others] = text.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of others) {
    const digits = [arc % 128];
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) digits.unshift(128 + (rest % 128));
    bytes.push(...digits);
  }
  return der(OBJECT_IDENTIFIER, Buffer.from(bytes));
}

const number = (...bytes: readonly number[]) => der(INTEGER, Buffer.from(bytes));
const yes = der(BOOLEAN, Buffer.from([0xff]));

function nameOf(text: string): Buffer {
  return der(SEQUENCE, der(SET, der(SEQUENCE, oid("2.5.4.3"), der(UTF8_STRING, Buffer.from(text)))));
}

function timeOf(date: Date): Buffer {
  return der(UTC_TIME, Buffer.from(`${date.toISOString().slice(2, 19).replaceAll(/[-:T]/g, "")}Z`));
}

function hostOf(host: string): Buffer {
  if (isIP(host) === 0) return der(0x82, Buffer.from(host));
  return der(0x87, Buffer.from(ipaddr.parse(host).toByteArray()));
}

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  return der(SEQUENCE, oid(id), ...(isCritical ? [yes] : []), der(OCTET_STRING, value));
}

function extensionsOf({ isAuthority = false, hosts = [] }: Wanted): Buffer {
  /* keyCertSign, or digitalSignature. */
  const usage = der(BIT_STRING, isAuthority ? Buffer.from([2, 0x04]) : Buffer.from([7, 0x80]));
  return der(
    SEQUENCE,
    extension("2.5.29.19", true, der(SEQUENCE, ...(isAuthority ? [yes] : []))),
    extension("2.5.29.15", true, usage),
    ...(hosts.length > 0 ? [extension("2.5.29.17", false, der(SEQUENCE, ...hosts.map(hostOf)))] : []),
  );
}

function keyPair(kind: KeyKind): { publicKey: KeyObject; privateKey: KeyObject } {
  if (kind === "rsa") return generateKeyPairSync("rsa", { modulusLength: 2048 });
  return generateKeyPairSync("ec", { namedCurve: kind === "ec384" ? "P-384" : "P-256" });
}

/** Makes a key and its certificate. */
export function issue(wanted: Wanted): Certificate {
  const { name, signer, kind = "ec" } = wanted;
  const { publicKey, privateKey } = keyPair(kind);
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const signingKey = signer?.key ?? key;
  const isRsa = createPublicKey(signingKey).asymmetricKeyType === "rsa";
  const algorithm = isRsa
    ? der(SEQUENCE, oid("1.2.840.113549.1.1.11"), der(NULL))
    : der(SEQUENCE, oid("1.2.840.10045.4.3.2"));
  const now = Date.now();
  const body = der(
    SEQUENCE,
    der(0xa0, number(2)),
    number(1, ...randomBytes(8)),
    algorithm,
    nameOf(signer?.name ?? name),
    der(SEQUENCE, timeOf(wanted.from ?? new Date(now - DAY_MS)), timeOf(wanted.until ?? new Date(now + DAY_MS))),
    nameOf(name),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, extensionsOf(wanted)),
  );
  const signature = sign("sha256", body, signingKey);
  const whole = der(SEQUENCE, body, algorithm, der(BIT_STRING, Buffer.from([0]), signature));
  const lines = whole.toString("base64").match(/.{1,64}/g) ?? [];
  return { name, key, certificate: `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n` };
}
