/** What the server says, beside what a real kube-apiserver 1.36 said: status, headers, framing, bodies. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ApiServer } from "./api-server.ts";
import { ADMINISTRATOR } from "./authentication.ts";
import { MovedClock } from "./clock.ts";
import { isObject, type JsonObject, type KubernetesObject } from "./json.ts";
import { node } from "./node-objects.ts";
import { type RawAnswer, RawClient } from "./raw-client.ts";
import { bodyOf, chunkBytes, type Recording, recording } from "./replay.ts";

interface Rights {
  readonly clusterRole: JsonObject[];
  readonly roleInNamespacePodwire: JsonObject[];
}

/** The roles with which the recordings were made. */
async function manifests(): Promise<KubernetesObject[]> {
  const rights = (await recording("rbac")) as unknown as Rights;
  const metadata = { name: "podwire-agent", namespace: "podwire" };
  const subjects = [{ kind: "ServiceAccount", name: "podwire-agent", namespace: "podwire" }];
  const apiVersion = "rbac.authorization.k8s.io/v1";
  return [
    { kind: "ClusterRole", apiVersion, metadata, rules: rights.clusterRole },
    { kind: "Role", apiVersion, metadata, rules: rights.roleInNamespacePodwire },
    {
      kind: "ClusterRoleBinding",
      apiVersion,
      metadata,
      roleRef: { kind: "ClusterRole", name: "podwire-agent" },
      subjects,
    },
    { kind: "RoleBinding", apiVersion, metadata, roleRef: { kind: "Role", name: "podwire-agent" }, subjects },
  ];
}

const clock = new MovedClock(Date.parse("2026-11-29T13:20:00Z"));
let server: ApiServer;
let client: RawClient;

beforeAll(async () => {
  server = await ApiServer.start({ manifests: await manifests(), clock });
  server.authentication.addToken("admin", ADMINISTRATOR);
});
afterAll(() => server.stop());

beforeEach(async () => {
  client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
  return () => client.close();
});

const TOKENS: Readonly<Record<string, string>> = { agent: "agent-token", admin: "admin", nobody: "wrong" };

/** Sends what was sent then. */
async function again({ request }: Recording): Promise<RawAnswer> {
  const headers = Object.fromEntries(
    request.headers.map(([name, value]) => [name, value.replace(/<TOKEN of (\w+)>/, (_, who) => TOKENS[who] ?? who)]),
  );
  delete headers["Content-Length"];
  const { method, target, body } = request;
  return client.exchange({ method, target, headers, ...(body === null ? {} : { body }) });
}

function expectSameHead(answer: RawAnswer, { response }: Recording): void {
  expect(answer.statusLine).toBe(response.statusLine);
  expect(answer.headers.map(([name]) => name)).toEqual(response.headers.map(([name]) => name));
  const plain = (headers: readonly (readonly [string, string])[]): unknown =>
    headers.filter(([name]) => !/^(Audit-Id|Date|Content-Length|X-Kubernetes-Pf-.*)$/.test(name));
  expect(plain(answer.headers)).toEqual(plain(response.headers));
  expect(answer.framing).toBe(response.framing);
}

async function expectSame(name: string): Promise<void> {
  const recorded = await recording(name);
  const answer = await again(recorded);
  expectSameHead(answer, recorded);
  expect(answer.chunks.map((chunk) => chunk.toString("latin1"))).toEqual(
    recorded.response.chunks.map(([, chunk]) => chunkBytes(chunk).toString("latin1")),
  );
}

/** The objects of a recorded list and no others. */
async function restore(name: string, plural: string): Promise<void> {
  for (const { metadata } of server.list(plural)) server.delete(plural, metadata.name, metadata.namespace);
  const list = JSON.parse(bodyOf(await recording(name)).toString()) as RecordedList;
  const more = Array.from({ length: list.metadata.remainingItemCount ?? 0 }, (_, i) => node({ name: `zz-${i}` }));
  server.restore({ ...list, items: [...list.items, ...more] }, plural);
}

interface RecordedList {
  readonly items: KubernetesObject[];
  readonly metadata: { readonly resourceVersion: string; readonly remainingItemCount?: number };
}

