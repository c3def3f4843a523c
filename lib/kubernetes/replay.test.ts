/**
 * What a real API server has sent, through the parser, the reader and the watch, in the pieces it came in and byte by byte.
 * A small selection of recordings is in the repository; where all of them lie beside it, all are read.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Recording, recordingsIn } from "../../testbed/kubernetes/recorded-answers.ts";
import { formatJsonLine, type Json } from "../cni/json.ts";
import { accessOf, describeFailure } from "./access.ts";
import { ResponseHead, ResponseParser, ResponseReceiver } from "./http-response.ts";
import { ObjectReader, ObjectReceiver } from "./object-reader.ts";
import { ofEvents, ofList, Selection } from "./selection.ts";
import { readFailure } from "./status.ts";
import { Observer, Watch } from "./watch.ts";

const repository = join(import.meta.dirname, "../..");
const recordings = new Map<string, Recording>();
for (const directory of ["testbed/kubernetes/recordings", "../shared/data/kubernetes-api"]) {
  for (const recording of recordingsIn(join(repository, directory))) recordings.set(recording.name, recording);
}
/** Byte by byte, the largest would take long. */
const SMALL = 20_000;

class Received extends ResponseReceiver {
  readonly heads: ResponseHead[] = [];
  readonly parts: Buffer[] = [];
  completed = 0;

  head(head: ResponseHead): void {
    this.heads.push(head);
  }

  body(bytes: Uint8Array, start: number, end: number): void {
    this.parts.push(Buffer.from(bytes.subarray(start, end)));
  }

  complete(): void {
    this.completed += 1;
  }
}

function* pieces(bytes: Buffer, cuts: readonly number[]): Generator<readonly [number, number]> {
  let start = 0;
  for (const end of [...cuts, bytes.length]) {
    yield [start, end];
    start = end;
  }
}

const everyByte = (bytes: Buffer): number[] => Array.from({ length: bytes.length }, (_, i) => i);
const waysOf = (bytes: Buffer, cuts: readonly number[]): (readonly number[])[] =>
  bytes.length <= SMALL ? [cuts, [], everyByte(bytes)] : [cuts, []];
const isEncoded = (recording: Recording): boolean => recording.bytes.includes("Content-Encoding:");

