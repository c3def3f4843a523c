/** Answers of HTTP/1.1: framing, limits, what is refused, and that it does not matter how the bytes are cut. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ResponseHead, ResponseParser, ResponseReceiver } from "./http-response.ts";

class Recorder extends ResponseReceiver {
  heads: ResponseHead[] = [];
  text = "";
  completed = 0;

  head(head: ResponseHead): void {
    this.heads.push(head);
  }

  body(bytes: Uint8Array, start: number, end: number): void {
    expect(start).toBeLessThan(end);
    this.text += Buffer.from(bytes.subarray(start, end)).toString("latin1");
  }

  complete(): void {
    this.completed += 1;
  }
}

interface Outcome {
  readonly status: number;
  readonly headers: string[];
  readonly body: string;
  readonly completed: number;
  readonly problem: string;
  readonly canReuse: boolean;
}

const bytesOf = (text: string): Uint8Array => Buffer.from(text, "latin1");

/** Reads one answer. @param cuts where the bytes are cut @param isClosed whether the connection is closed behind them */
function read(
  text: string,
  {
    cuts = [],
    method = "GET",
    isClosed = false,
  }: { cuts?: readonly number[]; method?: string; isClosed?: boolean } = {},
): Outcome {
  const recorder = new Recorder();
  const parser = new ResponseParser(recorder);
  parser.begin(method);
  const bytes = bytesOf(text);
  let start = 0;
  for (const end of [...cuts, bytes.length]) {
    parser.feed(bytes, start, end);
    start = end;
  }
  if (isClosed) parser.closed();
  const { names = [], values = [], status = 0 } = recorder.heads[0] ?? {};
  return {
    status,
    headers: names.map((name, i) => `${name}: ${values[i]}`),
    body: recorder.text,
    completed: recorder.completed,
    problem: parser.problem,
    canReuse: parser.canReuse,
  };
}

const answer = (headers: readonly string[], body = "", status = "200 OK"): string =>
  [`HTTP/1.1 ${status}`, ...headers, "", body].join("\r\n");

const CHUNKED = "Transfer-Encoding: chunked";
const whole = { completed: 1, problem: "" };

describe("the length of a body", () => {
  test("by Content-Length", () => {
    expect(read(answer(["Content-Length: 5"], "hello"))).toMatchObject({ ...whole, body: "hello", canReuse: true });
    expect(read(answer(["Content-Length: 0"]))).toMatchObject({ ...whole, body: "", canReuse: true });
    expect(read(answer(["Content-Length: 6"], "hello"))).toMatchObject({ completed: 0, problem: "", canReuse: false });
  });

  test("by chunks, with extensions and trailers", () => {
    const body = '5;name="a b"\r\nhello\r\n006\r\n world\r\n0;last\r\nX-Trailer: 1\r\n\r\n';
    expect(read(answer([CHUNKED], body))).toMatchObject({ ...whole, body: "hello world", canReuse: true });
    expect(read(answer(["transfer-encoding: Chunked"], "A\r\n0123456789\r\n0\r\n\r\n"))).toMatchObject(whole);
  });

  test("by the end of the connection", () => {
    const open = read(answer([], "hello"));
    expect(open).toMatchObject({ completed: 0, body: "hello", problem: "" });
    expect(read(answer([], "hello"), { isClosed: true })).toMatchObject({ ...whole, body: "hello", canReuse: false });
  });

  test("none: HEAD, 204, 304", () => {
    expect(read(answer(["Content-Length: 5"]), { method: "HEAD" })).toMatchObject({ ...whole, canReuse: true });
    expect(read(answer([], "", "204 No Content"))).toMatchObject({ ...whole, canReuse: true });
    expect(read(answer([CHUNKED], "", "304 Not Modified"))).toMatchObject({ ...whole, canReuse: true });
  });

  test("a chunk is handed on as it arrives, however long it is", () => {
    const recorder = new Recorder();
    const parser = new ResponseParser(recorder);
    parser.begin("GET");
    const head = bytesOf(answer([CHUNKED], "ffffffffffff\r\nab"));
    expect(parser.feed(head, 0, head.length)).toBe(true);
    expect(recorder.text).toBe("ab");
    expect(parser.isDone).toBe(false);
  });
});

