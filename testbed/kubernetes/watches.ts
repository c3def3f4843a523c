/** A watch: the objects that exist, the changes after them, bookmarks, and the ways in which it ends. */
import type { Answer } from "./answer.ts";
import type { Appointment, Clock } from "./clock.ts";
import { failureStatus } from "./failure.ts";
import { goJson } from "./json.ts";
import { type Collection, selectorOf } from "./lists.ts";
import type { ListOptions } from "./options.ts";
import { bookmarkBytes, eventBytes, objectBytes, type View } from "./presentation.ts";
import type { Selector } from "./selectors.ts";
import { type Change, Revision, type Store } from "./store.ts";

/** A watch without timeoutSeconds ends after one to two times this, ms. */
const MINIMUM_REQUEST = 1800_000;
/** The last bookmark comes so long before the end, ms. */
const LAST_BOOKMARK = 2000;

/** What tests change about watches. */
export interface WatchSettings {
  /** Between two bookmarks, ms. */
  bookmarkEvery: number;
  /** Nothing but bookmarks is sent; what happens meanwhile is lost to the client. */
  bookmarksOnly: boolean;
  /** Nothing at all is sent, and the watch does not end. */
  silent: boolean;
  /** The server is going down: watches end at this time of the clock. */
  endBy: number;
}

export interface WatchParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly settings: WatchSettings;
  readonly collection: Collection;
  readonly options: ListOptions;
  readonly view: View;
}

export interface WatchError {
  readonly code: number;
  readonly reason: string;
  readonly message: string;
}

export class Watch {
  readonly #answer: Answer;
  readonly #parts: WatchParts;
  readonly #selects: Selector;
  readonly #deadline: number;
  /** All changes up to this version have been looked at. */
  #seen: number;
  #bookmarkAt: number;
  #wake: () => void = () => undefined;
  #woken = false;
  #stopped: "orderly" | "broken" | null = null;
  #error: WatchError | null = null;

  /** @throws Failure 400 for selectors */
  constructor(answer: Answer, parts: WatchParts) {
    const { clock, options, store, settings } = parts;
    this.#answer = answer;
    this.#parts = parts;
    this.#selects = selectorOf(parts.collection, options);
    const minutes = options.timeoutSeconds > 0 ? options.timeoutSeconds * 1000 : MINIMUM_REQUEST * (1 + Math.random());
    this.#deadline = clock.now() + minutes;
    this.#seen = startOf(options) ?? store.version;
    this.#bookmarkAt = clock.now() + settings.bookmarkEvery;
  }

