/** The three patches: merge (RFC 7386), strategic merge, and JSON patch (RFC 6902). */
import { badRequest, detailsOf, Failure, failureStatus, invalid, invalidValue } from "./failure.ts";
import { isObject, type JsonObject, sameJson } from "./json.ts";
import type { Kind } from "./kinds.ts";
import { listType } from "./schema.ts";

/** Null removes, lists are replaced. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/**
 * Lists that have keys are merged item by item; `$patch: delete` and `replace`, `$deleteFromPrimitiveList/...` are known,
 * orders of elements are not kept.
 * @throws Failure 422 for a condition whose status is no string
 */
export function strategicPatch(kind: Kind, target: unknown, patch: JsonObject): JsonObject {
  checkConditions(patch);
  return mergeObject(kind, target, patch, "");
}

function mergeObject(kind: Kind, target: unknown, patch: JsonObject, path: string): JsonObject {
  const result: JsonObject = isObject(target) && patch.$patch !== "replace" ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    const [directive, of = ""] = key.split("/");
    const current = result[of];
    if (directive === "$deleteFromPrimitiveList" && Array.isArray(current) && Array.isArray(value)) {
      result[of] = current.filter((item) => !value.includes(item));
    }
    if (key.startsWith("$")) continue;
    const deeper = path === "" ? key : `${path}.${key}`;
    if (value === null) delete result[key];
    else if (Array.isArray(value)) result[key] = mergeList(kind, result[key], value, deeper);
    else result[key] = isObject(value) ? mergeObject(kind, result[key], value, deeper) : value;
  }
  return result;
}

function mergeList(kind: Kind, target: unknown, patch: readonly unknown[], path: string): unknown[] {
  const type = listType(kind, path);
  if (type === "atomic") return patch.filter((item) => !isDirective(item));
  if (patch.some((item) => isObject(item) && item.$patch === "replace"))
    return patch.filter((one) => !isDirective(one));
  const result: unknown[] = Array.isArray(target) ? [...target] : [];
  for (const item of patch) {
    if (type === "set") {
      if (!result.includes(item)) result.push(item);
      continue;
    }
    const keys = type.slice(0, 1);
    const same = (one: unknown): boolean =>
      isObject(one) && isObject(item) && keys.every((key) => sameJson(one[key], item[key]));
    const at = result.findIndex(same);
    if (isObject(item) && item.$patch === "delete") {
      if (at >= 0) result.splice(at, 1);
    } else if (at >= 0 && isObject(item)) result[at] = mergeObject(kind, result[at], item, path);
    else result.push(item);
  }
  return result;
}

function isDirective(item: unknown): boolean {
  return isObject(item) && typeof item.$patch === "string";
}

function checkConditions(patch: JsonObject): void {
  const status = isObject(patch.status) ? patch.status : {};
  const conditions = Array.isArray(status.conditions) ? status.conditions : [];
  if (!conditions.some((one) => isObject(one) && one.status !== undefined && typeof one.status !== "string")) return;
  throw invalid({}, [invalidValue("patch", JSON.stringify(goMap(patch)), "unrecognized type: string")]);
}

/** A value as Go prints it. */
function goMap(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goMap).join(" ")}]`;
  if (!isObject(value)) return String(value);
  const keys = Object.keys(value).sort();
  return `map[${keys.map((key) => `${key}:${goMap(value[key])}`).join(" ")}]`;
}

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** add, remove, replace, move, copy, test. @throws Failure 422 when one of them cannot be done */
export function jsonPatch(target: JsonObject, patch: unknown): JsonObject {
  if (!Array.isArray(patch)) throw badRequest("json: cannot unmarshal object into Go value of type jsonpatch.Patch");
  const holder = { root: structuredClone(target) as unknown };
  for (const one of patch as Operation[]) operate(holder, one);
  return holder.root as JsonObject;
}

function operate(holder: { root: unknown }, { op, path, from = "", value }: Operation): void {
  if (op === "test") {
    if (!sameJson(valueAt(holder, path), value)) throw impossible();
  } else if (op === "add" || op === "replace") {
    if (op === "replace" && valueAt(holder, path) === undefined) throw impossible();
    put(holder, path, value, op === "add");
  } else if (op === "remove") take(holder, path);
  else if (op === "move") put(holder, path, take(holder, from), true);
  else if (op === "copy") put(holder, path, structuredClone(valueAt(holder, from)), true);
  else throw impossible();
}

function impossible(): Failure {
  const message = "the server rejected our request due to an error in our request";
  const body = failureStatus({ code: 422, message, reason: "Invalid", details: detailsOf({}) });
  return new Failure({ status: 422, body });
}

/** What holds a place, and the last step to it. */
function placeOf(holder: { root: unknown }, path: string): { parent: unknown; step: string } {
  const steps = path.split("/").map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  let parent: unknown = holder;
  let step = "root";
  for (const next of steps.slice(1)) {
    parent = Array.isArray(parent) ? parent[Number(step)] : isObject(parent) ? parent[step] : undefined;
    step = next;
  }
  return { parent, step };
}

function valueAt(holder: { root: unknown }, path: string): unknown {
  const { parent, step } = placeOf(holder, path);
  if (Array.isArray(parent)) return parent[Number(step)];
  return isObject(parent) ? parent[step] : undefined;
}

function put(holder: { root: unknown }, path: string, value: unknown, insert: boolean): void {
  const { parent, step } = placeOf(holder, path);
  if (Array.isArray(parent)) parent.splice(step === "-" ? parent.length : Number(step), insert ? 0 : 1, value);
  else if (isObject(parent)) parent[step] = value;
  else throw impossible();
}

function take(holder: { root: unknown }, path: string): unknown {
  const { parent, step } = placeOf(holder, path);
  const value = valueAt(holder, path);
  if (value === undefined) throw impossible();
  if (Array.isArray(parent)) parent.splice(Number(step), 1);
  else if (isObject(parent)) delete parent[step];
  return value;
}