describe("lists come with the same bytes in the same chunks", () => {
  test.each([
    ["list-nodes-full", "nodes"],
    ["list-nodes-utf8-split", "nodes"],
    ["list-networkpolicies-full", "networkpolicies"],
    ["peernode-list", "peernodes"],
  ])("%s", async (name, plural) => {
    await restore(name, plural);
    await expectSame(name);
  });
});

describe("errors and small answers come with the same bytes", () => {
  beforeAll(() => restore("list-nodes-full", "nodes"));

  test.each([
    "auth-wrong-token",
    "auth-anonymous-nodes",
    "create-node-409-exists",
    "create-node-bad-json-400",
    "create-networkpolicy-bad-cidr",
    "create-networkpolicy-bad-cidr-hostbits",
    "create-networkpolicy-bad-peer-both",
    "disc-api-podwire-missing",
    "disc-livez",
    "disc-version",
    "get-group-404",
    "get-node-404",
    "get-path-404",
    "get-path-404-root",
    "list-bad-continue-garbage",
    "list-bad-fieldselector",
    "list-bad-labelselector",
    "list-bad-limit-notanumber",
    "list-bad-match-unknown",
    "list-bad-match-without-rv",
    "list-bad-rv-notanumber",
    "list-bad-sendinitialevents-on-list",
    "list-nodes-406",
    "list-nodes-limit2-page1",
    "patch-node-403",
    "patch-nodestatus-400-badjson",
    "patch-nodestatus-404",
    "patch-nodestatus-409-rv",
    "patch-nodestatus-415",
    "patch-nodestatus-422-cond",
    "patch-nodestatus-422-uid",
    "patch-nodestatus-bad-dryrun",
    "patch-nodestatus-jsonpatch-test-fails",
    "peernode-bad-enum-422",
    "peernode-strategic-415",
    "peernode-unknown-field-apply",
    "rbac-403-leases-other-namespace",
    "rbac-403-node-delete",
    "rbac-403-nonresource",
    "rbac-403-secrets",
    "rbac-403-unknown-resource",
    "rbac-403-watch",
    "token-request-forbidden",
    "watch-param-match-without-sendinitialevents",
    "watch-param-rv-notanumber",
    "watch-param-sendinitialevents-match-exact",
    "watch-param-sendinitialevents-without-match",
    "configmap-apply-no-manager",
    "lease-bad-time",
  ])("%s", expectSame);
});

const UID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}/g;

/** Without what differs from run to run: identities, versions, times. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value === "string") return value.replace(UID, "UID");
  if (!isObject(value)) return value;
  const varying = ["uid", "resourceVersion", "creationTimestamp", "time"];
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => [key, varying.includes(key) ? typeof child : comparable(child)]),
  );
}

describe("writes answer with the same object", () => {
  beforeAll(async () => {
    for (const { metadata } of server.list("peernodes")) server.delete("peernodes", metadata.name);
    await restore("list-nodes-full", "nodes");
  });

  /* One builds on the other, as they were recorded. */
  test.each([
    "lease-create",
    "lease-create-409",
    "lease-apply-new",
    "lease-apply-again",
    "lease-put-409-conflict",
    "configmap-apply-new",
    "peernode-apply-new",
    "peernode-apply-same",
    "peernode-apply-change",
    "peernode-create",
    "peernode-create-409",
    "peernode-merge-patch",
    "peernode-post-to-name",
    "peernode-delete-precondition-409",
    "peernode-delete",
    "peernode-delete-404",
    "patch-nodestatus-strategic-condition",
    "patch-nodestatus-strategic-condition-again",
    "patch-nodestatus-merge-conditions-replaces",
  ])("%s", async (name) => {
    const recorded = await recording(name);
    const answer = await again(recorded);
    expectSameHead(answer, recorded);
    const text = (chunks: readonly Buffer[]): string => Buffer.concat(chunks).toString();
    const keys = (body: string): string => body.replace(UID, "UID").replace(/"\d+"|\d{4}-\d\d-\d\dT[\d:.]+Z/g, "N");
    const [is, was] = [text(answer.chunks), bodyOf(recorded).toString()];
    expect(comparable(JSON.parse(is))).toEqual(comparable(JSON.parse(was)));
    expect(keys(is)).toBe(keys(was));
  });
});
