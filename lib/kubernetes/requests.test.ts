/** Single requests: in order, tried again where that helps, with an outcome each. */
import { beforeEach, describe, expect, test } from "vitest";
import { formatJsonLine, type Json, jsonObject, jsonString } from "../cni/json.ts";
import type { Timed } from "../loop/timers.ts";
import type { Connection, Exchange } from "./connection.ts";
import type { Request } from "./http-request.ts";
import { ResponseHead } from "./http-response.ts";
import { Answer, apply, create, getObject, mergePatch, Requests } from "./requests.ts";
import { Scheduler } from "./scheduler.ts";
import { Selection } from "./selection.ts";
import type { Failure } from "./status.ts";

class FakeScheduler extends Scheduler {
  time = 0;
  timers: [number, Timed][] = [];

  now(): number {
    return this.time;
  }

  after(milliseconds: number, timed: Timed): void {
    this.cancel(timed);
    this.timers.push([this.time + milliseconds, timed]);
  }

  cancel(timed: Timed): void {
    this.timers = this.timers.filter(([, one]) => one !== timed);
  }

  /** Goes to the only timer. @returns how long that took */
  pass(): number {
    const [first] = this.timers;
    if (first === undefined) throw new Error("no timer is set");
    const [at, timed] = first;
    const waited = at - this.time;
    this.time = at;
    this.cancel(timed);
    timed.due();
    return waited;
  }
}

/** Notes what is sent. */
class FakeConnection {
  readonly sent: string[] = [];
  exchange: Exchange | null = null;
  isClosed = false;

  start(request: Request, exchange: Exchange): void {
    this.sent.push(`${request.method} ${request.target}`);
    this.exchange = exchange;
  }

  close(): void {
    this.isClosed = true;
  }

  answer(status: number, body: string, headers: Readonly<Record<string, string>> = {}): void {
    const head = new ResponseHead(status, 1);
    for (const [name, value] of Object.entries(headers)) {
      head.names.push(name);
      head.values.push(value);
    }
    const bytes = Buffer.from(body);
    this.exchange?.head(head);
    if (bytes.length === 0 || this.exchange?.body(bytes, 0, bytes.length)) this.exchange?.complete();
    else this.exchange?.stopped();
  }
}

class Outcome extends Answer {
  text = "";

  done(object: Json): void {
    this.text = `done ${formatJsonLine(object)}`;
  }

  failed({ code }: Failure, text: string): void {
    this.text = `failed ${code}: ${text}`;
  }
}

let scheduler: FakeScheduler;
let connection: FakeConnection;
let requests: Requests;
const names = new Selection().keep(["metadata", "name"]);

beforeEach(() => {
  scheduler = new FakeScheduler();
  connection = new FakeConnection();
  requests = new Requests(connection as unknown as Connection, scheduler, "node-1");
});

function send(request: Request): Outcome {
  const outcome = new Outcome();
  requests.send(request, names, outcome);
  return outcome;
}

const NODE = '{"kind":"Node","metadata":{"name":"n1","uid":"u"},"spec":{}}';

describe("the outcome of a request", () => {
  test("the object, reduced", () => {
    const outcome = send(getObject("/api/v1/nodes/n1"));
    scheduler.pass();
    connection.answer(200, NODE);
    expect(outcome.text).toBe('done {"kind":"Node","metadata":{"name":"n1"}}');
  });

  test("nothing, after 204", () => {
    const outcome = send(create("/x", jsonObject()));
    scheduler.pass();
    connection.answer(204, "");
    expect(outcome.text).toBe("done {}");
  });

  test("an error that stays is told at once", () => {
    const outcome = send(create("/api/v1/events", jsonObject()));
    scheduler.pass();
    connection.answer(
      409,
      '{"kind":"Status","message":"events \\"a\\" already exists","reason":"AlreadyExists","code":409}',
    );
    expect(outcome.text).toBe(
      'failed 409: cannot create events: the API server answers 409, events "a" already exists',
    );
    expect(scheduler.timers).toEqual([]);
  });

  test("what cannot be read is tried again, then told", () => {
    const outcome = send(getObject("/api/v1/nodes/n1"));
    for (let i = 0; i < 5; i += 1) {
      scheduler.pass();
      if (i % 2 === 0) connection.answer(200, "<html>");
      else connection.answer(200, "");
    }
    expect(outcome.text).toBe("failed 0: cannot get nodes n1: not JSON: '<' instead of a top-level value");
  });
});

