/**
 * Answers of an HTTP/1.1 server (RFC 9112), from bytes in any pieces. Nothing but one line is ever kept: the body is handed on
 * as it arrives, whatever the lengths of chunks. It is stricter than a browser: whatever could be read in two ways is refused.
 * Pure.
 */
import { textAt } from "../lists.ts";
import { asciiLower, clip, decodeUtf8, isDigits } from "../text.ts";

/** The longest line: the status line, a header, a chunk's length. */
const MAX_LINE = 16_384;
/** All header lines of one answer together, and all trailers. */
const MAX_HEAD = 65_536;
/** Answers with a status below 200 before the real one. */
const MAX_INTERIM = 8;
/** The digits of a Content-Length: the number stays exact. */
const MAX_LENGTH_DIGITS = 15;
/** The hex digits of a chunk's length. */
const MAX_CHUNK_DIGITS = 12;

/** The status line and the headers of an answer. */
export class ResponseHead {
  readonly status: number;
  /** 1 for HTTP/1.1, 0 for HTTP/1.0 */
  readonly minor: number;
  /** In lower case, one for each value, in the order of the answer. */
  readonly names: string[] = [];
  readonly values: string[] = [];

  constructor(status: number, minor: number) {
    this.status = status;
    this.minor = minor;
  }

  /** The value of a header; of a repeated one all, joined by ", "; "" if it is absent. @param name in lower case */
  header(name: string): string {
    const found: string[] = [];
    let at = 0;
    for (const one of this.names) {
      if (one === name) found.push(textAt(this.values, at));
      at += 1;
    }
    return found.join(", ");
  }
}

/** What is told of an answer, in this order: its head, the body in pieces, its end. After a failure nothing more. */
export abstract class ResponseReceiver {
  abstract head(head: ResponseHead): void;
  /** A part of the body: `bytes[start]` to `bytes[end - 1]`. They are good only during the call. */
  abstract body(bytes: Uint8Array, start: number, end: number): void;
  abstract complete(): void;
}

/** What is read next. */
type Part =
  | "status"
  | "headers"
  | "length"
  | "close"
  | "chunk size"
  | "chunk"
  | "chunk end"
  | "trailers"
  | "done"
  | "failed";

const RETURN = 0x0d;
const NEWLINE = 0x0a;

/** Reads one answer after another from a connection. */
export class ResponseParser {
  readonly #receiver: ResponseReceiver;
  readonly #line = new Uint8Array(MAX_LINE);
  #part: Part = "done";
  #lineLength = 0;
  #headLength = 0;
  #interim = 0;
  /** Whether the answer is to a HEAD request: it has no body, whatever its headers say. */
  #isHead = false;
  #head = new ResponseHead(0, 1);
  /** Bytes of the body, or of the chunk, that are still to come. */
  #left = 0;
  #canReuse = false;
  /** Whether anything of the answer has come. */
  hasBegun = false;
  /** Why the answer cannot be read; "" if it can. */
  problem = "";

  constructor(receiver: ResponseReceiver) {
    this.#receiver = receiver;
  }

  /** Begins with the answer to the next request. @param method of the request */
  begin(method: string): void {
    this.#part = "status";
    this.#lineLength = 0;
    this.#headLength = 0;
    this.#interim = 0;
    this.#isHead = method === "HEAD";
    this.#canReuse = false;
    this.hasBegun = false;
    this.problem = "";
  }

  /** Whether the answer has been read to its end. */
  get isDone(): boolean {
    return this.#part === "done";
  }

  /** Whether the connection can be used for another request. */
  get canReuse(): boolean {
    return this.#part === "done" && this.#canReuse;
  }

