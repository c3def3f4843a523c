/** List and watch: which request follows which answer, after which pause, and what the observer hears. */
import { beforeEach, describe, expect, test } from "vitest";
import { formatJsonLine, type Json } from "../cni/json.ts";
import { ResponseHead } from "./http-response.ts";
import { Selection } from "./selection.ts";
import { Observer, Watch } from "./watch.ts";

class Recorder extends Observer {
  log: string[] = [];
  troubles: string[] = [];

  put(object: Json): void {
    this.log.push(`put ${nameOf(object)}`);
  }

  remove(object: Json): void {
    this.log.push(`remove ${nameOf(object)}`);
  }

  begin(): void {
    this.log.push("begin");
  }

  synced(): void {
    this.log.push("synced");
  }

  trouble(text: string): void {
    this.troubles.push(text);
  }

  take(): string[] {
    const { log } = this;
    this.log = [];
    return log;
  }
}

const nameOf = (object: Json): string => object.get("metadata")?.get("name")?.text ?? formatJsonLine(object);

const PATH = "/api/v1/nodes";
let observer = new Recorder();
let watch = new Watch(collection(), observer, "node-1");
let now = 0;

function collection() {
  const selection = new Selection().keep(["metadata", "name"]);
  return { path: PATH, fieldSelector: "", labelSelector: "", selection, isMetadataOnly: false };
}

beforeEach(() => {
  observer = new Recorder();
  watch = new Watch(collection(), observer, "node-1");
  now = 1000;
});

/** The next request is sent. @returns what it asks, without the path, and the pause before it */
function send(): { query: string; waitMs: number } {
  const { request, waitMs } = watch.next();
  now += waitMs;
  watch.sent(now);
  expect(request.method).toBe("GET");
  const [path, query = ""] = request.target.split("?");
  expect(path).toBe(PATH);
  return { query: query.replace(/timeoutSeconds=(2[789]|3[012])\d/, "timeoutSeconds=N"), waitMs };
}

function head(status: number, headers: Readonly<Record<string, string>> = {}): void {
  const received = new ResponseHead(status, 1);
  for (const [name, value] of Object.entries(headers)) {
    received.names.push(name);
    received.values.push(value);
  }
  watch.head(received, now);
}

function body(text: string): boolean {
  const bytes = Buffer.from(text);
  return watch.body(bytes, 0, bytes.length, now);
}

/** An answer that is complete. */
function answer(status: number, text: string, headers: Readonly<Record<string, string>> = {}): void {
  head(status, headers);
  body(text);
  watch.complete(now);
}

const object = (name: string, version: string): unknown => ({ metadata: { name, resourceVersion: version } });
const event = (type: string, name: string, version: string): string =>
  `${JSON.stringify({ type, object: object(name, version) })}\n`;
const bookmark = (version: string): string =>
  `${JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: version } } })}\n`;
const endMark = (version: string): string => {
  const annotations = { "k8s.io/initial-events-end": "true" };
  return `${JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: version, annotations } } })}\n`;
};
const status = (code: number, reason: string, message: string, more: object = {}): string =>
  JSON.stringify({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code, ...more });
const errorEvent = (code: number, reason: string, message: string): string =>
  `{"type":"ERROR","object":${status(code, reason, message)}}\n`;
const list = (names: readonly string[], version: string, next = ""): string =>
  JSON.stringify({
    kind: "NodeList",
    metadata: { resourceVersion: version, continue: next },
    items: names.map((name) => object(name, "1")),
  });

const STREAM =
  "watch=true&allowWatchBookmarks=true&timeoutSeconds=N&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
const from = (version: string): string =>
  `watch=true&allowWatchBookmarks=true&timeoutSeconds=N&resourceVersion=${version}`;

/** Brings the watch to where it has a list of the version 10. */
function synchronise(): void {
  send();
  head(200);
  body(event("ADDED", "a", "5") + event("ADDED", "b", "9") + endMark("10"));
  observer.take();
}

