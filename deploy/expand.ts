/**
 * What the files of deploy/ come to, for tests: of kustomize and of Helm just what these files use. Whatever else turned up would be
 * an error here, so files stay that simple.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";

/** Any object of Kubernetes. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  readonly [member: string]: unknown;
}

export function documents(text: string): Manifest[] {
  const found = parseAllDocuments(text);
  return found.map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as Manifest;
  });
}

export async function readDocuments(path: string): Promise<Manifest[]> {
  return documents(await readFile(path, "utf8"));
}

interface Kustomization {
  readonly apiVersion: string;
  readonly kind: string;
  readonly resources: string[];
  readonly patches?: { path: string }[];
}

/** `kubectl kustomize FOLDER`: files, other folders, and strategic merge patches of objects by kind and name. */
export async function kustomize(folder: string): Promise<Manifest[]> {
  const text = await readFile(join(folder, "kustomization.yaml"), "utf8");
  const { apiVersion, kind, resources, patches = [], ...rest } = parse(text) as Kustomization;
  if (apiVersion !== "kustomize.config.k8s.io/v1beta1" || kind !== "Kustomization" || Object.keys(rest).length > 0) {
    throw new Error(`${folder} asks for what this does not know: ${Object.keys(rest).join(", ")}`);
  }
  const objects: Manifest[] = [];
  for (const resource of resources) {
    const path = join(folder, resource);
    objects.push(...(resource.endsWith(".yaml") ? await readDocuments(path) : await kustomize(path)));
  }
  for (const { path } of patches) {
    for (const patch of await readDocuments(join(folder, path))) {
      const at = objects.findIndex((one) => one.kind === patch.kind && one.metadata.name === patch.metadata.name);
      if (at < 0) throw new Error(`${path} changes ${patch.kind} ${patch.metadata.name}: there is none`);
      objects[at] = merged(objects[at], patch) as Manifest;
    }
  }
  return objects;
}

/** Members are merged; so are lists of objects with names, as a pod's volumes and containers. Other lists are replaced. */
function merged(target: unknown, patch: unknown): unknown {
  if (Array.isArray(target) && Array.isArray(patch) && patch.every((item) => isMap(item) && item.name !== undefined)) {
    const result = [...target] as { name?: string }[];
    for (const item of patch as { name?: string }[]) {
      const at = result.findIndex(({ name }) => name === item.name);
      if (at < 0) result.push(item);
      else result[at] = merged(result[at], item) as { name?: string };
    }
    return result;
  }
  if (!isMap(target) || !isMap(patch)) return patch;
  const result = { ...target };
  for (const [key, value] of Object.entries(patch)) result[key] = merged(result[key], value);
  return result;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `helm template --namespace NAMESPACE --values VALUES FOLDER`, in the order of the files' names. */
export async function chart(folder: string, namespace: string, values: object = {}): Promise<Manifest[]> {
  const usual = parse(await readFile(join(folder, "values.yaml"), "utf8")) as object;
  const all = { Values: merged(usual, values), Release: { Namespace: namespace } };
  const objects: Manifest[] = [];
  for (const name of (await readdir(join(folder, "templates"))).sort()) {
    const text = render(await readFile(join(folder, "templates", name), "utf8"), all);
    if (text.trim() !== "") objects.push(...documents(text));
  }
  return objects;
}

/**
 * A template of Helm's that has nothing but `{{ .A.B }}`, `{{ toJson .A.B }}`, `| sha256sum`, and `{{- if .A.B }}` to `{{- end }}`
 * without another one inside.
 */
export function render(template: string, values: object): string {
  const chosen = template.replace(
    /\s*\{\{- if (\.[\w.]+) \}\}(.*?)\s*\{\{- end \}\}/gs,
    (_, path: string, inner: string) => (isTrue(lookUp(values, path)) ? inner : ""),
  );
  const text = chosen.replace(
    /\{\{ (toJson )?(\.[\w.]+)( \| sha256sum)? \}\}/g,
    (_, json: string | undefined, path: string, sum: string | undefined) => {
      const value = lookUp(values, path);
      if (value === undefined) throw new Error(`there is no ${path}`);
      if (json === undefined && typeof value !== "string") throw new Error(`${path} is no text`);
      const printed = json === undefined ? String(value) : JSON.stringify(value);
      return sum === undefined ? printed : createHash("sha256").update(printed).digest("hex");
    },
  );
  const rest = /\{\{.*/.exec(text);
  if (rest !== null) throw new Error(`this is not known: ${rest[0]}`);
  return text;
}

function lookUp(values: object, path: string): unknown {
  let value: unknown = values;
  for (const name of path.slice(1).split(".")) value = isMap(value) ? value[name] : undefined;
  return value;
}

/** What Go's templates take for true. */
function isTrue(value: unknown): boolean {
  return value !== undefined && value !== null && value !== "" && value !== false && value !== 0;
}