describe("heads", () => {
  test("names are compared without case, values are trimmed, repeated ones are joined", () => {
    const recorder = new Recorder();
    const parser = new ResponseParser(recorder);
    parser.begin("GET");
    const bytes = bytesOf(answer(["WARNING:  a\t", "Content-Length: 0", "warning: b: c", "X:"]));
    parser.feed(bytes, 0, bytes.length);
    const [head] = recorder.heads;
    expect(head?.header("warning")).toBe("a, b: c");
    expect(head?.header("x")).toBe("");
    expect(head?.header("absent")).toBe("");
  });

  test("interim answers are skipped", () => {
    const interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    expect(read(interim + answer(["Content-Length: 2"], "ok"))).toMatchObject({ ...whole, status: 200, body: "ok" });
    expect(read("HTTP/1.1 100 Continue\r\n\r\n".repeat(9)).problem).toBe("more than 8 interim answers");
  });

  test("the connection ends after Connection: close, HTTP/1.0, and what nobody asked for", () => {
    expect(read(answer(["Connection: keep-alive, Close", "Content-Length: 0"])).canReuse).toBe(false);
    expect(read("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")).toMatchObject({ ...whole, canReuse: false });
    expect(read(`${answer(["Content-Length: 2"], "ok")}HTTP/1.1 200 OK`)).toMatchObject({ ...whole, canReuse: false });
  });

  test("one answer after another", () => {
    const recorder = new Recorder();
    const parser = new ResponseParser(recorder);
    for (const body of ["one", "two"]) {
      parser.begin("GET");
      expect(parser.isDone).toBe(false);
      expect(parser.hasBegun).toBe(false);
      const bytes = bytesOf(answer(["Content-Length: 3"], body));
      parser.feed(bytes, 0, bytes.length);
      expect(parser.canReuse).toBe(true);
    }
    expect(recorder.text).toBe("onetwo");
  });
});

