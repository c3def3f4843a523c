/**
 * Errors of the API server as values: what it says of a request that failed, and what is to be done. It describes most by a
 * Status object, some by a line of plain text, and one by a Status that is called plain text. Pure.
 */
import { type Json, JsonError, parseJson } from "../cni/json.ts";
import { clip, decodeUtf8, isDigits, withoutControls } from "../text.ts";
import { parseHttpDate } from "./http-date.ts";
import type { ResponseHead } from "./http-response.ts";

/** The longest pause that a server can ask for. */
const MAX_RETRY_AFTER_S = 300;
/** A message of the server quotes what was sent to it, which may be megabytes. */
const MAX_MESSAGE = 600;

/** One of the reasons that a Status gives. */
export interface Cause {
  readonly reason: string;
  readonly message: string;
  /** The parameter, or the path of the field, that is wrong: "sendInitialEvents". */
  readonly field: string;
}

/** Why a request failed. */
export interface Failure {
  /** The status of HTTP; 0 if there was no answer, or none that can be read. */
  readonly code: number;
  /** One word of the server, such as "Expired"; "" if it has none. */
  readonly reason: string;
  readonly message: string;
  readonly causes: readonly Cause[];
  /** How long the server asks to wait, at most 300 s; 0 if it does not say. */
  readonly retryAfterMs: number;
}

/** There was no answer, or none that can be read. @param message why */
export function noAnswer(message: string): Failure {
  return { code: 0, reason: "", message: oneLine(message), causes: [], retryAfterMs: 0 };
}

/** What an answer says whose status is none of success. @param body its first part */
export function readFailure(head: ResponseHead, body: Uint8Array): Failure {
  const asked = retryAfter(head);
  const status = parseStatus(body);
  if (status !== null) return failureOf(status, head.status, asked);
  return { code: head.status, reason: "", message: oneLine(decodeUtf8(body)), causes: [], retryAfterMs: asked };
}

/**
 * What a Status object says.
 * @param code for one that has none
 * @param retryAfterMs what the headers say
 */
export function failureOf(status: Json, code: number, retryAfterMs: number): Failure {
  const details = status.get("details");
  const asked = details === null ? 0 : Math.min(numberOf(details, "retryAfterSeconds"), MAX_RETRY_AFTER_S) * 1000;
  const said = numberOf(status, "code");
  return {
    code: said >= 100 && said <= 599 ? said : code,
    reason: clip(oneLine(textOf(status, "reason"))),
    message: oneLine(textOf(status, "message")),
    causes: causesOf(details),
    retryAfterMs: Math.max(retryAfterMs, asked),
  };
}

/** Whether one of the causes has a reason. */
export function hasCause(failure: Failure, reason: string): boolean {
  for (const cause of failure.causes) if (cause.reason === reason) return true;
  return false;
}

/** Whether the same request may succeed later by itself: the server is overloaded, starting, or cut off from its data. */
export function isPassing(failure: Failure): boolean {
  const { code } = failure;
  return code === 0 || code === 408 || code === 429 || code >= 500;
}

/** The Status in a body; null if there is none. */
function parseStatus(body: Uint8Array): Json | null {
  try {
    const json = parseJson(body);
    return json.kind === "object" ? json : null;
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return null;
  }
}

function causesOf(details: Json | null): Cause[] {
  const causes: Cause[] = [];
  const list = details === null ? null : details.get("causes");
  if (list === null || list.kind !== "array") return causes;
  for (const item of list.items) {
    if (causes.length === 8) break;
    causes.push({
      reason: clip(oneLine(textOf(item, "reason"))),
      message: oneLine(textOf(item, "message")),
      field: clip(oneLine(textOf(item, "field"))),
    });
  }
  return causes;
}

/** The text of a member; "" if it is none. */
function textOf(object: Json, key: string): string {
  const value = object.get(key);
  return value === null || value.kind !== "string" ? "" : value.text;
}

/** The whole number of a member, not above 10^9; 0 if it is none. */
function numberOf(object: Json, key: string): number {
  const value = object.get(key);
  if (value === null || value.kind !== "number" || !isDigits(value.text) || value.text.length > 9) return 0;
  return parseInt(value.text, 10);
}

/** The pause that the headers ask for, in milliseconds: seconds, or a date, which is compared with the server's own clock. */
function retryAfter(head: ResponseHead): number {
  const text = head.header("retry-after");
  if (isDigits(text))
    return Math.min(text.length > 6 ? MAX_RETRY_AFTER_S : parseInt(text, 10), MAX_RETRY_AFTER_S) * 1000;
  const until = parseHttpDate(text);
  const now = parseHttpDate(head.header("date"));
  if (until < 0 || now < 0) return 0;
  return Math.max(0, Math.min(until - now, MAX_RETRY_AFTER_S)) * 1000;
}

/** A text of the server for a log: one line, without control characters, not too long. */
function oneLine(text: string): string {
  const line = withoutControls(text.slice(0, MAX_MESSAGE)).trim();
  return text.length > MAX_MESSAGE ? `${line}...` : line;
}
