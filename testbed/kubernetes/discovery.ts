/** What is no resource: version, health, and which groups and resources there are. */
import { goJson, type JsonObject } from "./json.ts";
import { apiVersionOf, KINDS, type Kind } from "./kinds.ts";

export interface Document {
  readonly type: "application/json" | "text/plain; charset=utf-8";
  readonly text: string;
}

const VERSION = {
  major: "1",
  minor: "36",
  emulationMajor: "1",
  emulationMinor: "36",
  minCompatibilityMajor: "1",
  minCompatibilityMinor: "35",
  gitVersion: "v1.36.2",
  gitCommit: "8e16b12fda5b1dccc41a6de48b3e356cc7d5048b",
  gitTreeState: "",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: "go1.26.10",
  compiler: "gc",
  platform: "linux/amd64",
};

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/** The order in which a CustomResourceDefinition's verbs come. */
const CUSTOM_VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/**
 * The document at a path; undefined if there is none.
 * @param address where the server is, for `/api`
 */
export function documentAt(path: string, address: string): Document | undefined {
  const plain = path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
  if (plain === "/version") return { type: "application/json", text: JSON.stringify(VERSION, null, 2) };
  if (["/livez", "/readyz", "/healthz"].includes(plain)) return { type: "text/plain; charset=utf-8", text: "ok" };
  const body = apiDocument(plain, address);
  return body === undefined ? undefined : { type: "application/json", text: `${goJson(body)}\n` };
}

function apiDocument(path: string, address: string): JsonObject | undefined {
  if (path === "/api") {
    const serverAddressByClientCIDRs = [{ clientCIDR: "0.0.0.0/0", serverAddress: address }];
    return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs };
  }
  const groups = new Map(KINDS.filter(({ group }) => group !== "").map((kind) => [kind.group, kind]));
  if (path === "/apis") {
    return { kind: "APIGroupList", apiVersion: "v1", groups: [...groups.values()].map(groupOf) };
  }
  const [, first, group = "", version] = path.split("/");
  if (first === "api" && path === "/api/v1") return resourceList(KINDS.filter((kind) => kind.group === ""));
  const known = first === "apis" ? groups.get(group) : undefined;
  if (known === undefined) return undefined;
  if (version === undefined) return { kind: "APIGroup", apiVersion: "v1", ...groupOf(known) };
  if (path !== `/apis/${apiVersionOf(known)}`) return undefined;
  return resourceList(KINDS.filter((kind) => kind.group === group));
}

function groupOf(kind: Kind): JsonObject {
  const version = { groupVersion: apiVersionOf(kind), version: kind.version };
  return { name: kind.group, versions: [version], preferredVersion: version };
}

function resourceList(kinds: readonly Kind[]): JsonObject {
  const groupVersion = kinds[0] === undefined ? "" : apiVersionOf(kinds[0]);
  /* The list of the core group is the one without an apiVersion. */
  const apiVersion = groupVersion === "v1" ? {} : { apiVersion: "v1" };
  return { kind: "APIResourceList", ...apiVersion, groupVersion, resources: kinds.flatMap(resourcesOf) };
}

function resourcesOf({ plural, singular, namespaced, kind, shortName, hasStatus, custom }: Kind): JsonObject[] {
  const verbs = custom ? CUSTOM_VERBS : VERBS;
  const shortNames = shortName === "" ? {} : { shortNames: [shortName] };
  const main = { name: plural, singularName: singular, namespaced, kind, verbs, ...shortNames };
  const status = { name: `${plural}/status`, singularName: "", namespaced, kind, verbs: ["get", "patch", "update"] };
  return hasStatus ? [main, status] : [main];
}
