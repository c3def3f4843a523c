/** Who owns which fields of an object: ordinary writes take what they change, server-side apply asks first. */
import { applyConflict, type Cause } from "./failure.ts";
import {
  changedFields,
  type FieldSet,
  fieldsOf,
  present,
  sharedFields,
  sortedSet,
  union,
  without,
} from "./field-set.ts";
import { byBytes, isObject, type JsonObject, type KubernetesObject, type ManagedFields, sameJson } from "./json.ts";
import { apiVersionOf, type Kind } from "./kinds.ts";
import { itemKey, listType } from "./schema.ts";

export interface Manager {
  readonly name: string;
  readonly operation: "Update" | "Apply";
  /** "" or "status". */
  readonly subresource: string;
  /** A time as objects carry it. */
  readonly time: string;
}

/** The parts of an object whose fields a request can own: its status alone, or all but the status. */
export function ownable(kind: Kind, object: KubernetesObject, subresource: string): KubernetesObject {
  if (!kind.hasStatus) return object;
  const result = { ...object };
  delete result[subresource === "status" ? "spec" : "status"];
  return result;
}

/** The managed fields after an ordinary write. */
export function afterUpdate(
  kind: Kind,
  manager: Manager,
  before: KubernetesObject | null,
  after: KubernetesObject,
): ManagedFields[] {
  const entries = before?.metadata.managedFields ?? [];
  const part = (object: KubernetesObject): KubernetesObject => ownable(kind, object, manager.subresource);
  const changed = changedFields(kind, before === null ? {} : part(before), part(after));
  if (changed === null || Object.keys(changed).length === 0) return trimmed(kind, entries, after);
  const own = entries.find((entry) => isOf(entry, manager));
  const others = entries
    .filter((entry) => entry !== own)
    .map((entry) => withFields(entry, without(setOf(entry), changed)));
  const fields = own === undefined ? changed : union(setOf(own), changed);
  return trimmed(kind, [...others, entryOf(kind, manager, fields)], after);
}

/**
 * An object after an apply: what the configuration says, without what this manager applied earlier and does not any more.
 * @throws Failure 409 when others own a field that has another value, and `force` is not given
 */
export function applied(
  kind: Kind,
  manager: Manager,
  { live, config, force }: { live: KubernetesObject | null; config: KubernetesObject; force: boolean },
): KubernetesObject {
  const entries = live?.metadata.managedFields ?? [];
  const fields = fieldsOf(kind, config);
  const own = entries.find((entry) => isOf(entry, manager));
  let others = entries.filter((entry) => entry !== own);
  const conflicts = others.map((entry) => conflictsWith(kind, entry, { fields, config, live }));
  if (conflicts.some(({ causes }) => causes.length > 0)) {
    if (!force) throw applyConflict(conflicts.flatMap(({ causes }) => causes));
    others = others.map((entry, i) => withFields(entry, without(setOf(entry), conflicts[i]?.set ?? {})));
  }
  const dropped = others.reduce((set, entry) => without(set, setOf(entry)), without(setOf(own), fields));
  const base = live === null ? null : removeFields(kind, live, dropped, "");
  const merged = merge(kind, base, config, "") as KubernetesObject;
  const same = own !== undefined && sameJson(own.fieldsV1, fields);
  const entry = same ? own : entryOf(kind, manager, fields);
  merged.metadata.managedFields = trimmed(kind, [...others, entry], merged);
  return merged;
}

interface Against {
  readonly fields: FieldSet;
  readonly config: KubernetesObject;
  readonly live: KubernetesObject | null;
}

/** Fields of another manager that this configuration would give another value. */
function conflictsWith(
  kind: Kind,
  entry: ManagedFields,
  { fields, config, live }: Against,
): { causes: Cause[]; set: FieldSet } {
  const shared = sharedFields(kind, { mine: fields, theirs: setOf(entry), wanted: config, live });
  const contested = shared.filter(({ wanted, live: current }) => !sameJson(wanted, current));
  const where = entry.subresource === undefined ? "" : ` with subresource "${entry.subresource}"`;
  const message = `conflict with "${entry.manager}"${where} using ${entry.apiVersion}`;
  return {
    causes: contested.map(({ shown }) => ({ reason: "FieldManagerConflict", message, field: shown })),
    set: contested.reduce((set, field) => union(set, field.set), {} as FieldSet),
  };
}

/** A configuration over an object: lists that have keys item by item, sets as unions. */
function merge(kind: Kind, live: unknown, config: unknown, path: string): unknown {
  if (Array.isArray(config)) {
    const type = listType(kind, path);
    if (type === "atomic" || !Array.isArray(live)) return config;
    if (type === "set") return [...live, ...config.filter((item) => !live.includes(item))];
    const result = [...live];
    for (const item of config) {
      const at = result.findIndex((one) => itemKey(type, one) === itemKey(type, item));
      if (at < 0) result.push(item);
      else result[at] = merge(kind, result[at], item, path);
    }
    return result;
  }
  if (!isObject(config)) return config;
  const result: JsonObject = isObject(live) ? { ...live } : {};
  for (const [key, value] of Object.entries(config)) {
    result[key] = merge(kind, result[key], value, path === "" ? key : `${path}.${key}`);
  }
  return result;
}

function removeFields(kind: Kind, value: unknown, set: FieldSet, path: string): unknown {
  if (Array.isArray(value)) {
    const type = listType(kind, path);
    if (type === "atomic") return value;
    return value.flatMap((item) => {
      const below = set[type === "set" ? `v:${JSON.stringify(item)}` : itemKey(type, item)];
      if (below === undefined) return [item];
      return type === "set" || below["."] !== undefined ? [] : [removeFields(kind, item, below, path)];
    });
  }
  if (!isObject(value)) return value;
  const result: JsonObject = { ...value };
  for (const [name, below] of Object.entries(set)) {
    const key = name.slice(2);
    if (!name.startsWith("f:") || !(key in result)) continue;
    if (Object.keys(below).length === 0) delete result[key];
    else result[key] = removeFields(kind, result[key], below, path === "" ? key : `${path}.${key}`);
  }
  return result;
}

function isOf(entry: ManagedFields, { name, operation, subresource }: Manager): boolean {
  return entry.manager === name && entry.operation === operation && (entry.subresource ?? "") === subresource;
}

function setOf(entry: ManagedFields | undefined): FieldSet {
  return (entry?.fieldsV1 ?? {}) as FieldSet;
}

function withFields(entry: ManagedFields, fieldsV1: FieldSet): ManagedFields {
  return { ...entry, fieldsV1 };
}

function entryOf(kind: Kind, { name, operation, subresource, time }: Manager, fieldsV1: FieldSet): ManagedFields {
  return {
    manager: name,
    operation,
    apiVersion: apiVersionOf(kind),
    time,
    fieldsType: "FieldsV1",
    fieldsV1,
    ...(subresource === "" ? {} : { subresource }),
  };
}

/** Without entries and fields that are not there any more: those of apply first, then by time and name. */
function trimmed(kind: Kind, entries: readonly ManagedFields[], object: KubernetesObject): ManagedFields[] {
  return entries
    .map((entry) => withFields(entry, sortedSet(present(kind, setOf(entry), object))))
    .filter((entry) => Object.keys(entry.fieldsV1).length > 0)
    .sort(
      (a, b) =>
        byBytes(a.operation, b.operation) || byBytes(a.time ?? "", b.time ?? "") || byBytes(a.manager, b.manager),
    );
}
