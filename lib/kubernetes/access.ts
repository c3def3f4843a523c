/** What a request asks for in the words of RBAC, and what a person can do about one that failed. Pure. */

import { textAt } from "../lists.ts";
import { clip } from "../text.ts";
import type { Failure } from "./status.ts";

/** A request in the words of RBAC: a rule that has the verb, the group and the resource allows it. */
export interface Access {
  readonly verb: string;
  /** "" for the core group */
  readonly group: string;
  readonly version: string;
  /** With the subresource: "nodes/status"; "" for a path that is no resource */
  readonly resource: string;
  /** "" for what is in no namespace, or in all */
  readonly namespace: string;
  /** "" for a collection */
  readonly name: string;
}

/** What a request asks for. @param target its path with the query string */
export function accessOf(method: string, target: string): Access {
  const question = target.indexOf("?");
  const path = question < 0 ? target : target.slice(0, question);
  const query = question < 0 ? "" : `&${target.slice(question + 1)}&`;
  const parts = path.split("/");
  /* "/api/v1/..." or "/apis/GROUP/VERSION/..."; a base path may stand before. */
  let root = parts.length;
  for (let at = parts.length - 1; at > 0; at -= 1) {
    if (textAt(parts, at) === "api" || textAt(parts, at) === "apis") root = at;
  }
  const isCore = textAt(parts, root) === "api";
  const group = isCore ? "" : textAt(parts, root + 1);
  const version = textAt(parts, root + (isCore ? 1 : 2));
  let at = root + (isCore ? 2 : 3);
  const isNamespaced = textAt(parts, at) === "namespaces" && at + 2 < parts.length;
  const namespace = isNamespaced ? textAt(parts, at + 1) : "";
  if (isNamespaced) at += 2;
  const name = textAt(parts, at + 1);
  const below = textAt(parts, at + 2);
  const resource = below === "" ? textAt(parts, at) : `${textAt(parts, at)}/${below}`;
  const isWatch = query.includes("&watch=true&") || query.includes("&watch=1&");
  return { verb: verbOf(method, name, isWatch), group, version, resource, namespace, name };
}

function verbOf(method: string, name: string, isWatch: boolean): string {
  if (method === "GET") return isWatch ? "watch" : name === "" ? "list" : "get";
  if (method === "POST") return "create";
  if (method === "PUT") return "update";
  return method === "PATCH" ? "patch" : "delete";
}

/** A failed request for the log: what was asked, what the server says, and what a person can do if time alone does not help. */
export function describeFailure(access: Access, failure: Failure): string {
  const { verb, resource, namespace, name } = access;
  const where = namespace === "" ? "" : ` in namespace ${clip(namespace)}`;
  const what = `cannot ${verb} ${clip(resource)}${name === "" ? "" : ` ${clip(name)}`}${where}`;
  if (failure.code === 0) return `${what}: ${failure.message}`;
  const said = failure.message === "" ? failure.reason : failure.message;
  const hint = hintFor(access, failure);
  return `${what}: the API server answers ${failure.code}${said === "" ? "" : `, ${said}`}${hint === "" ? "" : `; ${hint}`}`;
}

function hintFor(access: Access, failure: Failure): string {
  const { verb, group, version, resource, namespace, name } = access;
  if (failure.code === 401) return "the token or client certificate is not valid for this cluster, or has expired";
  if (failure.code === 403) {
    const verbs = verb === "list" || verb === "watch" ? '"get", "list", "watch"' : `"${verb}"`;
    const role = namespace === "" ? "ClusterRole" : `Role in namespace ${clip(namespace)}`;
    return `this needs a ${role} with the rule {apiGroups: ["${clip(group)}"], resources: ["${clip(resource)}"], verbs: [${verbs}]}, bound to this user`;
  }
  if (failure.code === 404 && name === "" && group !== "") {
    return `it has no ${clip(resource)} in ${clip(group)}/${clip(version)}: is the CustomResourceDefinition installed?`;
  }
  if (failure.code === 404 && name === "") return "is this address that of a Kubernetes API server?";
  return "";
}