const all = [...recordings.values()];
const json = all.filter((one) => one.status === 200 && !isEncoded(one) && one.body.toString().startsWith("{"));
const watches = json.filter((one) => /[?&]watch=/.test(one.target) && one.body.toString().startsWith('{"type":'));
const lists = json.filter(
  (one) => one.isComplete && !watches.includes(one) && /"items": ?\[/.test(one.body.toString()),
);

test("there are recordings of each sort", () => {
  expect(all.length).toBeGreaterThan(20);
  expect(watches.length).toBeGreaterThan(5);
  expect(lists.length).toBeGreaterThan(3);
});

describe("the parser", () => {
  test.each(all.map((one) => [one.name, one] as const))("%s", (_name, recording) => {
    for (const cuts of waysOf(recording.bytes, recording.cuts)) {
      const received = new Received();
      const parser = new ResponseParser(received);
      parser.begin(recording.method);
      for (const [start, end] of pieces(recording.bytes, cuts)) parser.feed(recording.bytes, start, end);
      if (isEncoded(recording)) {
        expect(parser.problem).toBe('the answer is encoded as "gzip", which nobody asked for');
        continue;
      }
      expect(parser.problem).toBe("");
      expect(received.heads[0]?.status).toBe(recording.status);
      if (recording.method !== "HEAD") expect(Buffer.concat(received.parts).equals(recording.body)).toBe(true);
      expect(parser.isDone).toBe(recording.isComplete);
      expect(received.completed).toBe(recording.isComplete ? 1 : 0);
      if (!recording.isComplete) {
        parser.closed();
        expect(parser.problem).toBe("the connection was closed in the middle of the answer");
      }
    }
  });
});

/** What a selection keeps of a value, in the plainest way. */
function reduce(value: unknown, selection: Selection): unknown {
  if (selection.isWhole || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => reduce(item, selection));
  const kept: [string, unknown][] = [];
  for (const [name, member] of Object.entries(value)) {
    const bytes = Buffer.from(name);
    const below = selection.find(bytes, bytes.length);
    if (below !== null) kept.push([name, reduce(member, below)]);
  }
  return Object.fromEntries(kept);
}

class Objects extends ObjectReceiver {
  readonly items: unknown[] = [];
  readonly wholes: unknown[] = [];

  item(object: Json): void {
    this.items.push(JSON.parse(formatJsonLine(object)));
  }

  whole(object: Json): void {
    this.wholes.push(JSON.parse(formatJsonLine(object)));
  }
}

function readObjects(body: Buffer, selection: Selection, cuts: readonly number[]): Objects {
  const objects = new Objects();
  const reader = new ObjectReader(selection, objects);
  for (const [start, end] of pieces(body, cuts)) reader.feed(body, start, end);
  expect(reader.problem).toBe("");
  return objects;
}

const everything = new Selection();
everything.isWhole = true;
const some = new Selection()
  .keep(["metadata", "name"])
  .keep(["metadata", "uid"])
  .keep(["metadata", "annotations"])
  .keep(["metadata", "labels", "kubernetes.io/os"])
  .keep(["spec", "podCIDRs"])
  .keep(["status", "addresses"])
  .keep(["status", "conditions", "type"]);

describe("the reader: lists", () => {
  test.each(lists.map((one) => [one.name, one.body] as const))("%s", (_name, body) => {
    const parsed = JSON.parse(body.toString()) as { items: unknown[]; metadata: Record<string, string> };
    for (const selection of [everything, some]) {
      for (const cuts of waysOf(body, [])) {
        const { items, wholes } = readObjects(body, ofList(selection), cuts);
        expect(items).toEqual(parsed.items.map((item) => reduce(item, selection)));
        expect(wholes).toHaveLength(1);
        const { metadata } = wholes[0] as typeof parsed;
        expect(metadata.resourceVersion).toBe(parsed.metadata.resourceVersion);
        expect(metadata.continue).toBe(parsed.metadata.continue);
      }
    }
  });
});

interface Event {
  readonly type: string;
  readonly object: {
    readonly code?: number;
    readonly metadata: { readonly resourceVersion: string; readonly annotations?: Record<string, string> };
  };
}

/** The events of a watch: of a body that is cut off, those whose lines are complete. */
function eventsOf(body: Buffer): Event[] {
  const lines = body.toString().split("\n");
  lines.pop();
  return lines.map((line) => JSON.parse(line) as Event);
}

describe("the reader: events", () => {
  test.each(watches.map((one) => [one.name, one.body] as const))("%s", (_name, body) => {
    for (const selection of [everything, some]) {
      const kept = ofEvents(selection);
      const expected = eventsOf(body).map((event) => reduce(event, kept));
      for (const cuts of waysOf(body, [])) expect(readObjects(body, kept, cuts).wholes).toEqual(expected);
    }
  });
});

class Log extends Observer {
  readonly log: string[] = [];

  put(object: Json): void {
    this.log.push(`put ${formatJsonLine(object)}`);
  }

  remove(object: Json): void {
    this.log.push(`remove ${formatJsonLine(object)}`);
  }

  begin(): void {
    this.log.push("begin");
  }

  synced(): void {
    this.log.push("synced");
  }

  trouble(text: string): void {
    this.log.push(text);
  }
}

describe("the watch takes a recorded stream for a streaming list, then for what follows it", () => {
  test.each(watches.map((one) => [one.name, one] as const))("%s", (_name, { body, isComplete }) => {
    const events = eventsOf(body);
    const isEnd = ({ object }: Event): boolean => object.metadata.annotations?.["k8s.io/initial-events-end"] === "true";
    const errorAt = events.findIndex(({ type }) => type === "ERROR");
    const good = errorAt < 0 ? events : events.slice(0, errorAt);
    const expected = ["begin"];
    for (const event of good) {
      const object = JSON.stringify(reduce(event.object, objectSelection()));
      if (event.type === "BOOKMARK") expected.push(...(isEnd(event) ? ["synced"] : []));
      else expected.push(`${event.type === "DELETED" ? "remove" : "put"} ${object}`);
    }
    for (const cuts of waysOf(body, [])) {
      const observer = new Log();
      const watch = watchOf(observer);
      watch.sent(0);
      watch.head(new ResponseHead(200, 1), 0);
      let goesOn = true;
      for (const [start, end] of pieces(body, cuts)) goesOn &&= watch.body(body, start, end, 0);
      expect(goesOn).toBe(errorAt < 0);
      expect(observer.log).toEqual(expected);
      if (!goesOn) watch.stopped(0);
      else if (isComplete) watch.complete(0);
      else watch.broken("closed", 0);
      const version = good.at(-1)?.object.metadata.resourceVersion;
      const { target } = watch.next().request;
      if (!good.some(isEnd) || events[errorAt]?.object.code === 410) expect(target).toContain("sendInitialEvents=true");
      else expect(target).toContain(`&resourceVersion=${version}`);
    }
  });

  const selection = new Selection().keep(["metadata", "name"]).keep(["metadata", "uid"]);
  const watchOf = (observer: Observer): Watch => {
    const path = "/api/v1/nodes";
    const watch = new Watch(
      { path, fieldSelector: "", labelSelector: "", selection, isMetadataOnly: false },
      observer,
      "n",
    );
    watch.next();
    return watch;
  };
  /** What is kept of an event's object. */
  const objectSelection = (): Selection => ofEvents(selection).member("object");
});

describe("errors are described in one line", () => {
  test.each(all.filter((one) => one.status >= 400).map((one) => [one.name, one] as const))("%s", (_name, recording) => {
    const failure = readFailure(new ResponseHead(recording.status, 1), recording.body);
    const text = describeFailure(accessOf(recording.method, recording.target), failure);
    expect(text).toMatch(/^cannot [a-z]+ [^\n]*: the API server answers [45]\d\d(, .+)?$/);
    expect(text).not.toMatch(/answers \d+, \{/);
    expect(text.length).toBeLessThan(1200);
  });
});
