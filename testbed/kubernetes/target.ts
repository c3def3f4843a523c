/** What a request is about, as authorization sees it: the path taken apart. */

export interface Target {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** get, list, watch, create, update, patch, delete, deletecollection; for other paths the method in small letters. */
  readonly verb: string;
  /** Null for a path that is not below a group and version. */
  readonly resource: ResourceTarget | null;
}

export interface ResourceTarget {
  readonly group: string;
  readonly version: string;
  /** The plural. */
  readonly resource: string;
  readonly subresource: string;
  /** "" for all or none. */
  readonly namespace: string;
  /** "" for a collection. */
  readonly name: string;
}

const VERBS: Record<string, string> = {
  GET: "get",
  HEAD: "get",
  POST: "create",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};

/** @param url as it stands in the request line */
export function targetOf(method: string, url: string): Target {
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? "" : url.slice(mark + 1));
  const found = resourceOf(path);
  if (found === null) return { method, path, query, verb: method.toLowerCase(), resource: null };
  const { watch, ...resource } = found;
  if (watch) query.set("watch", "1");
  return { method, path, query, verb: verbOf(method, query, resource), resource };
}

function verbOf(method: string, query: URLSearchParams, { name }: ResourceTarget): string {
  const verb = VERBS[method] ?? method.toLowerCase();
  if (name !== "") return verb;
  if (verb === "delete") return "deletecollection";
  if (verb !== "get") return verb;
  const watch = query.get("watch");
  return watch !== null && watch !== "0" && watch.toLowerCase() !== "false" ? "watch" : "list";
}

/** Null for what names no resource: `/version`, `/api/v1`. */
function resourceOf(path: string): (ResourceTarget & { watch: boolean }) | null {
  const parts = path.split("/").slice(1);
  const prefix = parts[0] === "api" ? 2 : parts[0] === "apis" ? 3 : 0;
  let rest = parts.slice(prefix).map(decoded);
  if (prefix === 0 || rest.length === 0 || rest[0] === "") return null;
  const group = prefix === 2 ? "" : (parts[1] ?? "");
  const version = parts[prefix - 1] ?? "";
  const watch = rest[0] === "watch" && rest.length > 1;
  if (watch) rest = rest.slice(1);
  let namespace = "";
  if (rest[0] === "namespaces" && rest.length > 2 && !["status", "finalize"].includes(rest[2] ?? "")) {
    namespace = rest[1] ?? "";
    rest = rest.slice(2);
  }
  const [resource = "", name = "", ...others] = rest;
  if (resource === "namespaces") namespace = name;
  return { group, version, resource, namespace, name, subresource: others.join("/"), watch };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
