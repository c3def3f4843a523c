import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatRequest, hostHeader, isBearerToken, pathOf, type Request, targetOf } from "./http-request.ts";

const sender = { host: "[2001:db8::1]:6443", token: "abc.def", userAgent: "podwire-agent/1.0.0" };
const get: Request = { method: "GET", target: "/api/v1/nodes", accept: "application/json", contentType: "", body: "" };
const textOf = (request: Request, token = sender.token): string =>
  new TextDecoder().decode(formatRequest(request, { ...sender, token }));

describe("requests as they are sent", () => {
  test("without a body", () => {
    expect(textOf(get)).toBe(
      "GET /api/v1/nodes HTTP/1.1\r\nHost: [2001:db8::1]:6443\r\nUser-Agent: podwire-agent/1.0.0\r\nAccept: application/json\r\nAuthorization: Bearer abc.def\r\n\r\n",
    );
    expect(textOf(get, "")).not.toContain("Authorization");
  });

  test("with a body, whose length is in bytes", () => {
    const request: Request = { ...get, method: "PATCH", contentType: "application/json", body: '{"a":"é"}' };
    expect(textOf(request)).toMatch(/\r\nContent-Type: application\/json\r\nContent-Length: 10\r\n\r\n\{"a":"é"\}$/);
  });
});

test("Host: brackets for IPv6, no port if it is 443", () => {
  expect(hostHeader("10.96.0.1", 443)).toBe("10.96.0.1");
  expect(hostHeader("fd00:10:96::1", 443)).toBe("[fd00:10:96::1]");
  expect(hostHeader("api.example.com", 6443)).toBe("api.example.com:6443");
});

test("tokens that could add a header are none", () => {
  expect(isBearerToken("eyJhbGciOiJSUzI1NiJ9.e30.x-_~+/=")).toBe(true);
  for (const token of ["", "a b", "a\r\nX: y", "a\n", "é", "a\u0000", "a\u007f", "x".repeat(65_537)]) {
    expect(isBearerToken(token), JSON.stringify(token)).toBe(false);
  }
});

const text = fc.string({ unit: fc.constantFrom(...'aZ09-._~ %/?&=+#"\\\u0000\n\u007f\u0085é\u2028\ufeff\u{1f600}') });

test("paths and query strings mean what was put in", () => {
  expect(pathOf(["api", "v1", "nodes", "a/b?c#d %"])).toBe("/api/v1/nodes/a%2Fb%3Fc%23d%20%25");
  expect(targetOf("/x", [{ name: "continue", value: "" }])).toBe("/x");
  fc.assert(
    fc.property(text, text, (segment, value) => {
      fc.pre(value !== "");
      const target = targetOf(pathOf(["a", segment]), [
        { name: "x", value },
        { name: "y", value: "1" },
      ]);
      expect(target).toMatch(/^[!-~]+$/);
      const [path = "", query = ""] = target.split("?");
      expect(decodeURIComponent(path)).toBe(`/a/${segment}`);
      expect([...new URLSearchParams(query)]).toEqual([
        ["x", value],
        ["y", "1"],
      ]);
    }),
  );
});
