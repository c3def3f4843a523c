import { createPublicKey, X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { issue } from "./certificates.ts";

test.each(["ec", "ec384", "rsa"] as const)("certificates are what Node reads: %s", (kind) => {
  const authority = issue({ name: "authority", isAuthority: true, kind });
  const until = new Date(Date.UTC(2031, 4, 6, 7, 8, 9));
  const hosts = ["one.example", "192.0.2.1", "2001:db8::1"];
  const issued = issue({ name: "server", hosts, signer: authority, kind, until });
  const [certificate, signer] = [new X509Certificate(issued.certificate), new X509Certificate(authority.certificate)];
  expect(certificate.checkIssued(signer)).toBe(true);
  expect(certificate.verify(createPublicKey(authority.key))).toBe(true);
  expect(certificate.publicKey.equals(createPublicKey(issued.key))).toBe(true);
  expect([signer.ca, certificate.ca]).toEqual([true, false]);
  expect(certificate.checkHost("one.example")).toBe("one.example");
  expect(certificate.checkHost("two.example")).toBeUndefined();
  for (const address of hosts.slice(1)) expect(certificate.checkIP(address)).toBe(address);
  expect(new Date(certificate.validTo)).toEqual(until);
});
