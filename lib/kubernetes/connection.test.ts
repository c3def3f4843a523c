/** A connection's phases, with a server of the test's own in place of a network. */
import { beforeEach, describe, expect, test } from "vitest";
import type { Timed } from "../loop/timers.ts";
import { Connection, Exchange } from "./connection.ts";
import type { Request } from "./http-request.ts";
import type { ResponseHead } from "./http-response.ts";
import { Scheduler } from "./scheduler.ts";
import { ApiServer, type Credentials, ServerError } from "./server.ts";
import { type Addresses, FAILED, READABLE, Transport, WANT_READ, WANT_WRITE, WRITABLE } from "./transport.ts";

class FakeScheduler extends Scheduler {
  time = 0;
  readonly timers = new Map<Timed, number>();

  now(): number {
    return this.time;
  }

  after(milliseconds: number, timed: Timed): void {
    this.timers.set(timed, this.time + milliseconds);
  }

  cancel(timed: Timed): void {
    this.timers.delete(timed);
  }

  /** The time until the only timer; -1 without one. */
  get left(): number {
    expect(this.timers.size).toBeLessThanOrEqual(1);
    const [at] = this.timers.values();
    return at === undefined ? -1 : at - this.time;
  }

  pass(): void {
    const [entry] = this.timers;
    if (entry === undefined) throw new Error("no timer is set");
    const [timed, at] = entry;
    this.timers.delete(timed);
    this.time = at;
    timed.due();
  }
}

/** Plays what a test has written down: each call takes the next of its results. */
class FakeTransport extends Transport {
  calls: string[] = [];
  written = "";
  events = 0;
  found: Addresses = { addresses: [new Uint8Array([1]), new Uint8Array([2])], problem: "" };
  connects: string[] = [];
  connected: string[] = [];
  tls: string[] = [];
  handshakes: number[] = [];
  reads: (number | string)[] = [];
  writes: number[] = [];

  lookUp(host: string, port: number): Addresses {
    this.calls.push(`look up ${host} ${port}`);
    return this.found;
  }

  connect(address: Uint8Array): string {
    this.calls.push(`connect ${address[0]}`);
    return this.connects.shift() ?? "";
  }

  connectionProblem(): string {
    return this.connected.shift() ?? "";
  }

  startTls(name: string, credentials: Credentials): string {
    this.calls.push(`TLS ${name} ${credentials.ca}`);
    return this.tls.shift() ?? "";
  }

  handshake(): number {
    return this.handshakes.shift() ?? 0;
  }

  read(buffer: Uint8Array): number {
    const next = this.reads.shift() ?? WANT_READ;
    if (typeof next === "number") return next;
    const bytes = Buffer.from(next);
    buffer.set(bytes);
    return bytes.length;
  }

  write(bytes: Uint8Array, offset: number): number {
    const result = this.writes.shift() ?? bytes.length - offset;
    if (result > 0) this.written += Buffer.from(bytes.subarray(offset, offset + result)).toString();
    return result;
  }

  reason(): string {
    return "reset by the peer";
  }

  waitFor(events: number): void {
    this.events = events;
  }

  close(): void {
    if (this.calls.at(-1) !== "close") this.calls.push("close");
    this.events = 0;
  }
}

class FakeServer extends ApiServer {
  override host = "api";
  override port = 6443;
  override basePath = "/base";
  override name = "kubernetes";
  token = "t1";
  ca = "ca1";
  problem = "";

  credentials(): Credentials {
    if (this.problem !== "") throw new ServerError(this.problem);
    return { ca: this.ca, token: this.token, certificate: "", key: "" };
  }
}

class Recorder extends Exchange {
  log: string[] = [];
  wanted = true;
  left = 70_000;

  head(head: ResponseHead): void {
    this.log.push(`${head.status}`);
  }

  body(bytes: Uint8Array, start: number, end: number): boolean {
    this.log.push(Buffer.from(bytes.subarray(start, end)).toString());
    return this.wanted;
  }

  complete(): void {
    this.log.push("complete");
  }

  stopped(): void {
    this.log.push("stopped");
  }

  broken(reason: string): void {
    this.log.push(`broken: ${reason}`);
  }

  remainingMs(): number {
    return this.left;
  }

  timedOut(): void {
    this.log.push("timed out");
  }
}

const GET: Request = { method: "GET", target: "/api", accept: "application/json", contentType: "", body: "" };
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

let transport: FakeTransport;
let scheduler: FakeScheduler;
let server: FakeServer;
let connection: Connection;
let exchange: Recorder;

