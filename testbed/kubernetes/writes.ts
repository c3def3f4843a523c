/** Create, update, patch, apply. What comes out is stored, unless nothing has changed or it was only to be tried. */
import { type Clock, timestamp } from "./clock.ts";
import {
  alreadyExists,
  badRequest,
  conflict,
  invalidOptions,
  MODIFIED,
  notFound,
  requiredValue,
  type Subject,
  unsupportedMediaType,
  unsupportedValue,
} from "./failure.ts";
import { isObject, type JsonObject, type KubernetesObject, type Metadata, sameJson } from "./json.ts";
import { apiVersionOf, inOrder, type Kind } from "./kinds.ts";
import { afterUpdate, applied, type Manager, ownable } from "./managers.ts";
import { jsonPatch, mergePatch, strategicPatch } from "./patch.ts";
import { pruned } from "./schema.ts";
import { keyOf, Revision, type Store } from "./store.ts";
import { validate, validateApplied, validateUpdate, withDefaults } from "./validation.ts";

export interface Write {
  readonly store: Store;
  readonly clock: Clock;
  readonly kind: Kind;
  readonly namespace: string;
  /** "" for a create. */
  readonly name: string;
  /** "" or "status". */
  readonly subresource: string;
  readonly query: URLSearchParams;
  readonly contentType: string;
  readonly userAgent: string;
  readonly body: Buffer;
}

export interface Written {
  readonly status: 200 | 201;
  readonly revision: Revision;
  /** Fields that were left out because the kind does not have them. */
  readonly unknown: readonly string[];
}

export function subjectOf({ kind, name }: { kind: Kind; name: string }): Subject {
  return { name, group: kind.group, kind: kind.plural };
}

/** POST. @throws Failure 400, 409, 422 */
export function create(write: Write): Written {
  const { kind, store } = write;
  const { object: sent, unknown } = pruned(kind, parsed(write));
  const name = nameIn(sent) || write.name;
  const object = withDefaults(kind, withoutStatus(kind, withMetadata(write, sent, name)));
  validate(kind, object);
  if (store.get(kind, keyOf(kind, object.metadata)) !== undefined) throw alreadyExists(subjectOf({ kind, name }));
  const generation = kind.generations ? { generation: 1 } : {};
  const managedFields = afterUpdate(kind, managerOf(write, "Update"), null, object);
  const metadata = { ...object.metadata, ...generation, ...(managedFields.length > 0 ? { managedFields } : {}) };
  return { status: 201, revision: stored(write, { ...object, metadata }), unknown };
}

/** PUT. @throws Failure 400, 404, 409, 422 */
export function update(write: Write): Written {
  const { kind, name } = write;
  const live = existing(write);
  const { object: sent, unknown } = pruned(kind, parsed(write));
  const object = withMetadata(write, sent, nameIn(sent) || name);
  return { status: 200, revision: replaced(write, live, object, managerOf(write, "Update")), unknown };
}

const APPLY = "application/apply-patch+yaml";
const CUSTOM_TYPES =
  "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/** PATCH of all four kinds. @throws Failure 400, 404, 409, 415, 422, 500 */
export function patch(write: Write): Written {
  const { kind, contentType } = write;
  if (contentType === APPLY) return apply(write);
  const merges = contentType === "application/merge-patch+json";
  const strategic = contentType === "application/strategic-merge-patch+json";
  const steps = contentType === "application/json-patch+json";
  if (kind.custom && !merges && !steps) throw unsupportedMediaType(CUSTOM_TYPES);
  if (!merges && !strategic && !steps) throw unsupportedMediaType();
  checkOptions(write);
  const live = existing(write);
  const body = jsonOf(write.body);
  let result: unknown;
  if (steps) result = jsonPatch(live.object, body);
  else if (strategic) result = strategicPatch(kind, live.object, asObject(body));
  else result = mergePatch(live.object, asObject(body));
  const { object, unknown } = pruned(kind, asObject(result));
  return {
    status: 200,
    revision: replaced(write, live, object as KubernetesObject, managerOf(write, "Update")),
    unknown,
  };
}

/** Server-side apply. */
function apply(write: Write): Written {
  const { kind, name, store, query } = write;
  checkOptions(write);
  if ((query.get("fieldManager") ?? "") === "") {
    throw invalidOptions("PatchOptions", [requiredValue("fieldManager", "is required for apply patch")]);
  }
  const { object: sent, unknown } = pruned(kind, asObject(jsonOf(write.body)));
  const config = ownable(kind, withMetadata(write, sent, name), write.subresource);
  validateApplied(kind, config, unknown);
  const live = store.get(kind, keyOf(kind, config.metadata));
  if (live === undefined && write.subresource !== "") throw notFound(subjectOf(write));
  const manager = managerOf(write, "Apply");
  const force = ["true", "1"].includes(query.get("force") ?? "");
  const result = applied(kind, manager, { live: live?.object ?? null, config, force });
  if (live !== undefined) return { status: 200, revision: replaced(write, live, result, manager), unknown: [] };
  const object = withDefaults(kind, result);
  validate(kind, object);
  const metadata = { ...object.metadata, ...(kind.generations ? { generation: 1 } : {}) };
  return { status: 201, revision: stored(write, { ...object, metadata }), unknown: [] };
}

