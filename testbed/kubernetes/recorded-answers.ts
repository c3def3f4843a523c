/** Recorded answers of a real API server: the bytes that it sent, and what its body was. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A part of the body, as text; or as base64, where it is none by itself. */
type Part = string | { readonly b64: string };

/** The file's form; README.md of the whole collection describes it. */
interface Recorded {
  readonly name: string;
  readonly request?: { readonly method: string; readonly target: string };
  readonly response?: {
    readonly statusLine?: string;
    readonly headers?: readonly (readonly [string, string])[];
    readonly framing?: string;
    readonly chunks?: readonly (readonly [number, Part, { readonly announced: number }?])[];
    readonly chunksLeftOut?: unknown;
    readonly end: { readonly how: string };
  };
}

/** An answer that was recorded. */
export interface Recording {
  readonly name: string;
  readonly method: string;
  readonly target: string;
  readonly status: number;
  /** The whole answer, and where the server's writes ended, as far as chunks show it. */
  readonly bytes: Buffer;
  readonly cuts: readonly number[];
  readonly body: Buffer;
  /** Whether the answer is complete; otherwise the connection ended within it. */
  readonly isComplete: boolean;
}

/** The recordings of a directory that have an answer; none if there is no such directory. */
export function recordingsIn(directory: string): Recording[] {
  const recordings: Recording[] = [];
  for (const file of namesIn(directory)) {
    const recording = parse(JSON.parse(readFileSync(join(directory, file), "utf8")));
    if (recording !== null) recordings.push(recording);
  }
  return recordings;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(".json"))
      .toSorted();
  } catch {
    /* A fresh clone has the small selection only. */
    return [];
  }
}

function parse({ name, request, response }: Recorded): Recording | null {
  const { statusLine, headers, framing, chunks, chunksLeftOut, end } = response ?? {};
  if (request === undefined || statusLine === undefined || headers === undefined || end === undefined) return null;
  if (chunks === undefined || chunksLeftOut !== undefined) return null;
  const isChunked = framing === "chunked";
  const head = Buffer.from(`${statusLine}\r\n${headers.map(([key, value]) => `${key}: ${value}\r\n`).join("")}\r\n`);
  const parts: Buffer[] = [head];
  const body: Buffer[] = [];
  for (const [, part, broken] of chunks) {
    const bytes = typeof part === "string" ? Buffer.from(part) : Buffer.from(part.b64, "base64");
    body.push(bytes);
    const size = broken?.announced ?? bytes.length;
    const tail = broken === undefined ? "\r\n" : "";
    parts.push(isChunked ? Buffer.concat([Buffer.from(`${size.toString(16)}\r\n`), bytes, Buffer.from(tail)]) : bytes);
  }
  const isComplete = end.how === "last chunk" || end.how === "length reached" || framing === "none";
  if (end.how === "last chunk") parts.push(Buffer.from("0\r\n\r\n"));
  const cuts: number[] = [];
  for (const part of parts) cuts.push((cuts.at(-1) ?? 0) + part.length);
  return {
    name,
    method: request.method,
    target: request.target,
    status: Number(statusLine.split(" ")[1]),
    bytes: Buffer.concat(parts),
    cuts,
    body: Buffer.concat(body),
    isComplete,
  };
}