beforeEach(() => {
  transport = new FakeTransport();
  scheduler = new FakeScheduler();
  server = new FakeServer();
  connection = new Connection(server, "podwire-agent/1", transport, scheduler);
  exchange = new Recorder();
});

/** Sends a request on a new connection. */
function open(request = GET): void {
  connection.start(request, exchange);
  connection.ready();
}

/** Makes a connection that is kept. */
function keep(): void {
  transport.reads = [OK];
  open();
  expect(exchange.log).toEqual(["200", "ok", "complete"]);
  exchange = new Recorder();
  transport.calls = [];
  transport.written = "";
}

describe("the phases of a request", () => {
  test("one after another, as far as nothing has to be waited for", () => {
    connection.start(GET, exchange);
    expect(transport.calls).toEqual(["close", "look up api 6443", "close", "connect 1"]);
    expect([transport.events, scheduler.left]).toEqual([WRITABLE, 10_000]);
    transport.handshakes = [WANT_READ, WANT_WRITE, 0];
    connection.ready();
    expect(transport.calls.at(-1)).toBe("TLS kubernetes ca1");
    expect([transport.events, scheduler.left]).toEqual([READABLE, 10_000]);
    connection.ready();
    expect(transport.events).toBe(WRITABLE);
    transport.writes = [10, WANT_WRITE];
    connection.ready();
    expect(transport.written).toBe("GET /base/");
    expect([transport.events, scheduler.left]).toEqual([WRITABLE, 30_000]);
    connection.ready();
    expect(transport.written).toMatch(
      /^GET \/base\/api HTTP\/1.1\r\nHost: api:6443\r\nUser-Agent: podwire-agent\/1\r\n.*\r\nAuthorization: Bearer t1\r\n\r\n$/,
    );
    expect([transport.events, scheduler.left]).toEqual([READABLE, 70_000]);
    transport.reads = [OK.slice(0, 20)];
    connection.ready();
    expect(exchange.log).toEqual([]);
    transport.reads = [OK.slice(20)];
    connection.ready();
    expect(exchange.log).toEqual(["200", "ok", "complete"]);
    expect([transport.events, scheduler.left]).toEqual([READABLE, 60_000]);
  });

  test("a long answer is read in portions: the loop gets its turn", () => {
    const part = "x".repeat(16_000);
    transport.reads = [`HTTP/1.1 200 OK\r\nContent-Length: ${16_000 * 100}\r\n\r\n`];
    for (let i = 0; i < 100; i += 1) transport.reads.push(part);
    open();
    expect(exchange.log.length).toBeGreaterThan(60);
    expect(exchange.log.length).toBeLessThan(100);
    expect([transport.events, scheduler.left]).toEqual([0, 0]);
    scheduler.pass();
    expect(exchange.log).toHaveLength(102);
    expect(exchange.log.at(-1)).toBe("complete");
  });

  test("a long answer that never pauses has no more time than another", () => {
    const part = "x".repeat(16_000);
    transport.reads = [`HTTP/1.1 200 OK\r\nContent-Length: ${16_000 * 1000}\r\n\r\n`];
    for (let i = 0; i < 1000; i += 1) transport.reads.push(part);
    open();
    exchange.left = 0;
    scheduler.pass();
    expect(exchange.log.length).toBeLessThan(100);
    expect([exchange.log.at(-1), transport.calls.at(-1)]).toEqual(["timed out", "close"]);
  });

  test("an answer of which no more is wanted", () => {
    exchange.wanted = false;
    transport.reads = [OK];
    open();
    expect(exchange.log).toEqual(["200", "ok", "stopped"]);
    expect(transport.calls.at(-1)).toBe("close");
    expect(scheduler.left).toBe(-1);
  });
});