/** An object over the one there is; with the status alone, or without it. */
function replaced(write: Write, live: Revision, sent: KubernetesObject, manager: Manager): Revision {
  const { kind, subresource } = write;
  const before = live.object;
  const version = sent.metadata.resourceVersion ?? "";
  if (version !== "" && version !== before.metadata.resourceVersion) throw conflict(subjectOf(write), MODIFIED);
  validateUpdate(kind, before, sent);
  const object = combined(kind, before, sent, subresource);
  validate(kind, object);
  const metadata = { ...object.metadata };
  if (kind.generations && !sameJson(before.spec, object.spec)) metadata.generation = (metadata.generation ?? 1) + 1;
  const after = { ...object, metadata };
  if (manager.operation === "Apply") metadata.managedFields = sent.metadata.managedFields ?? [];
  else if (sameJson(withoutManagers(before), withoutManagers(object))) return live;
  else metadata.managedFields = afterUpdate(kind, manager, before, after);
  if (sameJson(before, inOrder(kind, after))) return live;
  return stored(write, after);
}

/** What a request for an object or its status may change; all else stays. */
function combined(kind: Kind, before: KubernetesObject, sent: KubernetesObject, subresource: string): KubernetesObject {
  const { labels, annotations, finalizers } = sent.metadata;
  const metadata: Metadata = { ...before.metadata };
  for (const [key, value] of Object.entries({ labels, annotations, finalizers })) {
    if (value === undefined || Object.keys(value).length === 0) delete metadata[key];
    else metadata[key] = value;
  }
  if (subresource === "status") return { ...before, metadata, status: sent.status };
  const status = kind.hasStatus ? { status: before.status } : {};
  return { ...sent, kind: before.kind, apiVersion: before.apiVersion, metadata, ...status };
}

/** Stores it, or only says what it would be. An object that waited for its last finalizer goes. */
function stored(write: Write, object: KubernetesObject): Revision {
  const { store, kind } = write;
  checkOptions(write);
  if (write.query.get("dryRun") === "All") return new Revision(store.version, inOrder(kind, object));
  const { deletionTimestamp, finalizers = [] } = object.metadata;
  const key = keyOf(kind, object.metadata);
  if (deletionTimestamp !== undefined && finalizers.length === 0 && kind.kind !== "Pod") {
    return store.remove(kind, key) ?? new Revision(store.version, object);
  }
  return store.write(kind, object);
}

function checkOptions({ query }: Write): void {
  const dryRun = query.get("dryRun");
  if (dryRun === null || dryRun === "All" || dryRun === "") return;
  throw invalidOptions("PatchOptions", [unsupportedValue("dryRun", `[${JSON.stringify(dryRun)}]`, ['"All"'])]);
}

function existing(write: Write): Revision {
  const live = write.store.get(write.kind, keyOf(write.kind, write));
  if (live === undefined) throw notFound(subjectOf(write));
  return live;
}

function withoutManagers({ metadata, ...rest }: KubernetesObject): JsonObject {
  const { managedFields: _, ...others } = metadata;
  return { ...rest, metadata: others };
}

/** A new object has no status of its own making; only nodes keep what a kubelet sends. */
function withoutStatus(kind: Kind, object: KubernetesObject): KubernetesObject {
  if (!kind.hasStatus || kind.kind === "Node") return object;
  const { status: _, ...rest } = object;
  return rest as KubernetesObject;
}

function withMetadata({ kind, namespace }: Write, sent: JsonObject, name: string): KubernetesObject {
  const metadata: JsonObject = isObject(sent.metadata) ? { ...sent.metadata } : {};
  delete metadata.managedFields;
  const place = kind.namespaced ? { namespace } : {};
  return { ...sent, kind: kind.kind, apiVersion: apiVersionOf(kind), metadata: { ...metadata, name, ...place } };
}

function nameIn({ metadata }: JsonObject): string {
  return isObject(metadata) && typeof metadata.name === "string" ? metadata.name : "";
}

function managerOf({ query, userAgent, subresource, clock }: Write, operation: "Update" | "Apply"): Manager {
  const name = query.get("fieldManager") ?? (userAgent.split("/")[0] || "unknown");
  return { name, operation, subresource, time: timestamp(clock.now()) };
}

/** @throws Failure 400 with what Go's parser says, as far as it is easy to tell */
function parsed({ kind, body }: Write): JsonObject {
  try {
    return asObject(JSON.parse(body.toString()));
  } catch (error) {
    const text = body.toString();
    const start = text.length > 30 ? `${text.slice(0, 30)} ...` : text;
    throw badRequest(
      `the object provided is unrecognized (must be of type ${kind.kind}): couldn't get version/kind; json parse error: ${goParserSays(error)} (${start})`,
    );
  }
}

function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch (error) {
    throw badRequest(goParserSays(error));
  }
}

function goParserSays(error: unknown): string {
  const message = error instanceof Error ? error.message : "";
  if (/end of JSON|Unterminated|after property name|double-quoted property name/.test(message)) {
    return "unexpected end of JSON input";
  }
  const found = /token '?(.)/.exec(message)?.[1] ?? "x";
  return `invalid character '${found}' looking for beginning of value`;
}

function asObject(value: unknown): JsonObject {
  if (!isObject(value)) throw badRequest("json: cannot unmarshal into Go value of type map[string]interface {}");
  return value;
}
