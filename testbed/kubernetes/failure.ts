/** Answers that say no: the Status objects of the API, word by word as the recordings have them. */
import { goJson, isObject, type JsonObject, prettyGoJson } from "./json.ts";

const CODES: Record<number, string> = {
  200: "OK",
  201: "Created",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  409: "Conflict",
  410: "Gone",
  413: "Request Entity Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Entity",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** What HTTP calls a status. */
export function reasonPhrase(status: number): string {
  return CODES[status] ?? "Unknown";
}

export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field?: string;
}

/** Which object an answer is about. */
export interface Subject {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
}

export interface FailureParts {
  readonly status: number;
  /** A Status, or text for the few answers that are none. */
  readonly body: JsonObject | string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly pretty?: boolean;
}

/** Thrown by whatever serves a request. */
export class Failure extends Error {
  readonly status: number;
  readonly body: JsonObject | string;
  readonly headers: readonly (readonly [string, string])[];
  readonly #pretty: boolean;

  constructor({ status, body, headers = [], pretty = false }: FailureParts) {
    super(typeof body === "string" ? body : String(body.message));
    this.status = status;
    this.body = body;
    this.#pretty = pretty;
    const type = typeof body === "string" ? "text/plain; charset=utf-8" : "application/json";
    this.headers = [["Content-Type", type], ...headers];
  }

  text(): string {
    if (typeof this.body === "string") return this.body;
    return this.#pretty ? prettyGoJson(this.body) : `${goJson(this.body)}\n`;
  }
}

export interface StatusParts {
  readonly code: number;
  readonly message: string;
  readonly reason?: string;
  readonly details?: JsonObject;
  readonly metadata?: JsonObject;
}

/** A Status with its members in the order in which the server writes them. */
export function failureStatus({ code, message, reason, details, metadata = {} }: StatusParts): JsonObject {
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata,
    status: "Failure",
    message,
    ...(reason === undefined ? {} : { reason }),
    ...(details === undefined ? {} : { details }),
    code,
  };
}

/** Members that are known, in the order of the API: name, group, kind, causes. */
export function detailsOf(subject: Subject, causes: readonly Cause[] = []): JsonObject {
  return {
    ...(subject.name ? { name: subject.name } : {}),
    ...(subject.group ? { group: subject.group } : {}),
    ...(subject.kind ? { kind: subject.kind } : {}),
    ...(causes.length === 0 ? {} : { causes: causes.map((cause) => ({ ...cause })) }),
  };
}

/** `nodes`, or `leases.coordination.k8s.io`. */
function qualified({ kind = "", group = "" }: Subject): string {
  return group === "" ? kind : `${kind}.${group}`;
}

function failed(parts: StatusParts): Failure {
  return new Failure({ status: parts.code, body: failureStatus(parts) });
}

export function badRequest(message: string): Failure {
  return failed({ code: 400, message, reason: "BadRequest" });
}

export function unauthorized(): Failure {
  return failed({ code: 401, message: "Unauthorized", reason: "Unauthorized" });
}

/** @param subject with the plural as its kind */
export function notFound(subject: Subject): Failure {
  const message = `${qualified(subject)} "${subject.name}" not found`;
  return failed({ code: 404, message, reason: "NotFound", details: detailsOf(subject) });
}

/** A resource that its group does not have. */
export function unknownResource(): Failure {
  const message = "the server could not find the requested resource";
  return failed({ code: 404, message, reason: "NotFound", details: {} });
}

/** A path, group or version that is not served at all: text. */
export function unknownPath(): Failure {
  return new Failure({ status: 404, body: "404 page not found\n", headers: [["X-Content-Type-Options", "nosniff"]] });
}

export function alreadyExists(subject: Subject): Failure {
  const message = `${qualified(subject)} "${subject.name}" already exists`;
  return failed({ code: 409, message, reason: "AlreadyExists", details: detailsOf(subject) });
}

/** @param why "the object has been modified; ..." */
export function conflict(subject: Subject, why: string): Failure {
  const message = `Operation cannot be fulfilled on ${qualified(subject)} "${subject.name}": ${why}`;
  return failed({ code: 409, message, reason: "Conflict", details: detailsOf(subject) });
}

export const MODIFIED = "the object has been modified; please apply your changes to the latest version and try again";

