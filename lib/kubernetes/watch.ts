/**
 * Keeps a copy of a list of objects true for ever: list, watch, bookmarks, and what to do when any of it fails. A state
 * machine without calls to the outside: it says which request is next and after which pause, and is told what comes of it.
 *
 * A list is a streaming list if the server has it, else pages. Both are consistent reads (no resourceVersion is asked for), so
 * a server whose cache is old cannot make anybody vanish. Pure.
 */
import type { Json } from "../cni/json.ts";
import { type Access, accessOf, describeFailure } from "./access.ts";
import { Backoff, Jitter, spreadMs } from "./backoff.ts";
import { ErrorBody } from "./error-body.ts";
import type { Request } from "./http-request.ts";
import { ResponseHead } from "./http-response.ts";
import { ObjectReader, ObjectReceiver } from "./object-reader.ts";
import { INITIAL_EVENTS_END, ofEvents, ofList, type Selection } from "./selection.ts";
import { type Failure, failureOf, hasCause, isPassing, noAnswer, readFailure } from "./status.ts";
import { type Collection, page, question, streamingList, watchFrom } from "./watch-requests.ts";

/** Is told what is in the list, and what changes. */
export abstract class Observer {
  /** Added or changed; reduced to the members that were asked for. The same object can come again. */
  abstract put(object: Json): void;
  /** Gone. */
  abstract remove(object: Json): void;
  /** A new list begins: what is not put until `synced` is gone. It can begin once more before it is complete. */
  abstract begin(): void;
  /** The list is complete. */
  abstract synced(): void;
  /** For the log, a sentence for people. The watch goes on by itself. */
  abstract trouble(text: string): void;
}

/** What is to be done next: a request, after a pause. */
export interface Step {
  readonly waitMs: number;
  readonly request: Request;
}

/** How long the server keeps a watch open, up to a tenth less or more. It also bounds what fails without a word. */
const WATCH_S = 300;
/** How much longer than that it may take. */
const GRACE_MS = 30_000;
/** Until an answer begins: the server itself gives up after 60 s. */
const ANSWER_MS = 70_000;
/** Between two parts of a list. */
const SILENCE_MS = 30_000;
/** A watch that ends sooner, and without an event, has failed in some way. */
const SHORT_MS = 5000;
/** A watch that breaks off after this time has worked until then, also without an event. */
const STEADY_MS = 30_000;
/** So long without an event or bookmark is suspicious: bookmarks come each minute, sometimes every other. */
const SUSPICIOUS_MS = 200_000;
/** Before the next try of what only a person can mend. */
const SLOW_MS = 60_000;
/** After as many failures in a row, a watch begins with a new list. */
const MAX_FAILURES = 10;
/** Longer ones are not sent back to the server. */
const MAX_VERSION = 256;
const MAX_CONTINUE = 16_384;

/**
 * What the present request is: a streaming list; a page; a watch from a known version; or a question whether the server knows
 * that version. A watch from a version that the server has not reached, since its data were restored, is silent for ever.
 */
type Stage = "streaming list" | "page" | "watch" | "question";

/** How far the present request has come. */
class Progress {
  head = new ResponseHead(0, 1);
  isAnswered = false;
  /** The body of an answer that is none of success. */
  readonly error = new ErrorBody();
  failure: Failure | null = null;
  readonly startedAt: number;
  /** When the last part of the answer came; of a streaming list, the last object. */
  movedAt: number;
  /** Whether any object of a streaming list has come. */
  hasObject = false;
  /** Whether a version has come, by an event, a bookmark or a list. */
  hasVersion = false;

  constructor(now: number) {
    this.startedAt = now;
    this.movedAt = now;
  }
}

export class Watch extends ObjectReceiver {
  readonly #collection: Collection;
  readonly #observer: Observer;
  readonly #jitter: Jitter;
  readonly #backoff: Backoff;
  /** The pause before a list that all nodes make at once. */
  readonly #spreadMs: number;
  readonly #listSelection: Selection;
  readonly #eventSelection: Selection;