describe("a streaming list", () => {
  test("is asked for first, within five seconds, and goes on as a watch", () => {
    const { query, waitMs } = send();
    expect(query).toBe(STREAM);
    expect(waitMs).toBeGreaterThanOrEqual(0);
    expect(waitMs).toBeLessThan(5000);
    head(200);
    expect(body(event("ADDED", "a", "5"))).toBe(true);
    expect(body(endMark("10"))).toBe(true);
    expect(observer.take()).toEqual(["begin", "put a", "synced"]);
    body(event("MODIFIED", "a", "11") + event("DELETED", "a", "12") + event("ADDED", "a", "13"));
    expect(observer.take()).toEqual(["put a", "remove a", "put a"]);
    watch.complete(now);
    expect(send()).toEqual({ query: from("13"), waitMs: 0 });
    expect(observer.troubles).toEqual([]);
  });

  test("of nothing is complete", () => {
    send();
    head(200);
    body(endMark("3"));
    expect(observer.take()).toEqual(["begin", "synced"]);
  });

  test("that breaks off begins again: its versions are not used", () => {
    send();
    head(200);
    body(event("ADDED", "a", "5"));
    watch.broken("reset by the peer", now);
    expect(observer.troubles).toEqual(["cannot watch nodes: reset by the peer"]);
    const { query, waitMs } = send();
    expect(query).toBe(STREAM);
    expect(waitMs).toBeGreaterThanOrEqual(500);
    expect(waitMs).toBeLessThan(1000);
    head(200);
    expect(observer.take()).toEqual(["begin", "put a", "begin"]);
  });

  test.each([400, 422])("that the server refuses with %i is replaced by pages, at once and for good", (code) => {
    send();
    answer(code, status(code, "Invalid", "sendInitialEvents is forbidden"));
    expect(send()).toEqual({ query: "limit=500", waitMs: 0 });
    expect(observer.troubles).toEqual([]);
    answer(200, list(["a"], "7"));
    send();
    answer(200, errorEvent(410, "Expired", "too old resource version"));
    expect(send().query).toBe("limit=500");
  });

  test("whose end never comes is replaced by pages", () => {
    send();
    head(200);
    body(event("ADDED", "a", "5"));
    expect(watch.remainingMs(now)).toBe(30_000);
    now += 29_000;
    body(event("ADDED", "b", "6"));
    now += 20_000;
    body(event("MODIFIED", "b", "7"));
    expect(watch.remainingMs(now)).toBe(10_000);
    now += 10_000;
    expect(watch.remainingMs(now)).toBe(0);
    watch.timedOut(now);
    expect(send().query).toBe("limit=500");
    answer(200, list(["a"], "8"));
    expect(observer.take()).toEqual(["begin", "put a", "put b", "put b", "begin", "put a", "synced"]);
  });

  test("that has no answer at all is tried as pages once, then again", () => {
    send();
    expect(watch.remainingMs(now)).toBe(70_000);
    watch.timedOut(now);
    expect(send().query).toBe("limit=500");
    watch.timedOut(now);
    expect(send().query).toBe("limit=500");
    for (let i = 0; i < 7; i += 1) {
      watch.timedOut(now);
      send();
    }
    watch.timedOut(now);
    expect(send().query).toBe(STREAM);
  });

  test("that stalls once is not replaced for good", () => {
    send();
    head(200);
    body(event("ADDED", "a", "5"));
    watch.timedOut(now);
    send();
    answer(200, list(["a"], "8"));
    send();
    answer(200, errorEvent(410, "Expired", "too old resource version"));
    expect(send().query).toBe(STREAM);
  });

  test("that fails ten times in a row is replaced by pages", () => {
    for (let i = 0; i < 10; i += 1) {
      expect(send().query).toBe(STREAM);
      answer(500, status(500, "InternalError", "not for streaming lists"));
    }
    expect(send().query).toBe("limit=500");
  });

  test("that ends with an error is tried again", () => {
    send();
    head(200);
    expect(body(errorEvent(500, "InternalError", "context deadline exceeded"))).toBe(false);
    watch.stopped(now);
    expect(observer.troubles).toEqual(["cannot watch nodes: the API server answers 500, context deadline exceeded"]);
    expect(send().query).toBe(STREAM);
  });
});