describe("what passes by itself", () => {
  test("is tried five times, after growing pauses", () => {
    const outcome = send(mergePatch("/api/v1/nodes/n1/status", jsonObject()));
    const pauses: number[] = [];
    for (let i = 0; i < 5; i += 1) {
      expect(outcome.text).toBe("");
      pauses.push(scheduler.pass());
      connection.exchange?.broken("connection refused");
    }
    expect(outcome.text).toBe("failed 0: cannot patch nodes/status n1: connection refused");
    expect(pauses[0]).toBe(0);
    for (const [i, limit] of [1000, 2000, 4000, 8000].entries()) {
      expect(pauses[i + 1]).toBeGreaterThanOrEqual(limit / 2);
      expect(pauses[i + 1]).toBeLessThan(limit);
    }
    expect(connection.sent).toHaveLength(5);
  });

  test("is done when it has passed; the server says when to come again", () => {
    const outcome = send(getObject("/api/v1/nodes/n1"));
    scheduler.pass();
    connection.answer(429, "Too many requests, please try again later.\n", { "retry-after": "9" });
    expect(scheduler.pass()).toBe(9000);
    connection.answer(401, "");
    expect(scheduler.pass()).toBeLessThan(2000);
    connection.answer(200, NODE);
    expect(outcome.text).toMatch(/^done /);
  });

  test("no answer within 70 s", () => {
    send(getObject("/api/v1/nodes/n1"));
    scheduler.pass();
    scheduler.time += 60_000;
    expect(connection.exchange?.remainingMs()).toBe(10_000);
    connection.exchange?.timedOut();
    scheduler.pass();
    expect(connection.sent).toHaveLength(2);
  });
});

test("one after another, in order, also what an answer sends", () => {
  const order: string[] = [];
  class Next extends Answer {
    readonly path: string;

    constructor(path: string) {
      super();
      this.path = path;
    }

    done(): void {
      order.push(this.path);
      if (this.path === "/1") requests.send(getObject("/3"), names, new Next("/3"));
    }

    failed(): void {
      order.push("failed");
    }
  }
  requests.send(getObject("/1"), names, new Next("/1"));
  requests.send(getObject("/2"), names, new Next("/2"));
  for (let i = 0; i < 3; i += 1) {
    scheduler.pass();
    connection.answer(200, NODE);
  }
  expect(order).toEqual(["/1", "/2", "/3"]);
  expect(connection.sent).toEqual(["GET /1", "GET /2", "GET /3"]);
});

test("no more than 64 wait", () => {
  for (let i = 0; i < 64; i += 1) send(getObject("/api/v1/nodes/n1"));
  expect(send(getObject("/api/v1/nodes/n1")).text).toBe("failed 0: cannot get nodes n1: 64 requests wait already");
});

test("after stop, nothing is sent", () => {
  send(getObject("/api/v1/nodes/n1"));
  requests.stop();
  expect([scheduler.timers, connection.isClosed]).toEqual([[], true]);
});

test("what writes ask for", () => {
  const body = jsonObject().with("a", jsonString('"'));
  expect(mergePatch("/x", body)).toMatchObject({
    contentType: "application/strategic-merge-patch+json",
    body: '{"a":"\\""}',
  });
  expect(apply("/x", "podwire", body)).toMatchObject({
    method: "PATCH",
    target: "/x?fieldManager=podwire&force=true",
    accept: "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
    contentType: "application/apply-patch+yaml",
  });
  expect(create("/x", body)).toMatchObject({ method: "POST", contentType: "application/json" });
});
