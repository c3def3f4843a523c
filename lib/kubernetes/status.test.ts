/** What errors of the server say, and what a person is told of them. The bodies are recorded ones. */
import { describe, expect, test } from "vitest";
import { accessOf, describeFailure } from "./access.ts";
import { parseHttpDate } from "./http-date.ts";
import { ResponseHead } from "./http-response.ts";
import { type Failure, hasCause, isPassing, noAnswer, readFailure } from "./status.ts";

function failure(status: number, body: string, headers: Readonly<Record<string, string>> = {}): Failure {
  const head = new ResponseHead(status, 1);
  for (const [name, value] of Object.entries(headers)) {
    head.names.push(name);
    head.values.push(value);
  }
  return readFailure(head, Buffer.from(body));
}

describe("what is said", () => {
  test("a Status", () => {
    const body =
      '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 100248, current: 248","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504}\n';
    const said = failure(504, body);
    expect(said).toMatchObject({ code: 504, reason: "Timeout", retryAfterMs: 1000 });
    expect(hasCause(said, "ResourceVersionTooLarge")).toBe(true);
    expect(hasCause(said, "FieldValueInvalid")).toBe(false);
  });

  test("a Status that is called plain text, without kind and apiVersion", () => {
    const body =
      '{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}\n';
    expect(failure(504, body, { "content-type": "text/plain; charset=utf-8" })).toMatchObject({
      reason: "Timeout",
      message: "Timeout: request did not complete within the allotted timeout",
    });
  });

  test("plain text", () => {
    const said = failure(429, "Too many requests, please try again later.\n", { "retry-after": "1" });
    expect(said).toEqual({
      code: 429,
      reason: "",
      message: "Too many requests, please try again later.",
      causes: [],
      retryAfterMs: 1000,
    });
  });

  test("what is hostile: long, of other types, with control characters", () => {
    expect(failure(500, "a\u001b[31m\r\nb\u0085c").message).toBe("a [31m  b c");
    expect(
      failure(500, '{"reason":"a\\u001bb","details":{"causes":[{"reason":"c\\nd","field":"e\\rf"}]}}'),
    ).toMatchObject({
      reason: "a b",
      causes: [{ reason: "c d", field: "e f" }],
    });
    expect(noAnswer('it begins with "\u001b[2J"').message).toBe('it begins with " [2J"');
    expect(failure(500, "x".repeat(5000)).message).toHaveLength(603);
    expect(failure(500, '{"code":"x","message":5,"reason":[],"details":7}')).toMatchObject({ code: 500, message: "" });
    expect(failure(500, '{"code":99999999999,"details":{"causes":5,"retryAfterSeconds":-3}}')).toMatchObject({
      code: 500,
      causes: [],
      retryAfterMs: 0,
    });
    const causes = Array.from({ length: 100 }, () => ({ reason: "r" }));
    expect(failure(422, JSON.stringify({ details: { causes } })).causes).toHaveLength(8);
  });
});

describe("how long the server asks to wait", () => {
  const date = "Sun, 29 Nov 2026 13:26:36 GMT";
  test.each([
    ["5", 5000],
    ["0", 0],
    ["301", 300_000],
    ["99999999999999999999", 300_000],
    ["-1", 0],
    ["1.5", 0],
    ["", 0],
    ["soon", 0],
    ["Sun, 29 Nov 2026 13:27:06 GMT", 30_000],
    ["Sun, 29 Nov 2026 13:26:06 GMT", 0],
    ["Mon, 30 Nov 2026 13:26:36 GMT", 300_000],
  ])("%s", (text, expected) => {
    expect(failure(503, "", { "retry-after": text, date }).retryAfterMs).toBe(expected);
  });

  test("a date means nothing without the server's own", () => {
    expect(failure(503, "", { "retry-after": date }).retryAfterMs).toBe(0);
  });
});