describe("a list in pages", () => {
  beforeEach(() => {
    send();
    answer(422, status(422, "Invalid", "sendInitialEvents is forbidden"));
  });

  test("goes on with each continue token, and is of its first page's version", () => {
    send();
    answer(200, list(["a", "b"], "7", "t/1"));
    expect(send()).toEqual({ query: "limit=500&continue=t%2F1", waitMs: 0 });
    answer(200, list(["c"], "8"));
    expect(observer.take()).toEqual(["begin", "put a", "put b", "put c", "synced"]);
    expect(send().query).toBe(from("7"));
  });

  test("a page that breaks off is read again; one after an expired token begins the list again", () => {
    send();
    answer(200, list(["a"], "7", "t"));
    send();
    head(200);
    body(list(["b", "c"], "7", "u").slice(0, -40));
    watch.broken("closed", now);
    expect(send().query).toBe("limit=500&continue=t");
    answer(410, status(410, "Expired", "The provided continue parameter is too old"));
    expect(send().query).toBe("limit=500");
    answer(200, list(["a"], "9"));
    expect(observer.take().filter((one) => !one.startsWith("put"))).toEqual(["begin", "begin", "synced"]);
  });

  test("an answer that is no list is an error", () => {
    send();
    answer(200, "{}");
    send();
    answer(200, "");
    send();
    answer(200, '{"metadata":{"resourceVersion":"1"},"items":[{}');
    expect(observer.troubles).toEqual([
      "cannot list nodes: the list has no usable resourceVersion or continue token",
      "cannot list nodes: the answer is no list",
      "cannot list nodes: the answer ends in the middle of an object",
    ]);
  });

  test("time limits: until the answer begins, then between its parts", () => {
    send();
    expect(watch.remainingMs(now)).toBe(70_000);
    head(200);
    now += 20_000;
    body('{"items":[');
    expect(watch.remainingMs(now)).toBe(30_000);
  });
});