  #stage: Stage = "streaming list";
  #waitMs: number;
  /** Up to which change all is known. Opaque. Of a list in pages, the version of the first page. */
  #version = "";
  /** Where the next page begins; "" for the first, and behind the last. */
  #continue = "";
  /** Whether the server has no streaming lists. */
  #isStreamingRefused = false;
  /** Whether the next list is made of pages because streaming lists stall or fail. */
  #isPagingNext = false;
  #failures = 0;
  /** When a version last came: over several watches, since a proxy may break each of them off. */
  #versionAt = 0;
  /** The last sentence for the log; "" after a success. It is not repeated. */
  #said = "";

  /* Of the present request. */
  #access: Access;
  #reader: ObjectReader;
  #progress = new Progress(0);
  #timeoutS = WATCH_S;
  /** When the present part of the answer came. */
  #now = 0;

  /** @param node the name of this node, from which pauses follow */
  constructor(collection: Collection, observer: Observer, node: string) {
    super();
    this.#collection = collection;
    this.#observer = observer;
    this.#jitter = new Jitter(`${node} ${collection.path}`);
    this.#backoff = new Backoff(this.#jitter);
    this.#spreadMs = spreadMs(node);
    this.#waitMs = this.#spreadMs;
    this.#listSelection = ofList(collection.selection);
    this.#eventSelection = ofEvents(collection.selection);
    this.#reader = new ObjectReader(this.#eventSelection, this);
    this.#access = accessOf("GET", collection.path);
  }

  /** What to do next: at first, and whenever a request is over. */
  next(): Step {
    const waitMs = this.#waitMs;
    this.#waitMs = 0;
    this.#timeoutS = this.#jitter.between(WATCH_S * 0.9, WATCH_S * 1.1);
    const request = this.#request();
    this.#access = accessOf(request.method, request.target);
    return { waitMs, request };
  }

  /** The request is sent now. @param now a time in ms, here and below */
  sent(now: number): void {
    this.#reader = new ObjectReader(this.#isList() ? this.#listSelection : this.#eventSelection, this);
    this.#progress = new Progress(now);
  }

  head(head: ResponseHead, now: number): void {
    this.#progress.head = head;
    this.#progress.isAnswered = true;
    this.#progress.movedAt = now;
    const isNewList = this.#stage === "streaming list" || (this.#stage === "page" && this.#continue === "");
    if (head.status === 200 && isNewList) this.#observer.begin();
  }