test("dates of HTTP", () => {
  for (const seconds of [0, 86_399, 951_782_400, 951_868_800, 1_796_045_196, 4_102_444_799, 13_569_465_600]) {
    expect(parseHttpDate(new Date(seconds * 1000).toUTCString())).toBe(seconds);
  }
  for (const text of [
    "",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Sun, 06 Nov 1994 24:49:37 GMT",
    "Sun, 06 ovD 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:37 CET",
    "Sun, 06-Nov-1994 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:4x:37 GMT",
  ]) {
    expect(parseHttpDate(text), text).toBe(-1);
  }
});

test("what passes by itself", () => {
  expect(isPassing(noAnswer("reset"))).toBe(true);
  for (const code of [408, 429, 500, 502, 503, 504]) expect(isPassing(failure(code, "")), `${code}`).toBe(true);
  for (const code of [400, 401, 403, 404, 409, 410, 413, 415, 422])
    expect(isPassing(failure(code, "")), `${code}`).toBe(false);
});

describe("what a request asks for, in the words of RBAC", () => {
  test.each([
    ["GET", "/api/v1/nodes", "list ''/v1 nodes"],
    ["GET", "/api/v1/nodes?limit=1&watch=true", "watch ''/v1 nodes"],
    ["GET", "/api/v1/nodes?watch=1", "watch ''/v1 nodes"],
    ["GET", "/api/v1/nodes/n1", "get ''/v1 nodes n1"],
    ["PATCH", "/api/v1/nodes/n1/status?dryRun=All", "patch ''/v1 nodes/status n1"],
    [
      "POST",
      "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
      "create 'coordination.k8s.io'/v1 leases in kube-node-lease",
    ],
    ["PUT", "/apis/podwire.dev/v1alpha1/peernodes/n1", "update 'podwire.dev'/v1alpha1 peernodes n1"],
    ["DELETE", "/base/api/v1/namespaces/a/pods/api", "delete ''/v1 pods api in a"],
    ["GET", "/api/v1/namespaces", "list ''/v1 namespaces"],
    ["GET", "/api/v1/namespaces/a", "get ''/v1 namespaces a"],
  ])("%s %s", (method, target, expected) => {
    const { verb, group, version, resource, name, namespace } = accessOf(method, target);
    const where = namespace === "" ? "" : ` in ${namespace}`;
    expect(`${verb} '${group}'/${version} ${resource}${name === "" ? "" : ` ${name}`}${where}`).toBe(expected);
  });
});

describe("what a person is told", () => {
  const told = (target: string, said: Failure, method = "GET"): string =>
    describeFailure(accessOf(method, target), said);

  test("403: the rule that is missing", () => {
    expect(told("/api/v1/nodes/n1/status", failure(403, "forbidden"), "PATCH")).toBe(
      'cannot patch nodes/status n1: the API server answers 403, forbidden; this needs a ClusterRole with the rule {apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"]}, bound to this user',
    );
    expect(told("/apis/coordination.k8s.io/v1/namespaces/a/leases", failure(403, ""), "POST")).toBe(
      'cannot create leases in namespace a: the API server answers 403; this needs a Role in namespace a with the rule {apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"]}, bound to this user',
    );
  });

  test("404 of a custom resource, of something that is no Kubernetes, of one object", () => {
    const missing = failure(404, "404 page not found\n");
    expect(told("/apis/podwire.dev/v1alpha1/peernodes", missing)).toBe(
      "cannot list peernodes: the API server answers 404, 404 page not found; it has no peernodes in podwire.dev/v1alpha1: is the CustomResourceDefinition installed?",
    );
    expect(told("/api/v1/nodes", missing)).toMatch(/is this address that of a Kubernetes API server\?$/);
    expect(told("/api/v1/nodes/n1", failure(404, '{"message":"nodes \\"n1\\" not found"}'))).toBe(
      'cannot get nodes n1: the API server answers 404, nodes "n1" not found',
    );
  });

  test("401, and no answer", () => {
    expect(told("/api/v1/nodes", failure(401, '{"message":"Unauthorized"}'))).toBe(
      "cannot list nodes: the API server answers 401, Unauthorized; the token or client certificate is not valid for this cluster, or has expired",
    );
    expect(told("/api/v1/nodes?watch=1", noAnswer("connection refused"))).toBe(
      "cannot watch nodes: connection refused",
    );
  });
});
