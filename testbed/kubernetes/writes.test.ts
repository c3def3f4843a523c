/** Changes of objects: what is stored, what a watch says of it, and who owns which field. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { ApiServer } from "./api-server.ts";
import { MovedClock } from "./clock.ts";
import { isObject, type JsonObject } from "./json.ts";
import { node } from "./node-objects.ts";
import { pod } from "./other-objects.ts";
import { RawClient } from "./raw-client.ts";

let clock: MovedClock;
let server: ApiServer;
let client: RawClient;

beforeEach(async () => {
  clock = new MovedClock();
  server = await ApiServer.start({ clock });
  client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
  return async () => {
    client.close();
    await server.stop();
  };
});

interface Sent {
  readonly method: string;
  readonly target: string;
  readonly type?: string;
  readonly body?: unknown;
}

async function send({
  method,
  target,
  type = "application/json",
  body,
}: Sent): Promise<{ status: number; json: JsonObject }> {
  const headers = { Authorization: `Bearer ${server.token}`, "User-Agent": "test/1", "Content-Type": type };
  const answer = await client.exchange({
    method,
    target,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, json: JSON.parse(Buffer.concat(answer.chunks).toString()) as JsonObject };
}

/** The members of a watch's events that matter here. */
async function eventsOf(plural: string, what: () => Promise<unknown>): Promise<unknown[]> {
  const watcher = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
  const target = `/api/v1/${plural}?watch=1&resourceVersion=${server.store.version}&timeoutSeconds=1`;
  const answer = watcher.exchange({ target, headers: { Authorization: `Bearer ${server.token}` } });
  await vi.waitFor(() => expect(server.watches).toBe(1));
  await what();
  await clock.advance(1000);
  const lines = Buffer.concat((await answer).chunks)
    .toString()
    .split("\n")
    .slice(0, -1);
  watcher.close();
  return lines.map((line) => {
    const { type, object } = JSON.parse(line) as { type: string; object: { metadata: JsonObject } };
    const { deletionTimestamp, deletionGracePeriodSeconds } = object.metadata;
    return deletionTimestamp === undefined ? type : [type, deletionTimestamp, deletionGracePeriodSeconds];
  });
}

describe("pods end", () => {
  const POD = "/api/v1/namespaces/default/pods/web";

  test("on a node: with a grace period, then when the kubelet says so", async () => {
    server.put(pod({ name: "web", nodeName: "n1", addresses: ["10.244.1.5"] }));
    const events = await eventsOf("pods", async () => {
      expect((await send({ method: "DELETE", target: POD })).status).toBe(200);
      expect((await send({ method: "GET", target: POD })).status).toBe(200);
      await send({
        method: "DELETE",
        target: POD,
        body: { kind: "DeleteOptions", apiVersion: "v1", gracePeriodSeconds: 0 },
      });
    });
    expect(events).toEqual([
      ["MODIFIED", "2026-11-29T12:00:30Z", 30],
      ["MODIFIED", "2026-11-29T12:00:00Z", 0],
      ["DELETED", "2026-11-29T12:00:00Z", 0],
    ]);
    expect((await send({ method: "GET", target: POD })).status).toBe(404);
  });

  test("without a node: at once", async () => {
    server.put(pod({ name: "web" }));
    const events = await eventsOf("pods", () => send({ method: "DELETE", target: POD }));
    expect(events).toEqual([
      ["MODIFIED", "2026-11-29T12:00:00Z", 0],
      ["DELETED", "2026-11-29T12:00:00Z", 0],
    ]);
  });
});

const NODE = "/api/v1/nodes/n1";
const MERGE = "application/merge-patch+json";

test("a node with a finalizer stays until that is gone", async () => {
  const held = node({ name: "n1" });
  server.put({ ...held, metadata: { ...held.metadata, finalizers: ["example.test/hold"] } });
  const events = await eventsOf("nodes", async () => {
    await send({ method: "DELETE", target: NODE });
    await send({ method: "PATCH", target: NODE, type: MERGE, body: { metadata: { finalizers: null } } });
  });
  expect(events).toEqual([
    ["MODIFIED", "2026-11-29T12:00:00Z", 0],
    ["DELETED", "2026-11-29T12:00:00Z", 0],
  ]);
});

