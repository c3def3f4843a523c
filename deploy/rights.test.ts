/** The agent's account may do what the agent does, and nothing else. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { serviceAccount, type User } from "../testbed/kubernetes/authentication.ts";
import { type Access, Authorization } from "../testbed/kubernetes/authorization.ts";
import type { KubernetesObject } from "../testbed/kubernetes/json.ts";
import { targetOf } from "../testbed/kubernetes/target.ts";
import { readDocuments } from "./expand.ts";

const podwire = await readDocuments(join(import.meta.dirname, "podwire.yaml"));
const taint = await readDocuments(join(import.meta.dirname, "startup-taint.yaml"));
const agent = serviceAccount("podwire", "podwire-agent");

/** What the agent sends. */
const ALWAYS: readonly (readonly [string, string])[] = [
  ["GET", "/api/v1/nodes"],
  ["GET", "/api/v1/nodes?watch=1&allowWatchBookmarks=true"],
  ["PATCH", "/api/v1/nodes/a/status"],
  ["POST", "/api/v1/namespaces/default/events"],
];
/** And with a startup taint. */
const TAINT: readonly (readonly [string, string])[] = [["PATCH", "/api/v1/nodes/a"]];

/** Neighbours of these requests, and what would hurt most. */
const NEVER: readonly (readonly [string, string])[] = [
  ["GET", "/api/v1/nodes/a"],
  ["PUT", "/api/v1/nodes/a"],
  ["PUT", "/api/v1/nodes/a/status"],
  ["DELETE", "/api/v1/nodes/a"],
  ["DELETE", "/api/v1/nodes"],
  ["POST", "/api/v1/nodes"],
  ["GET", "/api/v1/nodes/a/proxy/pods"],
  ["GET", "/api/v1/pods"],
  ["GET", "/api/v1/namespaces/default/events"],
  ["DELETE", "/api/v1/namespaces/default/events/a"],
  ["GET", "/api/v1/namespaces"],
  ["GET", "/api/v1/secrets"],
  ["GET", "/api/v1/namespaces/podwire/secrets"],
  ["GET", "/api/v1/namespaces/podwire/configmaps/podwire"],
  ["PATCH", "/api/v1/namespaces/podwire/configmaps/podwire"],
  ["POST", "/api/v1/namespaces/podwire/serviceaccounts/podwire-agent/token"],
  ["PATCH", "/apis/apps/v1/namespaces/podwire/daemonsets/podwire"],
  ["GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"],
  ["GET", "/apis/networking.k8s.io/v1/networkpolicies"],
  ["POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"],
];

function mayDo(user: User, manifests: readonly object[], [method, url]: readonly [string, string]): boolean {
  const authorization = new Authorization();
  authorization.load(manifests as KubernetesObject[]);
  const { verb, path, resource } = targetOf(method, url);
  const access: Access =
    resource === null
      ? { user: user.name, verb, group: "", resource: "", subresource: "", namespace: "", name: "", path }
      : { user: user.name, verb, ...resource, path: "" };
  return authorization.reason(user, access) !== null;
}

describe("the account of podwire.yaml", () => {
  test.each(ALWAYS)("may %s %s", (...request) => {
    expect(mayDo(agent, podwire, request)).toBe(true);
  });

  test.each([...TAINT, ...NEVER])("may not %s %s", (...request) => {
    expect(mayDo(agent, podwire, request)).toBe(false);
  });

  test("is one account, not all of its namespace", () => {
    for (const other of [serviceAccount("podwire", "default"), serviceAccount("default", "podwire-agent")]) {
      for (const request of ALWAYS) expect(mayDo(other, podwire, request)).toBe(false);
    }
  });
});

describe("with startup-taint.yaml it", () => {
  test.each([...ALWAYS, ...TAINT])("may %s %s", (...request) => {
    expect(mayDo(agent, [...podwire, ...taint], request)).toBe(true);
  });

  test.each(NEVER)("may not %s %s", (...request) => {
    expect(mayDo(agent, [...podwire, ...taint], request)).toBe(false);
  });
});

test("the agent's sources name no other resources than these tables", async () => {
  const folder = join(import.meta.dirname, "../agent");
  const found: string[] = [];
  for (const name of await readdir(folder)) {
    if (!name.endsWith(".ts") || name.endsWith(".test.ts")) continue;
    const text = await readFile(join(folder, name), "utf8");
    for (const [whole] of text.matchAll(/pathOf\(.*?\)|"\/apis?\/[^"]*"|\$\{this\.#path\}[^`]*|#path, \w+\(/g)) {
      found.push(`${name}: ${whole.replace(/[${}]/g, "")}`);
    }
  }
  expect(found.sort()).toEqual([
    'events.ts: "/api/v1/namespaces/default/events"',
    'nodes-observer.ts: "/api/v1/nodes"',
    "own-node-writer.ts: #path, withoutTaint(",
    'own-node-writer.ts: pathOf(["api", "v1", "nodes", nodeName])',
    "own-node-writer.ts: this.#path/status",
    "own-node-writer.ts: this.#path/status",
  ]);
});