  /** Runs until it ends, by its time, by an error, by `stop` or with the connection. @throws Gone */
  async run(): Promise<void> {
    const { store, collection, options, settings } = this.#parts;
    const start = startOf(options);
    this.#answer.begin(200, [["Content-Type", "application/json"]]);
    await this.#answer.flush();
    const unlisten = store.listen(collection.kind, () => this.rouse());
    const stay = this.#answer.wire.onGone(() => this.stop("broken"));
    try {
      if (this.#running() && start !== null && start < store.oldestWatch) this.#tooOld(start);
      if (this.#running() && start === null && !settings.silent) await this.#sendExisting();
      while (this.#running()) {
        await this.#catchUp();
        if (this.#parts.clock.now() >= this.#end()) break;
        if (this.#running()) await this.#sleep();
      }
      if (this.#stopped === "broken") return;
      if (this.#error !== null) await this.#send("ERROR", Buffer.from(goJson(failureStatus(this.#error))));
      await this.#answer.end();
    } finally {
      unlisten();
      stay();
    }
  }

  /** Ends it with a last chunk, or without a word when the connection is to be broken off. */
  stop(how: "orderly" | "broken" = "orderly"): void {
    this.#stopped ??= how;
    this.rouse();
  }

  /** Ends it with an ERROR event; before it has begun to run, that is all it sends. */
  fail(error: WatchError): void {
    this.#error ??= error;
    this.rouse();
  }

  /** Has it look at changes, times and settings again. */
  rouse(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Sends what has happened, and a bookmark if it is time for one. */
  async #catchUp(): Promise<void> {
    const { store, collection, settings, options, clock } = this.#parts;
    this.#woken = false;
    if (settings.silent || this.#future()) return;
    if (store.lost(collection.kind, this.#seen)) return this.#tooOld(this.#seen);
    await this.#sendChanges();
    if (options.allowBookmarks && clock.now() >= this.#bookmarkAt) await this.#sendBookmark();
    if (this.#running()) await this.#answer.flush();
  }

  async #sendExisting(): Promise<void> {
    const { store, collection, options, view } = this.#parts;
    const existing = store.list(collection.kind);
    const version = store.version;
    this.#seen = version;
    for (const revision of existing) {
      if (this.#selects(revision.object)) await this.#send("ADDED", objectBytes(revision, view));
    }
    if (!options.allowBookmarks) return;
    this.#answer.record.events++;
    await this.#answer.write(bookmarkBytes(collection.kind, version, view, true));
  }

  async #sendChanges(): Promise<void> {
    const { store, collection, settings, view } = this.#parts;
    const { version } = store;
    for (const change of store.changesAfter(collection.kind, this.#seen)) {
      this.#seen = change.version;
      const event = settings.bookmarksOnly ? null : eventOf(change, this.#selects);
      if (event !== null) await this.#send(event.type, objectBytes(event.revision, view));
      if (!this.#running()) return;
    }
    this.#seen = Math.max(this.#seen, version);
  }

  async #sendBookmark(): Promise<void> {
    const { store, collection, view, clock, settings } = this.#parts;
    const last = this.#end() - LAST_BOOKMARK;
    const next = clock.now() + settings.bookmarkEvery;
    this.#bookmarkAt = clock.now() < last ? Math.min(next, last) : next;
    this.#answer.record.events++;
    await this.#answer.write(bookmarkBytes(collection.kind, store.version, view, false));
  }

  async #send(type: string, object: Buffer): Promise<void> {
    this.#answer.record.events++;
    await this.#answer.write(eventBytes(type, object));
  }

  /** A version from the future: the server waits for it without a word. */
  #future(): boolean {
    return this.#seen > this.#parts.store.version;
  }

  #tooOld(version: number): void {
    const { collection, store } = this.#parts;
    const message = collection.kind.cached
      ? `too old resource version: ${version} (${store.oldestWatch})`
      : "The resourceVersion for the provided watch is too old.";
    this.fail({ code: 410, reason: "Expired", message });
  }

  #running(): boolean {
    return this.#stopped === null && this.#error === null;
  }

  #end(): number {
    const { silent, endBy } = this.#parts.settings;
    return silent ? Number.POSITIVE_INFINITY : Math.min(this.#deadline, endBy);
  }

  /** Until something happens: a change, the next bookmark, the end. */
  async #sleep(): Promise<void> {
    const { clock, options, settings } = this.#parts;
    if (this.#woken) return;
    const last = this.#end() - LAST_BOOKMARK;
    if (clock.now() < last) this.#bookmarkAt = Math.min(this.#bookmarkAt, last);
    const bookmark =
      options.allowBookmarks && !this.#future() && !settings.silent ? this.#bookmarkAt : Number.POSITIVE_INFINITY;
    const next = Math.max(0, Math.min(bookmark, this.#end()) - clock.now());
    let appointment: Appointment | null = null;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      appointment = clock.after(next, resolve);
    });
    (appointment as Appointment | null)?.cancel();
  }
}

/** The version to begin after; null for "with all that exists". */
function startOf({ resourceVersion, sendInitialEvents }: ListOptions): number | null {
  if (sendInitialEvents === true || resourceVersion === "" || resourceVersion === "0") return null;
  return Number(resourceVersion);
}

interface Event {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly revision: Revision;
}

/** What a change is for a watch with a selector; null if it is nothing to it. */
function eventOf({ before, after, last, version }: Change, selects: Selector): Event | null {
  const was = before !== null && selects(before.object);
  const is = after !== null && selects(after.object);
  if (is && after !== null) return { type: was ? "MODIFIED" : "ADDED", revision: after };
  if (!was || before === null) return null;
  if (after === null) return { type: "DELETED", revision: last };
  return { type: "DELETED", revision: withVersion(before, version) };
}

const renumbered = new WeakMap<Revision, Revision>();

/** The state before a change that takes an object out of a selection, with the version of the change. */
function withVersion(before: Revision, version: number): Revision {
  let revision = renumbered.get(before);
  if (revision?.version !== version) {
    const metadata = { ...before.object.metadata, resourceVersion: String(version) };
    revision = new Revision(version, { ...before.object, metadata });
    renumbered.set(before, revision);
  }
  return revision;
}
