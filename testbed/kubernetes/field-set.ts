/**
 * Sets of fields as `managedFields` hold them: a tree in which `{}` is a member, and what has members below is one itself
 * only with a ".".
 */
import { byBytes, isObject, type JsonObject, sameJson } from "./json.ts";
import type { Kind } from "./kinds.ts";
import { isAtomicMap, isStructure, itemKey, listType } from "./schema.ts";

export type FieldSet = { [key: string]: FieldSet };

/** What belongs to the server and to nobody else. */
const UNOWNED = new Set([
  "name",
  "generateName",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "managedFields",
]);

/** The children of a value, by their names in a set; null for what is one value by itself. */
function childrenOf(kind: Kind, path: string, value: unknown): Map<string, { path: string; value: unknown }> | null {
  const children = new Map<string, { path: string; value: unknown }>();
  if (Array.isArray(value)) {
    const type = listType(kind, path);
    if (type === "atomic") return null;
    for (const item of value) {
      const name = type === "set" ? `v:${JSON.stringify(item)}` : itemKey(type, item);
      children.set(name, { path, value: item });
    }
    return children;
  }
  if (!isObject(value) || isAtomicMap(kind, path)) return null;
  for (const [key, child] of Object.entries(value)) {
    if (path === "" && (key === "kind" || key === "apiVersion")) continue;
    if (path === "metadata" && UNOWNED.has(key)) continue;
    children.set(`f:${key}`, { path: path === "" ? key : `${path}.${key}`, value: child });
  }
  return children;
}

/** The fields that an applied configuration sets. */
export function fieldsOf(kind: Kind, value: unknown, path = ""): FieldSet {
  const children = childrenOf(kind, path, value);
  const set: FieldSet = {};
  for (const [name, child] of children ?? []) {
    const below = name.startsWith("v:") ? {} : fieldsOf(kind, child.value, child.path);
    if (Object.keys(below).length === 0 && isStructure(kind, child.path) && isObject(child.value)) continue;
    set[name] = name.startsWith("k:") ? { ".": {}, ...below } : below;
  }
  return set;
}

/** The fields in which `after` has something that `before` has not, or has it otherwise; null for none. */
export function changedFields(kind: Kind, before: unknown, after: unknown, path = ""): FieldSet | null {
  if (after === undefined || sameJson(before, after)) return null;
  const children = childrenOf(kind, path, after);
  if (children === null) return {};
  const earlier = before === undefined ? null : childrenOf(kind, path, before);
  const set: FieldSet = earlier === null && path !== "" && !isStructure(kind, path) ? { ".": {} } : {};
  for (const [name, child] of children) {
    const old = earlier?.get(name);
    if (name.startsWith("v:")) {
      if (old === undefined) set[name] = {};
      continue;
    }
    const below = changedFields(kind, old?.value, child.value, child.path);
    if (below !== null) set[name] = name.startsWith("k:") && old === undefined ? { ".": {}, ...below } : below;
  }
  if (Object.keys(set).length === 0) return isStructure(kind, path) || path === "" || before !== undefined ? null : {};
  return set;
}

/** What is in the one or in the other. */
export function union(a: FieldSet, b: FieldSet): FieldSet {
  const result: FieldSet = { ...a };
  for (const [name, below] of Object.entries(b)) {
    const own = a[name];
    if (own === undefined) result[name] = below;
    else if (isLeaf(own) !== isLeaf(below)) result[name] = { ".": {}, ...own, ...below };
    else result[name] = union(own, below);
  }
  return result;
}

/** What is in `a` and not in `b`. */
export function without(a: FieldSet, b: FieldSet): FieldSet {
  const result: FieldSet = {};
  for (const [name, own] of Object.entries(a)) {
    const other = b[name];
    if (other === undefined) result[name] = own;
    else if (!isLeaf(own)) {
      const rest = isLeaf(other) ? without(own, { ".": {} }) : without(own, other);
      if (Object.keys(rest).length > 0) result[name] = rest;
    } else if (!isLeaf(other) && other["."] === undefined) result[name] = own;
  }
  return result;
}

/** What of a set an object has. */
export function present(kind: Kind, set: FieldSet, value: unknown, path = ""): FieldSet {
  const children = childrenOf(kind, path, value);
  const result: FieldSet = {};
  for (const [name, below] of Object.entries(set)) {
    const child = children?.get(name);
    if (name === ".") result[name] = below;
    else if (child !== undefined) {
      const rest = isLeaf(below) ? {} : present(kind, below, child.value, child.path);
      if (isLeaf(below) || Object.keys(rest).length > 0) result[name] = rest;
    }
  }
  return result;
}

/** A field that two managers set, with what the one wants and what there is. */
export interface SharedField {
  /** As conflicts name it: `.data.settings`. */
  readonly shown: string;
  /** It alone, as a set. */
  readonly set: FieldSet;
  readonly wanted: unknown;
  readonly live: unknown;
}

interface SharedParts {
  readonly mine: FieldSet;
  readonly theirs: FieldSet;
  readonly wanted: unknown;
  readonly live: unknown;
  readonly path?: string;
}

/** The leaves that are in both sets. */
export function sharedFields(kind: Kind, { mine, theirs, wanted, live, path = "" }: SharedParts): SharedField[] {
  const wantedChildren = childrenOf(kind, path, wanted);
  const liveChildren = childrenOf(kind, path, live);
  return Object.entries(mine).flatMap(([name, below]) => {
    const other = theirs[name];
    const child = wantedChildren?.get(name);
    if (name === "." || other === undefined || child === undefined) return [];
    const place = shownName(name);
    const there = liveChildren?.get(name)?.value;
    if (isLeaf(below)) return [{ shown: place, set: { [name]: {} }, wanted: child.value, live: there }];
    const deeper = { mine: below, theirs: other, wanted: child.value, live: there, path: child.path };
    return sharedFields(kind, deeper).map((field) => ({
      ...field,
      shown: place + field.shown,
      set: { [name]: field.set },
    }));
  });
}

/** `.data`, `[type="Ready"]`. */
function shownName(name: string): string {
  if (name.startsWith("f:")) return `.${name.slice(2)}`;
  if (name.startsWith("v:")) return `[=${name.slice(2)}]`;
  const keys = JSON.parse(name.slice(2)) as JsonObject;
  const pairs = Object.entries(keys).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return `[${pairs.join(",")}]`;
}

function isLeaf(set: FieldSet): boolean {
  return Object.keys(set).length === 0;
}

/** The same with all names in order. */
export function sortedSet(set: FieldSet): FieldSet {
  const names = Object.keys(set).sort(byBytes);
  return Object.fromEntries(names.map((name) => [name, sortedSet(set[name] ?? {})]));
}