describe("a watch", () => {
  beforeEach(synchronise);

  test("goes on from the last event or bookmark", () => {
    body(bookmark("20"));
    watch.complete(now);
    expect(send()).toEqual({ query: from("20"), waitMs: 0 });
    head(200);
    body(event("MODIFIED", "a", "21"));
    body(bookmark("21").slice(0, 30));
    watch.broken("closed", now);
    expect(send().query).toBe(from("21"));
    expect(observer.take()).toEqual(["put a"]);
  });

  test("the version is opaque: it is encoded, not understood", () => {
    body(bookmark("x/1 &y=2"));
    watch.complete(now);
    expect(send().query).toBe(from("x%2F1%20%26y%3D2"));
  });

  test.each(["event", "status"])("a version that is too old, as an %s: a new list, spread over all nodes", (form) => {
    watch.complete(now);
    send();
    if (form === "status") {
      answer(410, status(410, "Gone", "too old resource version: 10 (500)"));
    } else {
      head(200);
      expect(body(errorEvent(410, "Expired", "too old resource version: 10 (500)"))).toBe(false);
      watch.stopped(now);
    }
    expect(observer.troubles).toEqual([]);
    const { query, waitMs } = send();
    expect(query).toBe(STREAM);
    expect(waitMs).toBeLessThan(5000);
    head(200);
    body(endMark("500"));
    expect(observer.take()).toEqual(["begin", "synced"]);
  });

  test("that is too old each time makes pauses", () => {
    watch.complete(now);
    let waitMs = 0;
    for (let i = 0; i < 8; i += 1) {
      send();
      answer(410, status(410, "Gone", ""));
      waitMs = send().waitMs;
      head(200);
      body(endMark("10"));
      now += 10;
      watch.broken("closed", now);
    }
    expect(waitMs).toBeGreaterThanOrEqual(15_000);
    expect(waitMs).toBeLessThan(30_000);
  });

  test("an error of the server: pauses that grow, and shrink after an event", () => {
    const pauses: number[] = [];
    watch.complete(now);
    for (let i = 0; i < 4; i += 1) {
      send();
      answer(500, status(500, "InternalError", "etcd is away"));
      const { waitMs, query } = send();
      expect(query).toBe(from("10"));
      pauses.push(waitMs);
      head(500);
      watch.complete(now);
    }
    for (const [i, pause] of pauses.entries()) expect(pause).toBeLessThanOrEqual(Math.min(1000 * 4 ** i, 30_000));
    expect(pauses.at(-1)).toBeGreaterThanOrEqual(15_000);
  });

  test("the same trouble is said once; another, or after a success, again", () => {
    watch.complete(now);
    for (const [code, text] of [
      [503, "a"],
      [503, "a"],
      [503, "b"],
    ] as const) {
      send();
      answer(code, text);
    }
    expect(observer.troubles).toEqual([
      "cannot watch nodes: the API server answers 503, a",
      "cannot watch nodes: the API server answers 503, b",
    ]);
    send();
    head(200);
    body(bookmark("11"));
    watch.complete(now);
    send();
    answer(503, "b");
    expect(observer.troubles).toHaveLength(3);
    expect(send().waitMs).toBeLessThan(1000);
  });

  test("one that breaks off after half a minute has worked until then", () => {
    watch.complete(now);
    for (const seconds of [10, 10, 10, 30]) {
      send();
      head(200);
      now += seconds * 1000;
      watch.broken("reset by the peer", now);
    }
    expect(observer.troubles).toHaveLength(2);
    expect(send().waitMs).toBeLessThan(1000);
  });

  test("too many requests: as long as the server says, by a header or a Status", () => {
    watch.complete(now);
    send();
    answer(429, "Too many requests, please try again later.\n", { "retry-after": "7" });
    expect(send().waitMs).toBe(7000);
    answer(429, status(429, "TooManyRequests", "storage is (re)initializing", { details: { retryAfterSeconds: 40 } }));
    expect(send().waitMs).toBe(40_000);
    answer(429, "", { "retry-after": "999999" });
    expect(send().waitMs).toBe(300_000);
  });

  test("forbidden: said with the rule that is missing, and tried again slowly", () => {
    watch.complete(now);
    send();
    answer(403, status(403, "Forbidden", 'nodes is forbidden: User "x" cannot watch resource "nodes"'));
    const { waitMs, query } = send();
    expect(query).toBe(from("10"));
    expect(waitMs).toBeGreaterThanOrEqual(48_000);
    expect(waitMs).toBeLessThan(72_000);
    expect(observer.troubles).toEqual([
      'cannot watch nodes: the API server answers 403, nodes is forbidden: User "x" cannot watch resource "nodes"; this needs a ClusterRole with the rule {apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"]}, bound to this user',
    ]);
  });

  test("a token that does not hold is tried again soon: it is replaced in its file", () => {
    watch.complete(now);
    send();
    answer(401, status(401, "Unauthorized", "Unauthorized"));
    expect(send().waitMs).toBeLessThan(1000);
  });

  test("after ten failures in a row, the list is read again", () => {
    watch.complete(now);
    for (let i = 0; i < 10; i += 1) {
      expect(send().query).toBe(from("10"));
      answer(500, status(500, "", 'resourceVersion: Invalid value: "abc"'));
    }
    expect(send().query).toBe(STREAM);
  });

  test("parameters that the server no longer takes: the list is read again", () => {
    watch.complete(now);
    send();
    answer(400, status(400, "BadRequest", "invalid resource version"));
    expect(send().query).toBe(STREAM);
  });

  test("that ends at once and without events makes pauses", () => {
    watch.complete(now);
    const pauses: number[] = [];
    for (let i = 0; i < 4; i += 1) {
      pauses.push(send().waitMs);
      head(200);
      now += 100;
      watch.complete(now);
    }
    expect(pauses.map((pause) => pause > 0)).toEqual([false, true, true, true]);
  });

  test("bounds what fails without a word", () => {
    watch.complete(now);
    send();
    head(200);
    const left = watch.remainingMs(now);
    expect(left).toBeGreaterThanOrEqual(300_000);
    expect(left).toBeLessThanOrEqual(360_000);
    body(event("MODIFIED", "a", "11"));
    expect(watch.remainingMs(now)).toBe(left);
    watch.timedOut(now + left);
    expect(observer.troubles).toEqual(["cannot watch nodes: the server does not go on with its answer"]);
    expect(send().query).toBe("limit=1&resourceVersion=11&resourceVersionMatch=NotOlderThan");
  });

  test.each([
    ['{"type":"ADDED"}', "an event has no object"],
    ['{"type":"ADDED","object":5}', "an event has no object"],
    ['{"type":"RENAMED","object":{}}', "an event has an unknown type"],
    ['{"type":"MODIFIED","object":{"metadata":{"name":"a"}}}', "an event has no usable resourceVersion"],
    [
      `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"${"1".repeat(257)}"}}}`,
      "an event has no usable resourceVersion",
    ],
    ["<html>", "not JSON: '<' instead of a top-level value"],
  ])("%s ends the request", (text, problem) => {
    expect(body(text)).toBe(false);
    watch.stopped(now);
    expect(observer.troubles).toEqual([`cannot watch nodes: ${problem}`]);
    expect(send().query).toBe(from("10"));
  });
});

