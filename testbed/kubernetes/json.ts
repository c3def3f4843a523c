/** JSON as a Kubernetes API server writes it, and the shape that all its objects share. */

export type JsonObject = { [key: string]: unknown };

/** Who set which fields; `fieldsV1` is a tree of `f:NAME`, `k:{...}` and `v:...`. */
export type ManagedFields = {
  manager: string;
  operation: "Update" | "Apply";
  apiVersion: string;
  time?: string;
  fieldsType: "FieldsV1";
  fieldsV1: JsonObject;
  subresource?: string;
};

export type Metadata = {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  managedFields?: ManagedFields[];
  [other: string]: unknown;
};

/** A Node, a Pod and so on: also what tests hand in. */
export type KubernetesObject = {
  kind: string;
  apiVersion: string;
  metadata: Metadata;
  [other: string]: unknown;
};

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Two JSON values that say the same; the order of keys does not count. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => sameJson(item, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && sameJson(a[key], b[key]));
}

/** One line, as Go's encoding/json writes it: what HTML would take for markup is escaped. */
export function goJson(value: unknown): string {
  return escapeLikeGo(JSON.stringify(value));
}

/** The same over several lines, indented by two. */
export function prettyGoJson(value: unknown): string {
  return escapeLikeGo(JSON.stringify(value, null, 2));
}

function escapeLikeGo(text: string): string {
  return text.replace(/[<>&\u2028\u2029]/g, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A copy with all keys in the order of the alphabet, at every depth. */
export function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort(byBytes)
      .map((key) => [key, sorted(value[key])]),
  );
}

/** The order of Go's strings, which is that of UTF-8 bytes. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
