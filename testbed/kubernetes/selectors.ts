/** Label and field selectors: what of a list or a watch a client asks for. */
import { badRequest } from "./failure.ts";
import { isObject, type KubernetesObject } from "./json.ts";
import type { Kind } from "./kinds.ts";

export type Selector = (object: KubernetesObject) => boolean;

/**
 * `a=b,c!=d,e in (f,g),!h`.
 * @throws Failure 400
 */
export function labelSelector(text: string): Selector {
  const requirements = splitOutsideParentheses(text).map(labelRequirement);
  return (object) => requirements.every((meets) => meets(object.metadata.labels ?? {}));
}

type Requirement = (labels: Readonly<Record<string, string>>) => boolean;

function labelRequirement(text: string): Requirement {
  const set = /^\s*([^\s=!(),]+)\s+(in|notin)\s+\(([^()]*)\)\s*$/.exec(text);
  if (set !== null) {
    const [, key = "", operator, list = ""] = set;
    const values = list.split(",").map((value) => value.trim());
    if (operator === "in") return (labels) => key in labels && values.includes(labels[key] ?? "");
    return (labels) => !(key in labels && values.includes(labels[key] ?? ""));
  }
  const single = /^\s*(!?)\s*([^\s=!(),]+)\s*(?:(==|=|!=)\s*([^\s=!(),]*)\s*)?$/.exec(text);
  if (single === null) throw badRequest(`unable to parse requirement: ${complaint(text)}`);
  const [, not, key = "", operator, value = ""] = single;
  if (operator === undefined) return (labels) => key in labels === (not === "");
  if (operator === "!=") return (labels) => labels[key] !== value;
  return (labels) => labels[key] === value;
}

/** What the server's parser says of `a===b`; of other mistakes it says something like it. */
function complaint(text: string): string {
  const odd = /={3}|[()!]/.exec(text)?.[0] ?? text;
  return `found '${odd.slice(0, 1)}', expected: identifier`;
}

function splitOutsideParentheses(text: string): string[] {
  return text.trim() === "" ? [] : text.split(/,(?![^()]*\))/);
}

/**
 * `metadata.name=n1,status.phase!=Succeeded`.
 * @throws Failure 400 for a field that the kind does not offer
 */
export function fieldSelector(kind: Kind, text: string): Selector {
  const parts = text.split(",").filter((part) => part !== "");
  const tests = parts.map((part) => {
    const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(part);
    if (match === null) throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
    const [, path = "", operator, value = ""] = match;
    const otherwise = selectableDefault(kind, path);
    return (object: KubernetesObject) => ((valueAt(object, path) ?? otherwise) === value) === (operator !== "!=");
  });
  return (object) => tests.every((test) => test(object));
}

function selectableDefault(kind: Kind, path: string): string {
  if (path === "metadata.name" || (path === "metadata.namespace" && kind.namespaced)) return "";
  const otherwise = kind.selectable[path];
  if (otherwise === undefined) throw badRequest(`field label not supported: ${path}`);
  return otherwise;
}

function valueAt(object: KubernetesObject, path: string): string | undefined {
  let value: unknown = object;
  for (const step of path.split(".")) value = isObject(value) ? value[step] : undefined;
  return value === undefined || value === null ? undefined : String(value);
}