test("all objects of a collection go", async () => {
  for (const name of ["n1", "n2"]) server.put(node({ name }));
  expect((await send({ method: "DELETE", target: "/api/v1/nodes" })).status).toBe(200);
  expect(server.list("nodes")).toEqual([]);
});

describe("patches", () => {
  beforeEach(() => {
    server.put(node({ name: "n1", podCidrs: ["10.244.1.0/24"] }));
  });

  test("of the status do not touch the spec; dry runs touch nothing", async () => {
    const target = `${NODE}/status`;
    const body = { spec: { podCIDR: "10.9.0.0/24" }, metadata: { labels: { a: "b" } } };
    const tried = await send({ method: "PATCH", target: `${target}?dryRun=All`, type: MERGE, body });
    expect(tried.json).toMatchObject({ metadata: { labels: { a: "b" } } });
    expect(server.get("nodes", "n1")?.metadata.labels).not.toHaveProperty("a");
    const done = await send({ method: "PATCH", target, type: MERGE, body });
    expect(done.json).toMatchObject({ metadata: { labels: { a: "b" } }, spec: { podCIDR: "10.244.1.0/24" } });
  });

  test("JSON patches add, replace, move, copy, remove and test", async () => {
    const type = "application/json-patch+json";
    const body = [
      { op: "test", path: "/metadata/name", value: "n1" },
      { op: "add", path: "/metadata/annotations/example.test~1a", value: "1" },
      { op: "copy", from: "/metadata/annotations/example.test~1a", path: "/metadata/annotations/b" },
      { op: "move", from: "/metadata/annotations/example.test~1a", path: "/metadata/annotations/c" },
      { op: "remove", path: "/status/conditions/0" },
      { op: "replace", path: "/status/conditions/0/status", value: "True" },
    ];
    const { json } = await send({ method: "PATCH", target: `${NODE}/status`, type, body });
    expect(json).toMatchObject({ metadata: { annotations: { b: "1", c: "1" } } });
    const conditions = isObject(json.status) ? (json.status.conditions as JsonObject[]) : [];
    expect(conditions.map(({ type: kind, status }) => [kind, status])).toEqual([
      ["DiskPressure", "True"],
      ["PIDPressure", "False"],
      ["Ready", "True"],
    ]);
  });

  test("strategic merges delete items and members", async () => {
    const type = "application/strategic-merge-patch+json";
    const body = {
      metadata: { annotations: { "node.alpha.kubernetes.io/ttl": null } },
      status: { conditions: [{ $patch: "delete", type: "Ready" }] },
    };
    const { json } = await send({ method: "PATCH", target: `${NODE}/status`, type, body });
    expect(JSON.stringify(json)).not.toMatch(/"ttl"|KubeletReady/);
  });
});

test("what a manager applied and does not any more goes, unless somebody else has it", async () => {
  const target = "/apis/coordination.k8s.io/v1/namespaces/podwire/leases/n1";
  const apply = (manager: string, spec: JsonObject, force = false) =>
    send({
      method: "PATCH",
      target: `${target}?fieldManager=${manager}${force ? "&force=true" : ""}`,
      type: "application/apply-patch+yaml",
      body: { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name: "n1" }, spec },
    });
  expect((await apply("a", { holderIdentity: "n1", leaseDurationSeconds: 40 })).status).toBe(201);
  expect((await apply("b", { leaseDurationSeconds: 40 })).status).toBe(200);
  expect((await apply("b", { leaseDurationSeconds: 50 })).status).toBe(409);
  const { json } = await apply("a", { leaseTransitions: 1 });
  expect(json.spec).toEqual({ leaseDurationSeconds: 40, leaseTransitions: 1 });
  expect((await apply("b", { leaseTransitions: 2 }, true)).json.spec).toEqual({ leaseTransitions: 2 });
  const managers = server.get("leases", "n1", "podwire")?.metadata.managedFields ?? [];
  expect(managers.map(({ manager, fieldsV1 }) => [manager, fieldsV1])).toEqual([
    ["b", { "f:spec": { "f:leaseTransitions": {} } }],
  ]);
});