/** Fields that other managers own. @param causes of reason FieldManagerConflict */
export function applyConflict(causes: readonly Cause[]): Failure {
  const list = causes.map(({ message, field }) => `${message}: ${field}`);
  const message =
    causes.length === 1
      ? `Apply failed with 1 conflict: ${list[0]}`
      : `Apply failed with ${causes.length} conflicts: ${list.map((line) => `\n- ${line}`).join("")}`;
  return failed({ code: 409, message, reason: "Conflict", details: detailsOf({}, causes) });
}

/** 410 of a list. @param next a token to go on with, inconsistently */
export function expired(message: string, next?: string): Failure {
  return failed({
    code: 410,
    message,
    reason: "Expired",
    ...(next === undefined ? {} : { metadata: { continue: next } }),
  });
}

/** 422. @param subject with the kind in the singular (`Node`) */
export function invalid(subject: Subject, causes: readonly Cause[]): Failure {
  const list = [...new Set(causes.map(({ field, message }) => `${field}: ${message}`))];
  const found = list.length === 1 ? list[0] : `[${list.join(", ")}]`;
  const message = `${qualified(subject)} "${subject.name ?? ""}" is invalid: ${found}`;
  return failed({ code: 422, message, reason: "Invalid", details: detailsOf(subject, causes) });
}

/** 422 of a request's parameters. @param kind "ListOptions", "PatchOptions" */
export function invalidOptions(kind: string, causes: readonly Cause[]): Failure {
  return invalid({ group: "meta.k8s.io", kind }, causes);
}

export function forbiddenValue(field: string, message: string): Cause {
  return { reason: "FieldValueForbidden", message: `Forbidden: ${message}`, field };
}

export function invalidValue(field: string, value: string, message: string): Cause {
  return { reason: "FieldValueInvalid", message: `Invalid value: ${value}: ${message}`, field };
}

/** @param supported as they are listed, with their quotation marks */
export function unsupportedValue(field: string, value: string, supported: readonly string[]): Cause {
  const message = `Unsupported value: ${value}: supported values: ${supported.join(", ")}`;
  return { reason: "FieldValueNotSupported", message, field };
}

export function requiredValue(field: string, message: string): Cause {
  return { reason: "FieldValueRequired", message: `Required value: ${message}`, field };
}

export function tooLarge(limit: number): Failure {
  const message = `Request entity too large: limit is ${limit}`;
  return failed({ code: 413, message, reason: "RequestEntityTooLarge" });
}

/** Of priority and fairness: text, and no Status. */
export function tooManyRequestsText(retryAfter: number): Failure {
  return new Failure({
    status: 429,
    body: "Too many requests, please try again later.\n",
    headers: [
      ["Retry-After", String(retryAfter)],
      ["X-Content-Type-Options", "nosniff"],
    ],
  });
}

/** Of a watch cache that is not ready: a Status. */
export function tooManyRequests(retryAfter: number): Failure {
  const body = failureStatus({
    code: 429,
    message: "storage is (re)initializing",
    reason: "TooManyRequests",
    details: { retryAfterSeconds: retryAfter },
  });
  return new Failure({ status: 429, body, headers: [["Retry-After", String(retryAfter)]] });
}

/** A list that asks for a version which the server has not reached. */
export function versionTooLarge(wanted: string, current: number): Failure {
  const body = failureStatus({
    code: 504,
    message: `Timeout: Too large resource version: ${wanted}, current: ${current}`,
    reason: "Timeout",
    details: {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
      retryAfterSeconds: 1,
    },
  });
  return new Failure({ status: 504, body, headers: [["Retry-After", "1"]] });
}

export function internalError(message: string): Failure {
  return failed({ code: 500, message });
}

export function unavailable(message: string): Failure {
  return failed({ code: 503, message, reason: "ServiceUnavailable" });
}

export function methodNotAllowed(): Failure {
  const message = "the server does not allow this method on the requested resource";
  return failed({ code: 405, message, reason: "MethodNotAllowed", details: {} });
}

export function unsupportedMediaType(message = "415: Unsupported Media Type"): Failure {
  const details = message.startsWith("415") ? { details: {} } : {};
  return failed({ code: 415, message, reason: "UnsupportedMediaType", ...details });
}

const REPRESENTATIONS =
  "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

export function notAcceptable(): Failure {
  const message = `406: Not Acceptable\n\nAvailable representations: ${REPRESENTATIONS}`;
  const body = failureStatus({ code: 406, message, reason: "NotAcceptable", details: {} });
  return new Failure({ status: 406, body, pretty: true });
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : isObject(error) ? goJson(error) : String(error);
}