  /**
   * A part of the answer's body.
   * @returns false if no more of it is wanted: the connection is to be closed, and `stopped` called
   */
  body(bytes: Uint8Array, start: number, end: number, now: number): boolean {
    const progress = this.#progress;
    if (progress.head.status !== 200) {
      progress.error.add(bytes, start, end);
      return true;
    }
    this.#now = now;
    if (this.#stage !== "streaming list") progress.movedAt = now;
    if (!this.#reader.feed(bytes, start, end) && progress.failure === null) {
      progress.failure = noAnswer(this.#reader.problem);
    }
    return progress.failure === null;
  }

  /** The answer is complete. */
  complete(now: number): void {
    const progress = this.#progress;
    if (progress.head.status !== 200) progress.failure = readFailure(progress.head, progress.error.bytes);
    else if (!this.#reader.isBetween) this.#fail("the answer ends in the middle of an object");
    this.#over(now);
  }

  /** The answer was not read to its end, as `body` said. */
  stopped(now: number): void {
    this.#over(now);
  }

  /** There was no answer, or not all of it. @param reason a phrase for people */
  broken(reason: string, now: number): void {
    this.#fail(reason);
    this.#over(now);
  }

  /** How long the present request may still take, in ms; if it is nothing, `timedOut` is to be called. */
  remainingMs(now: number): number {
    const { isAnswered, movedAt, startedAt } = this.#progress;
    const total = startedAt + this.#timeoutS * 1000 + GRACE_MS - now;
    if (!isAnswered) return movedAt + ANSWER_MS - now;
    if (this.#stage === "watch") return total;
    if (this.#stage !== "streaming list") return movedAt + SILENCE_MS - now;
    return Math.min(total, movedAt + (this.#progress.hasObject ? SILENCE_MS : ANSWER_MS) - now);
  }

  /** The present request has taken too long: its connection is closed. */
  timedOut(now: number): void {
    /* Also a server that does not know the parameter: it sends the objects, but not the bookmark that ends them. */
    if (this.#stage === "streaming list") this.#isPagingNext = true;
    this.broken("the server does not go on with its answer", now);
  }

  /** An object of a list. */
  item(object: Json): void {
    if (this.#stage === "page") this.#observer.put(object);
  }

  /** An event, or what is left of a list without its items. */
  whole(object: Json): void {
    if (this.#isList()) this.#listRead(object);
    else this.#event(textOf(object, "type"), object.get("object"));
  }

  #isList(): boolean {
    return this.#stage === "page" || this.#stage === "question";
  }

  #request(): Request {
    switch (this.#stage) {
      case "streaming list":
        return streamingList(this.#collection, this.#timeoutS);
      case "page":
        return page(this.#collection, this.#continue);
      case "watch":
        return watchFrom(this.#collection, this.#timeoutS, this.#version);
      default:
        return question(this.#collection, this.#version);
    }
  }

  #listRead(list: Json): void {
    const version = versionOf(list);
    const metadata = list.get("metadata");
    const next = metadata === null ? "" : textOf(metadata, "continue");
    if (version === "" || next.length > MAX_CONTINUE) {
      this.#fail("the list has no usable resourceVersion or continue token");
      return;
    }
    this.#progress.hasVersion = true;
    if (this.#stage !== "page") return;
    /* Later pages are of the same version, or a state of some later moment: the watch then brings what happened meanwhile. */
    if (this.#continue === "") this.#version = version;
    this.#continue = next;
  }

  #event(type: string, object: Json | null): void {
    if (object === null || object.kind !== "object") {
      this.#fail("an event has no object");
      return;
    }
    if (this.#progress.failure !== null) return;
    const isListing = this.#stage === "streaming list";
    switch (type) {
      case "ADDED":
        this.#progress.hasObject = true;
        if (isListing) this.#progress.movedAt = this.#now;
        this.#observer.put(object);
        break;
      case "MODIFIED":
        this.#observer.put(object);
        break;
      case "DELETED":
        this.#observer.remove(object);
        break;
      case "BOOKMARK":
        break;
      case "ERROR":
        this.#progress.failure = failureOf(object, 0, 0);
        return;
      default:
        this.#fail("an event has an unknown type");
        return;
    }
    if (isListing && (type !== "BOOKMARK" || !isEndMark(object))) return;
    const version = versionOf(object);
    if (version === "") {
      this.#fail("an event has no usable resourceVersion");
      return;
    }
    this.#version = version;
    this.#progress.hasVersion = true;
    this.#versionAt = this.#now;
    if (isListing) this.#listComplete();
    else this.#succeeded();
  }

  #listComplete(): void {
    this.#stage = "watch";
    this.#failures = 0;
    this.#versionAt = this.#now;
    this.#said = "";
    this.#observer.synced();
  }

  /** The watch has shown that it works. A list alone does not: what follows it may fail each time. */
  #succeeded(): void {
    this.#failures = 0;
    this.#said = "";
    this.#backoff.reset();
  }

  /** The request is over: chooses the next. */
  #over(now: number): void {
    const { failure } = this.#progress;
    switch (this.#stage) {
      case "streaming list":
        if (failure !== null && isRefused(failure)) {
          this.#isStreamingRefused = true;
          this.#startList(0);
        } else {
          const cause = failure === null ? noAnswer("the list ends before it is complete") : failure;
          const pause = this.#pauseAfter(cause);
          if (this.#failures >= MAX_FAILURES) this.#isPagingNext = true;
          this.#startList(pause);
        }
        break;
      case "page":
        this.#pageOver(failure);
        break;
      case "watch":
        if (failure === null) this.#watchOver(now);
        else this.#watchFailed(failure, now);
        break;
      default:
        this.#questionOver(failure, now);
    }
  }

  #pageOver(failure: Failure | null): void {
    if (failure === null && this.#progress.hasVersion) {
      if (this.#continue === "") this.#listComplete();
      return;
    }
    const cause = failure === null ? noAnswer("the answer is no list") : failure;
    const pause = this.#pauseAfter(cause);
    if (cause.code === 410 || isRefused(cause) || this.#failures >= MAX_FAILURES) this.#startList(pause);
    else this.#waitMs = pause;
  }

  #watchOver(now: number): void {
    const { hasVersion, startedAt } = this.#progress;
    const lasted = now - startedAt;
    if (hasVersion || lasted >= SHORT_MS) this.#succeeded();
    else this.#waitMs = this.#backoff.next();
    this.#questionSilence(now);
  }

  #watchFailed(failure: Failure, now: number): void {
    const { isAnswered, startedAt } = this.#progress;
    if (isAnswered && now - startedAt >= STEADY_MS) this.#succeeded();
    if (failure.code === 410) {
      /* The version is too old. It is for all nodes at once, if the server has started again. */
      this.#startList(Math.max(this.#spreadMs, this.#backoff.next()));
      return;
    }
    this.#waitMs = this.#pauseAfter(failure);
    if (isRefused(failure) || this.#failures >= MAX_FAILURES) this.#startList(this.#waitMs);
    else if (isAnswered) this.#questionSilence(now);
  }

  #questionSilence(now: number): void {
    if (now - this.#versionAt >= SUSPICIOUS_MS) this.#stage = "question";
  }

  #questionOver(failure: Failure | null, now: number): void {
    this.#stage = "watch";
    if (failure === null) {
      this.#versionAt = now;
      return;
    }
    if (hasCause(failure, "ResourceVersionTooLarge") || failure.code === 410) {
      this.#say(
        `${this.#access.resource}: the API server has an older state than it had before; the list is read again`,
      );
      this.#startList(this.#spreadMs);
      return;
    }
    this.#waitMs = this.#pauseAfter(failure);
  }

  #startList(waitMs: number): void {
    this.#stage = this.#isStreamingRefused || this.#isPagingNext ? "page" : "streaming list";
    this.#isPagingNext = false;
    this.#continue = "";
    this.#waitMs = waitMs;
  }

  /** Reports a failure. Returns the pause before the next try. */
  #pauseAfter(failure: Failure): number {
    this.#failures += 1;
    this.#say(describeFailure(this.#access, failure));
    /* A token is renewed by itself, after a state that is too old the list is read again. */
    if (isPassing(failure) || failure.code === 401 || failure.code === 410) {
      return Math.max(this.#backoff.next(), failure.retryAfterMs);
    }
    return Math.max(this.#jitter.between(SLOW_MS * 0.8, SLOW_MS * 1.2), failure.retryAfterMs);
  }

  #say(text: string): void {
    if (text !== this.#said) this.#observer.trouble(text);
    this.#said = text;
  }

  #fail(message: string): void {
    if (this.#progress.failure === null) this.#progress.failure = noAnswer(message);
  }
}

/** Whether the server does not take the parameters of the request. */
function isRefused(failure: Failure): boolean {
  return failure.code === 400 || failure.code === 422;
}

/** Whether a bookmark ends the objects of a streaming list. */
function isEndMark(bookmark: Json): boolean {
  const metadata = bookmark.get("metadata");
  const annotations = metadata === null ? null : metadata.get("annotations");
  return annotations !== null && textOf(annotations, INITIAL_EVENTS_END) === "true";
}

/** The resourceVersion of an object or a list; "" if it has none that can be sent back. */
function versionOf(object: Json): string {
  const metadata = object.get("metadata");
  const version = metadata === null ? "" : textOf(metadata, "resourceVersion");
  return version.length > MAX_VERSION ? "" : version;
}

function textOf(object: Json, key: string): string {
  const value = object.get(key);
  return value === null || value.kind !== "string" ? "" : value.text;
}