describe("what is refused", () => {
  const line = "a line of the answer's head has a control character, or does not end with CR LF";
  test.each([
    ["HTTP/2 200 OK\r\n", 'the answer is not HTTP/1.1: it begins with "HTTP/2 200 OK"'],
    ["<html>\r\n", 'the answer is not HTTP/1.1: it begins with "<html>"'],
    ["HTTP/1.1 2x0 OK\r\n", 'the answer is not HTTP/1.1: it begins with "HTTP/1.1 2x0 OK"'],
    ["HTTP/1.1 099 OK\r\n", 'the answer is not HTTP/1.1: it begins with "HTTP/1.1 099 OK"'],
    ["HTTP/1.1 2000\r\n", 'the answer is not HTTP/1.1: it begins with "HTTP/1.1 2000"'],
    ["HTTP/1.1 200 OK\n", line],
    ["HTTP/1.1 200 O\u0000K\r\n", line],
    ["\r\n", 'the answer is not HTTP/1.1: it begins with ""'],
    [answer(["No colon"]), 'the answer has a malformed header: "No colon"'],
    [answer(["Bad name: x"]), 'the answer has a malformed header: "Bad name: x"'],
    [answer([": x"]), 'the answer has a malformed header: ": x"'],
    [answer(["A: b", " folded"]), 'the answer has a malformed header: " folded"'],
    [answer(["A: b\rc"]), line],
    [answer(["Content-Length: -1"]), 'the answer has the Content-Length "-1"'],
    [answer(["Content-Length: 1e3"]), 'the answer has the Content-Length "1e3"'],
    [answer(["Content-Length: 5", "Content-Length: 5"]), 'the answer has the Content-Length "5, 5"'],
    [answer(["Content-Length: 1000000000000000"]), 'the answer has the Content-Length "1000000000000000"'],
    [
      answer(["Content-Length: 5", CHUNKED]),
      'the length of the answer is ambiguous: Transfer-Encoding "chunked", Content-Length "5"',
    ],
    [
      answer(["Transfer-Encoding: gzip, chunked"]),
      'the length of the answer is ambiguous: Transfer-Encoding "gzip, chunked", Content-Length ""',
    ],
    [
      `HTTP/1.0 200 OK\r\n${CHUNKED}\r\n\r\n`,
      'the length of the answer is ambiguous: Transfer-Encoding "chunked", Content-Length ""',
    ],
    [answer(["Content-Encoding: gzip"]), 'the answer is encoded as "gzip", which nobody asked for'],
    [answer([], "", "101 Switching Protocols"), "the server wants to change the protocol, which nobody asked for"],
    [answer([CHUNKED], "x\r\n"), 'a chunk of the answer has the length "x"'],
    [answer([CHUNKED], "\r\n"), 'a chunk of the answer has the length ""'],
    [answer([CHUNKED], "-1\r\n"), 'a chunk of the answer has the length "-1"'],
    [answer([CHUNKED], "1000000000000\r\n"), 'a chunk of the answer has the length "1000000000000"'],
    [answer([CHUNKED], "2\r\nabc\r\n"), "a chunk of the answer is longer than its length says"],
    [answer([CHUNKED], "2\r\nabc\n\r\n"), line],
    [answer([CHUNKED], "2\r\nabX\r\n"), "a chunk of the answer is longer than its length says"],
    [answer([CHUNKED], `0\r\n${"A: b\r\n".repeat(20_000)}`), "the answer's head is longer than 65536 bytes"],
    [answer([`A: ${"b".repeat(16_400)}`]), "a line of the answer's head is longer than 16384 bytes"],
    [`HTTP/1.1 200 ${"b".repeat(20_000)}`, "a line of the answer's head is longer than 16384 bytes"],
    [answer(Array.from({ length: 20_000 }, () => "A: b")), "the answer's head is longer than 65536 bytes"],
  ])("%#: %j", (text, problem) => {
    const outcome = read(text);
    expect(outcome.problem).toBe(problem);
    expect(outcome).toMatchObject({ completed: 0, canReuse: false });
  });

  test("an answer that is cut off", () => {
    const text = answer([CHUNKED], "5\r\nhello\r\n0\r\n\r\n");
    for (let length = 0; length < text.length; length += 1) {
      const { problem, completed } = read(text.slice(0, length), { isClosed: true });
      expect(completed).toBe(0);
      expect(problem).toBe(
        length === 0
          ? "the connection was closed without an answer"
          : "the connection was closed in the middle of the answer",
      );
    }
    expect(read(text, { isClosed: true })).toMatchObject(whole);
  });

  test("nothing more is handed on after a failure", () => {
    const text = answer([CHUNKED], "1\r\na\r\nx\r\n1\r\nb\r\n0\r\n\r\n");
    expect(read(text, { cuts: [70, 75] })).toMatchObject({ body: "a", completed: 0 });
  });
});

/** Answers, good and bad ones. */
const header = fc.constantFrom(
  "Content-Length: 4",
  CHUNKED,
  "Connection: close",
  "X: y",
  "bad",
  "Content-Encoding: br",
);
const body = fc.array(fc.constantFrom("4\r\nabcd\r\n", "0\r\n\r\n", "abcd", "\r\n", "z", "0\r\n", "A: b\r\n"), {
  maxLength: 6,
});
const anyAnswer = fc
  .tuple(fc.constantFrom("200 OK", "204 No Content", "100 Continue", "503 x"), fc.array(header, { maxLength: 3 }), body)
  .map(([status, headers, parts]) => answer(headers, parts.join(""), status));

test("however the bytes are cut, the same comes out", () => {
  fc.assert(
    fc.property(anyAnswer, fc.array(fc.nat(400), { maxLength: 20 }), fc.boolean(), (text, places, isClosed) => {
      const cuts = places.filter((place) => place <= text.length).toSorted((a, b) => a - b);
      const every = Array.from({ length: text.length }, (_, i) => i);
      const expected = read(text, { isClosed });
      expect(read(text, { cuts, isClosed })).toEqual(expected);
      expect(read(text, { cuts: every, isClosed })).toEqual(expected);
    }),
    { numRuns: 2000 },
  );
});

test("any bytes are read or refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = Buffer.from(bytes).toString("latin1");
      const outcome = read(text, { isClosed: true });
      expect(outcome.problem === "" ? outcome.completed : 1).toBe(1);
    }),
    { numRuns: 2000 },
  );
});
