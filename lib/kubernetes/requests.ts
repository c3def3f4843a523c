/**
 * Single requests, one after another on a connection of their own: reading one object, writing. What fails only for now is
 * tried again a few times; the outcome is a value.
 */
import { formatJsonLine, type Json, jsonObject } from "../cni/json.ts";
import { itemAt } from "../lists.ts";
import { Timed } from "../loop/timers.ts";
import { accessOf, describeFailure } from "./access.ts";
import { Backoff, Jitter } from "./backoff.ts";
import { type Connection, Exchange } from "./connection.ts";
import { ErrorBody } from "./error-body.ts";
import { ACCEPT_JSON, ACCEPT_METADATA, type Method, type Request, targetOf } from "./http-request.ts";
import { ResponseHead } from "./http-response.ts";
import { ObjectReader, ObjectReceiver } from "./object-reader.ts";
import type { Scheduler } from "./scheduler.ts";
import { ofObject, type Selection } from "./selection.ts";
import { type Failure, isPassing, noAnswer, readFailure } from "./status.ts";

/** What comes of a request. */
export abstract class Answer {
  /** It is done. @param object the object as it now is, reduced to what was asked for */
  abstract done(object: Json): void;
  /** @param text a sentence for people */
  abstract failed(failure: Failure, text: string): void;
}

/** One object. */
export function getObject(path: string): Request {
  return { method: "GET", target: path, accept: ACCEPT_JSON, contentType: "", body: "" };
}

/**
 * Changes members of an object of a built-in type, and leaves the other members of its maps and the other conditions alone
 * (strategic merge patch). Only the metadata comes back. @param path "/api/v1/nodes/NAME/status"
 */
export function mergePatch(path: string, change: Json): Request {
  return write("PATCH", path, change, "application/strategic-merge-patch+json");
}

/** Makes an object. @param path of its collection */
export function create(path: string, object: Json): Request {
  return write("POST", path, object, "application/json");
}

/** Makes an object, or changes what `manager` has of it (server-side apply). It takes over what other managers have. */
export function apply(path: string, manager: string, object: Json): Request {
  const target = targetOf(path, [
    { name: "fieldManager", value: manager },
    { name: "force", value: "true" },
  ]);
  return write("PATCH", target, object, "application/apply-patch+yaml");
}

function write(method: Method, target: string, body: Json, contentType: string): Request {
  return { method, target, accept: `${ACCEPT_METADATA},${ACCEPT_JSON}`, contentType, body: formatJsonLine(body) };
}

/** Requests that wait. More than these are refused: something goes wrong for long. */
const MAX_WAITING = 64;
/** How often a request is sent at most. The pauses between are 1, 2, 4, 8 s. */
const MAX_TRIES = 5;
/** Until the answer is complete: the server itself gives up after 60 s. */
const ANSWER_MS = 70_000;

/** A request that is not done. */
class Waiting {
  readonly request: Request;
  readonly selection: Selection;
  readonly answer: Answer;
  tries = 0;

  constructor(request: Request, selection: Selection, answer: Answer) {
    this.request = request;
    this.selection = selection;
    this.answer = answer;
  }
}

/** Keeps the object that an answer has. */
class Result extends ObjectReceiver {
  object: Json | null = null;

  item(_object: Json): void {
    /* No array is split. */
  }

  whole(object: Json): void {
    this.object = object;
  }
}

/** A timer that sends the next request. */
class Pause extends Timed {
  readonly #requests: Requests;

  constructor(requests: Requests) {
    super();
    this.#requests = requests;
  }

  due(): void {
    this.#requests.sendNext();
  }
}

export class Requests extends Exchange {
  readonly #connection: Connection;
  readonly #scheduler: Scheduler;
  readonly #backoff: Backoff;
  readonly #pause: Pause;
  /** The first is under way, or is tried again after a pause. */
  #waiting: Waiting[] = [];
  /* Of the present request. */
  #head = new ResponseHead(0, 1);
  #error = new ErrorBody();
  #result = new Result();
  #reader: ObjectReader | null = null;
  #startedAt = 0;

  /** @param node the name of this node, from which pauses follow */
  constructor(connection: Connection, scheduler: Scheduler, node: string) {
    super();
    this.#connection = connection;
    this.#scheduler = scheduler;
    this.#backoff = new Backoff(new Jitter(`${node} requests`));
    this.#pause = new Pause(this);
  }

  /** Sends a request when those before it are done. @param selection what is kept of the object that comes back */
  send(request: Request, selection: Selection, answer: Answer): void {
    if (this.#waiting.length >= MAX_WAITING) {
      const failure = noAnswer(`${MAX_WAITING} requests wait already`);
      answer.failed(failure, describeFailure(accessOf(request.method, request.target), failure));
      return;
    }
    this.#waiting.push(new Waiting(request, ofObject(selection), answer));
    if (this.#waiting.length === 1) this.#scheduler.after(0, this.#pause);
  }

  /** Forgets what waits, and closes the connection. */
  stop(): void {
    this.#waiting = [];
    this.#scheduler.cancel(this.#pause);
    this.#connection.close();
  }

  /** Sends the first request that waits. */
  sendNext(): void {
    const first = itemAt(this.#waiting, 0);
    if (first === null) return;
    first.tries += 1;
    this.#head = new ResponseHead(0, 1);
    this.#error = new ErrorBody();
    this.#result = new Result();
    this.#reader = new ObjectReader(first.selection, this.#result);
    this.#startedAt = this.#scheduler.now();
    this.#connection.start(first.request, this);
  }

  head(head: ResponseHead): void {
    this.#head = head;
  }

  body(bytes: Uint8Array, start: number, end: number): boolean {
    if (!isSuccess(this.#head)) {
      this.#error.add(bytes, start, end);
      return true;
    }
    return this.#reader?.feed(bytes, start, end) === true;
  }

  complete(): void {
    if (!isSuccess(this.#head)) {
      this.#failed(readFailure(this.#head, this.#error.bytes));
      return;
    }
    const { object } = this.#result;
    if (object !== null) this.#done(object);
    else if (this.#head.status === 204) this.#done(jsonObject());
    else this.#failed(noAnswer("the answer has no object"));
  }

  stopped(): void {
    this.#failed(noAnswer(this.#reader === null ? "" : this.#reader.problem));
  }

  broken(reason: string): void {
    this.#failed(noAnswer(reason));
  }

  remainingMs(): number {
    return this.#startedAt + ANSWER_MS - this.#scheduler.now();
  }

  timedOut(): void {
    this.#failed(noAnswer(`no complete answer within ${ANSWER_MS / 1000} s`));
  }

  #done(object: Json): void {
    const first = this.#shift();
    this.#backoff.reset();
    if (first !== null) first.answer.done(object);
  }

  #failed(failure: Failure): void {
    const first = itemAt(this.#waiting, 0);
    if (first === null) return;
    if ((isPassing(failure) || failure.code === 401) && first.tries < MAX_TRIES) {
      this.#scheduler.after(Math.max(this.#backoff.next(), failure.retryAfterMs), this.#pause);
      return;
    }
    this.#shift();
    this.#backoff.reset();
    first.answer.failed(failure, describeFailure(accessOf(first.request.method, first.request.target), failure));
  }

  /** Takes the first request away, and has the next one sent. */
  #shift(): Waiting | null {
    const first = itemAt(this.#waiting, 0);
    this.#waiting = this.#waiting.slice(1);
    if (this.#waiting.length > 0) this.#scheduler.after(0, this.#pause);
    return first;
  }
}

function isSuccess(head: ResponseHead): boolean {
  return head.status >= 200 && head.status <= 299;
}