describe("a version that the server has not reached: its data were restored from a backup", () => {
  const QUESTION = "limit=1&resourceVersion=10&resourceVersionMatch=NotOlderThan";

  beforeEach(() => {
    synchronise();
    watch.complete(now);
    send();
    head(200);
    now += 300_000;
    watch.complete(now);
  });

  test("is asked after, when a whole watch was silent", () => {
    expect(send()).toEqual({ query: QUESTION, waitMs: 0 });
    answer(200, list(["a"], "10", "t"));
    expect(send()).toEqual({ query: from("10"), waitMs: 0 });
    expect(observer.take()).toEqual([]);
  });

  test("is asked after, when shorter watches were silent one after the other: a proxy breaks each of them off", () => {
    send();
    answer(200, list(["a"], "10"));
    for (const query of [from("10"), from("10"), from("10"), QUESTION]) {
      expect(send().query).toBe(query);
      head(200);
      now += 70_000;
      watch.broken("reset by the peer", now);
    }
  });

  test("is not asked after while no watch has an answer", () => {
    send();
    answer(200, list(["a"], "10"));
    for (let i = 0; i < 5; i += 1) {
      expect(send().query).toBe(from("10"));
      now += 70_000;
      watch.broken("no route to host", now);
    }
  });

  test("leads to a new list", () => {
    send();
    const details = { causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }] };
    answer(504, status(504, "Timeout", "Timeout: Too large resource version: 10, current: 3", { details }));
    expect(observer.troubles).toEqual([
      "nodes: the API server has an older state than it had before; the list is read again",
    ]);
    expect(send().query).toBe(STREAM);
  });

  test("another error leads back to the watch", () => {
    send();
    answer(504, status(504, "Timeout", "Timeout: request did not complete"));
    expect(send().query).toBe(from("10"));
  });
});

test("selectors are part of each request; metadata alone are asked for by the Accept header", () => {
  const other = new Watch(
    {
      path: "/api/v1/pods",
      fieldSelector: "spec.nodeName=n1,status.phase!=Failed",
      labelSelector: "a in (b,c)",
      selection: new Selection(),
      isMetadataOnly: true,
    },
    observer,
    "node-1",
  );
  const { request } = other.next();
  expect(request.accept).toBe("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
  expect(request.target).toMatch(
    /&fieldSelector=spec.nodeName%3Dn1%2Cstatus.phase%21%3DFailed&labelSelector=a%20in%20%28b%2Cc%29$/,
  );
});