  /**
   * Takes the next bytes of the connection.
   * @returns false if the answer cannot be read: `problem` says why, and the connection must be closed
   */
  feed(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    if (start < end) this.hasBegun = true;
    while (at < end) {
      switch (this.#part) {
        case "done":
          /* Nobody asked for more. */
          this.#canReuse = false;
          return true;
        case "failed":
          return false;
        case "length":
        case "chunk":
        case "close":
          at = this.#bodyPart(bytes, at, end);
          break;
        default:
          at = this.#linePart(bytes, at, end);
      }
    }
    return this.problem === "";
  }

  /**
   * The server has closed the connection.
   * @returns false if the answer is not complete: `problem` says why
   */
  closed(): boolean {
    if (this.#part === "close") {
      this.#finish();
      this.#canReuse = false;
    }
    if (this.#part === "done") return true;
    if (this.problem === "") {
      this.#fail(
        this.hasBegun
          ? "the connection was closed in the middle of the answer"
          : "the connection was closed without an answer",
      );
    }
    return false;
  }

  #bodyPart(bytes: Uint8Array, start: number, limit: number): number {
    const end = this.#part === "close" || limit - start <= this.#left ? limit : start + this.#left;
    this.#receiver.body(bytes, start, end);
    if (this.#part === "close") return end;
    this.#left -= end - start;
    if (this.#left > 0) return end;
    if (this.#part === "length") this.#finish();
    else this.#part = "chunk end";
    return end;
  }

  /** Adds to the line that is being read, and takes it when it is complete. */
  #linePart(bytes: Uint8Array, start: number, end: number): number {
    const newline = indexOfNewline(bytes, start, end);
    const next = newline < 0 ? end : newline + 1;
    const length = this.#lineLength + next - start;
    if (length > MAX_LINE) {
      this.#fail(`a line of the answer's head is longer than ${MAX_LINE} bytes`);
      return end;
    }
    this.#line.set(bytes.subarray(start, next), this.#lineLength);
    this.#lineLength = length;
    if (newline < 0) return end;
    this.#lineLength = 0;
    this.#headLength += length;
    if (this.#headLength > MAX_HEAD) {
      this.#fail(`the answer's head is longer than ${MAX_HEAD} bytes`);
      return end;
    }
    const text = lineText(this.#line.subarray(0, length));
    const problem = text === null ? MALFORMED_LINE : this.#takeLine(text);
    if (problem !== "") this.#fail(problem);
    return next;
  }

  /** Takes a complete line. Returns what is wrong with it, "" if nothing is; so do the methods that it calls. */
  #takeLine(line: string): string {
    switch (this.#part) {
      case "status":
        return this.#statusLine(line);
      case "headers":
        return line === "" ? this.#headComplete() : this.#headerLine(line);
      case "chunk size":
        return this.#chunkSize(line);
      case "chunk end":
        if (line !== "") return "a chunk of the answer is longer than its length says";
        this.#part = "chunk size";
        return "";
      default:
        /* Trailers say nothing that is asked for. */
        if (line === "") this.#finish();
        return "";
    }
  }

  #statusLine(line: string): string {
    const digits = line.slice(9, 12);
    const isHttp = line.startsWith("HTTP/1.1 ") || line.startsWith("HTTP/1.0 ");
    const status = digits.length === 3 && isDigits(digits) ? parseInt(digits, 10) : 0;
    if (!isHttp || status < 100 || status > 599 || (line.length > 12 && line.charAt(12) !== " ")) {
      return `the answer is not HTTP/1.1: it begins with "${clip(line)}"`;
    }
    this.#head = new ResponseHead(status, line.charAt(7) === "1" ? 1 : 0);
    this.#part = "headers";
    return "";
  }