describe("what goes wrong", () => {
  test("the next address is tried, until there is none", () => {
    transport.connects = ["network is unreachable"];
    connection.start(GET, exchange);
    expect(transport.calls.slice(-3)).toEqual(["connect 1", "close", "connect 2"]);
    transport.connected = ["connection refused"];
    connection.ready();
    expect(exchange.log).toEqual(["broken: no connection to api:6443: connection refused"]);
    expect(scheduler.left).toBe(-1);
  });

  test("no address, no credentials", () => {
    transport.found = { addresses: [], problem: "no such host" };
    connection.start(GET, exchange);
    expect(exchange.log).toEqual(["broken: no connection to api:6443: no such host"]);
    exchange = new Recorder();
    server.problem = "the token /t is missing";
    connection.start(GET, exchange);
    expect(exchange.log).toEqual(["broken: the token /t is missing"]);
  });

  test("each phase has a limit of time", () => {
    connection.start(GET, exchange);
    scheduler.pass();
    expect([scheduler.time, transport.calls.at(-1)]).toEqual([10_000, "connect 2"]);
    transport.handshakes = [WANT_READ];
    connection.ready();
    scheduler.pass();
    expect(exchange.log).toEqual(["broken: no connection to api:6443: no TLS handshake within 10 s"]);
    exchange = new Recorder();
    transport.writes = [WANT_WRITE];
    open();
    scheduler.pass();
    expect(exchange.log).toEqual(["broken: the request could not be sent within 30 s"]);
    exchange = new Recorder();
    open();
    scheduler.pass();
    expect([exchange.log, scheduler.left]).toEqual([[], 70_000]);
    exchange.left = 0;
    scheduler.pass();
    expect([exchange.log, transport.calls.at(-1)]).toEqual([["timed out"], "close"]);
  });

  test("TLS that fails, also for a reason that a new address does not change", () => {
    transport.handshakes = [FAILED, FAILED];
    open();
    connection.ready();
    expect(exchange.log).toEqual(["broken: no connection to api:6443: reset by the peer"]);
    exchange = new Recorder();
    transport.tls = ["the key does not belong to the certificate"];
    open();
    expect(exchange.log).toEqual(["broken: the key does not belong to the certificate"]);
  });

  test.each([
    [[0], "broken: the connection was closed without an answer"],
    [[OK.slice(0, -1), 0], "broken: the connection was closed in the middle of the answer"],
    [[FAILED], "broken: reset by the peer"],
    [["<html>\r\n"], 'broken: the answer is not HTTP/1.1: it begins with "<html>"'],
  ])("%j", (reads, last) => {
    transport.reads = reads;
    open();
    expect(exchange.log.at(-1)).toBe(last);
    expect(transport.calls.at(-1)).toBe("close");
  });

  test("an answer that the end of the connection ends", () => {
    transport.reads = ["HTTP/1.1 200 OK\r\n\r\nab", 0];
    open();
    expect(exchange.log).toEqual(["200", "ab", "complete"]);
    expect(transport.calls.at(-1)).toBe("close");
  });
});

describe("a kept connection", () => {
  test("takes the next request, with the token as it is then", () => {
    keep();
    server.token = "t2";
    transport.reads = [OK];
    connection.start(GET, exchange);
    expect(transport.calls).toEqual([]);
    expect(transport.written).toContain("Bearer t2\r\n");
    expect(exchange.log).toEqual(["200", "ok", "complete"]);
  });

  test("is not used after other certificates, Connection: close, or 401", () => {
    keep();
    server.ca = "ca2";
    connection.start(GET, exchange);
    expect(transport.calls.slice(0, 2)).toEqual(["close", "look up api 6443"]);
    for (const answer of [
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    ]) {
      transport.reads = [answer];
      open();
      expect(transport.calls.at(-1)).toBe("close");
    }
  });

  test("is closed when the server closes it, and after 60 s", () => {
    keep();
    connection.ready();
    expect([transport.calls, scheduler.left]).toEqual([["close"], -1]);
    keep();
    scheduler.pass();
    expect([transport.calls, scheduler.left]).toEqual([["close"], -1]);
  });

  test.each([[0], [FAILED]])(
    "that has died before the answer: the request is sent once more, on a new one (%i)",
    (end) => {
      keep();
      transport.reads = [end];
      connection.start(GET, exchange);
      expect(transport.calls.at(-1)).toBe("connect 1");
      transport.reads = [end];
      connection.ready();
      expect(exchange.log).toHaveLength(1);
      expect(exchange.log[0]).toMatch(/^broken: /);
    },
  );

  test("but not a write, nor after a part of the answer", () => {
    keep();
    transport.reads = [0];
    connection.start({ ...GET, method: "PATCH" }, exchange);
    expect(exchange.log).toEqual(["broken: the connection was closed without an answer"]);
    exchange = new Recorder();
    keep();
    transport.reads = ["HTTP/1.1 ", 0];
    connection.start(GET, exchange);
    expect(exchange.log).toEqual(["broken: the connection was closed in the middle of the answer"]);
  });
});

test("after close, nothing more is told", () => {
  open();
  connection.close();
  expect([exchange.log, transport.calls.at(-1), scheduler.left]).toEqual([[], "close", -1]);
});

test("an exchange may start the next request when it is over", () => {
  class Again extends Recorder {
    override complete(): void {
      super.complete();
      if (this.log.length < 9) connection.start(GET, this);
    }
  }
  exchange = new Again();
  transport.reads = [OK, OK, OK];
  open();
  expect(exchange.log).toEqual(["200", "ok", "complete", "200", "ok", "complete", "200", "ok", "complete"]);
});
