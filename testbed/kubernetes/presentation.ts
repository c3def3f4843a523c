/** How objects look on the wire: whole or only their metadata, alone, in a list, in an event. */
import { notAcceptable } from "./failure.ts";
import { goJson, type JsonObject, sorted } from "./json.ts";
import { apiVersionOf, type Kind } from "./kinds.ts";
import type { Revision } from "./store.ts";

export type View = "whole" | "metadata";

const ACCEPTED = new Set(["application/json", "application/*", "*/*"]);

/**
 * What a client wants, from its Accept header: the first that the server has.
 * @throws Failure 406
 */
export function viewOf(accept: string): View {
  if (accept === "") return "whole";
  for (const choice of accept.split(",")) {
    const [type = "", ...parameters] = choice.split(";").map((part) => part.trim());
    if (!ACCEPTED.has(type)) continue;
    const as = parameters.find((parameter) => parameter.startsWith("as="))?.slice(3) ?? "";
    if (as === "") return "whole";
    if (as === "PartialObjectMetadata" || as === "PartialObjectMetadataList") return "metadata";
  }
  throw notAcceptable();
}

const partial = new WeakMap<Revision, Buffer>();
const PARTIAL = { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1" };

/** One object, with kind and apiVersion. */
export function objectBytes(revision: Revision, view: View): Buffer {
  if (view === "whole") return revision.bytes;
  let bytes = partial.get(revision);
  if (bytes === undefined) {
    bytes = Buffer.from(goJson({ ...PARTIAL, metadata: metadataOf(revision) }));
    partial.set(revision, bytes);
  }
  return bytes;
}

function metadataOf({ object }: Revision): JsonObject {
  return object.metadata;
}

/** An object of a list, in pieces: those of built-in kinds have no kind and apiVersion there. */
function itemParts(kind: Kind, revision: Revision, view: View): readonly Buffer[] {
  const whole = objectBytes(revision, view);
  if (view === "metadata" || kind.custom) return [whole];
  const type = goJson({ kind: kind.kind, apiVersion: apiVersionOf(kind) });
  return [BRACE, whole.subarray(type.length)];
}

const BRACE = Buffer.from("{");
const COMMA = Buffer.from(",");

export interface ListMetadata {
  readonly resourceVersion: string;
  /** "" when this is all. */
  readonly continue: string;
  /** Undefined when there is nothing to say of it. */
  readonly remainingItemCount?: number | undefined;
}

/** A list's bytes in pieces, made one after the other: 5,000 nodes for hundreds of clients are not in memory twice. */
export function* listParts(
  kind: Kind,
  items: readonly Revision[],
  metadata: ListMetadata,
  view: View,
): Generator<Buffer, void, void> {
  const { before, after } = frameOf(kind, metadata, view);
  yield Buffer.from(before);
  for (const [index, item] of items.entries()) {
    if (index > 0) yield COMMA;
    yield* itemParts(kind, item, view);
  }
  yield Buffer.from(after);
}

/** A custom resource's list has its keys in the order of the alphabet, and an empty `continue` at its end. */
function frameOf(kind: Kind, metadata: ListMetadata, view: View): { before: string; after: string } {
  const { resourceVersion, remainingItemCount } = metadata;
  const more = {
    ...(metadata.continue === "" ? {} : { continue: metadata.continue }),
    ...(remainingItemCount === undefined ? {} : { remainingItemCount }),
  };
  if (kind.custom && view === "whole") {
    const before = goJson({ apiVersion: apiVersionOf(kind), items: [] }).slice(0, -2);
    const tail = { kind: `${kind.kind}List`, metadata: sorted({ continue: "", ...more, resourceVersion }) };
    return { before, after: `],${goJson(tail).slice(1)}\n` };
  }
  const type =
    view === "metadata"
      ? { kind: "PartialObjectMetadataList", apiVersion: PARTIAL.apiVersion }
      : { kind: `${kind.kind}List`, apiVersion: apiVersionOf(kind) };
  const head = goJson({ ...type, metadata: { resourceVersion, ...more }, items: [] });
  return { before: head.slice(0, -2), after: "]}\n" };
}

/** A line of a watch. */
export function eventBytes(type: string, object: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`{"type":"${type}","object":`), object, Buffer.from("}\n")]);
}

/** A bookmark. @param initial whether it ends the objects that exist already */
export function bookmarkBytes(kind: Kind, version: number, view: View, initial: boolean): Buffer {
  const annotations = initial ? { annotations: { "k8s.io/initial-events-end": "true" } } : {};
  const metadata = { resourceVersion: String(version), ...annotations };
  let object: unknown = { kind: kind.kind, apiVersion: apiVersionOf(kind), metadata, ...kind.empty };
  if (view === "metadata") object = { ...PARTIAL, metadata };
  else if (kind.custom) object = sorted(object);
  return eventBytes("BOOKMARK", Buffer.from(goJson(object)));
}