  #headerLine(line: string): string {
    const colon = line.indexOf(":");
    const name = colon < 0 ? "" : line.slice(0, colon);
    if (!isToken(name)) return `the answer has a malformed header: "${clip(line)}"`;
    this.#head.names.push(asciiLower(name));
    this.#head.values.push(line.slice(colon + 1).trim());
    return "";
  }

  #headComplete(): string {
    const head = this.#head;
    if (head.status === 101) return "the server wants to change the protocol, which nobody asked for";
    if (head.status < 200) {
      this.#interim += 1;
      this.#part = "status";
      return this.#interim > MAX_INTERIM ? `more than ${MAX_INTERIM} interim answers` : "";
    }
    const encoding = head.header("content-encoding");
    if (encoding !== "" && encoding !== "identity") {
      return `the answer is encoded as "${clip(encoding)}", which nobody asked for`;
    }
    this.#canReuse = head.minor === 1 && !hasItem(head.header("connection"), "close");
    this.#headLength = 0;
    const problem = this.#chooseFraming(head);
    if (problem !== "") return problem;
    this.#receiver.head(head);
    if (this.#part === "length" && this.#left === 0) this.#finish();
    return "";
  }

  /** How the end of the body is found (RFC 9112 section 6.3). */
  #chooseFraming(head: ResponseHead): string {
    const coding = head.header("transfer-encoding");
    const length = head.header("content-length");
    this.#left = 0;
    this.#part = "length";
    if (this.#isHead || head.status === 204 || head.status === 304) return "";
    if (coding !== "") {
      if (asciiLower(coding) !== "chunked" || head.minor === 0 || length !== "") {
        return `the length of the answer is ambiguous: Transfer-Encoding "${clip(coding)}", Content-Length "${clip(length)}"`;
      }
      this.#part = "chunk size";
      return "";
    }
    if (length === "") {
      this.#part = "close";
      this.#canReuse = false;
      return "";
    }
    if (!isDigits(length) || length.length > MAX_LENGTH_DIGITS) {
      return `the answer has the Content-Length "${clip(length)}"`;
    }
    this.#left = parseInt(length, 10);
    return "";
  }

  #chunkSize(line: string): string {
    const semicolon = line.indexOf(";");
    const digits = (semicolon < 0 ? line : line.slice(0, semicolon)).trimEnd();
    const size = digits.length <= MAX_CHUNK_DIGITS ? hexValue(digits) : -1;
    if (size < 0) return `a chunk of the answer has the length "${clip(line)}"`;
    this.#headLength = 0;
    this.#left = size;
    this.#part = size === 0 ? "trailers" : "chunk";
    return "";
  }

  #finish(): void {
    this.#part = "done";
    this.#receiver.complete();
  }

  #fail(problem: string): void {
    this.#part = "failed";
    this.problem = problem;
  }
}

/** The index of the first newline; -1 without one. */
function indexOfNewline(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end; at += 1) if (bytes[at] === NEWLINE) return at;
  return -1;
}

const MALFORMED_LINE = "a line of the answer's head has a control character, or does not end with CR LF";

/** The text of a line without its CR LF; null if it is malformed. */
function lineText(line: Uint8Array): string | null {
  const length = line.length - 2;
  if (length < 0 || line[length] !== RETURN) return null;
  for (let at = 0; at < length; at += 1) {
    const byte = line[at] ?? 0;
    if ((byte < 0x20 && byte !== 0x09) || byte === 0x7f) return null;
  }
  return decodeUtf8(line.subarray(0, length));
}

const TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";

/** Whether a text is a token (RFC 9110 section 5.6.2). */
function isToken(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) if (!TOKEN.includes(text.charAt(at))) return false;
  return text !== "";
}

/** Whether a list of words, divided by commas, has one, regardless of case. */
function hasItem(list: string, word: string): boolean {
  for (const item of list.split(",")) if (asciiLower(item.trim()) === word) return true;
  return false;
}

const HEX = "0123456789abcdef";

/** The value of one or more hex digits; -1 for anything else. */
function hexValue(text: string): number {
  let value = text === "" ? -1 : 0;
  for (let at = 0; at < text.length; at += 1) {
    const digit = HEX.indexOf(asciiLower(text.charAt(at)));
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}
