/** What the server says, beside what a real kube-apiserver 1.36 said: status, headers, framing, bodies. */
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
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
  server.authentication.addToken("low", { name: "low", groups: ["system:authenticated"] });
});
afterAll(() => server.stop());

beforeEach(async () => {
  client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
  return () => client.close();
});

const TOKENS: Readonly<Record<string, string>> = { agent: "agent-token", admin: "admin", nobody: "wrong", low: "low" };

/** Sends what was sent then. */
async function again({ request }: Recording, over = client): Promise<RawAnswer> {
  const headers = Object.fromEntries(
    request.headers.map(([name, value]) => [name, value.replace(/<TOKEN of (\w+)>/, (_, who) => TOKENS[who] ?? who)]),
  );
  delete headers["Content-Length"];
  const { method, target, body } = request;
  return over.exchange({ method, target, headers, ...(body === null ? {} : { body }) });
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

describe("situations", () => {
  beforeAll(() => restore("list-nodes-full", "nodes"));

  test("the later pages are of the version of the first, whatever happened meanwhile", async () => {
    server.put(node({ name: "n0" }));
    server.delete("nodes", "n13-notready");
    await expectSame("list-nodes-limit2-page2");
    await expectSame("list-nodes-limit2-page3");
  });

  test.each<[string, string, () => void]>([
    ["list-continue-410", "a page of a list that is forgotten", () => server.rewind(574)],
    ["list-exact-410", "a version that is forgotten", () => server.rewind(574)],
    ["watch-nodes-rv-old-410", "a watch from before a restart", () => server.rewind(571)],
    ["watch-events-uncached-rv1-410", "the same of what is not cached", () => server.rewind(571)],
    [
      "auth-no-token-anonymous-off",
      "nobody, where that is not allowed",
      () => Object.assign(server.authentication, { anonymous: false }),
    ],
    [
      "watchlist-off-sendinitialevents-422",
      "a streaming list of a server without",
      () => Object.assign(server.settings, { watchList: false }),
    ],
    ["apf-429-list", "too much to do", () => void server.faults.tooManyRequests()],
    [
      "watch-peernodes-429-initializing",
      "a cache that is not ready",
      () => void server.faults.tooManyRequests({ as: "status" }),
    ],
    ["etcd-hangs-watch-sendinitialevents", "an error in a stream", () => void server.faults.errorEvent()],
    ["etcd-hangs-long-lease-create", "no etcd", () => void server.faults.internalError()],
  ])("%s: %s", async (name, _, prepare) => {
    prepare();
    try {
      await expectSame(name);
    } finally {
      server.faults.clear();
      server.settings.watchList = true;
      server.authentication.anonymous = true;
    }
  });

  test("a list of a version from the future, after some patience", async () => {
    server.rewind(248);
    const answer = expectSame("list-rv-future");
    await vi.waitFor(() => expect(server.requests.at(-1)).toMatchObject({ verb: "list", ended: false }));
    await clock.advance(3000);
    await answer;
  });

  test.each([
    ["patch-413", 3_200_000],
    ["patch-nodestatus-annotations-toolong-422", 262_145],
  ])("%s", async (name, size) => {
    const recorded = await recording(name);
    const { request } = recorded;
    const body = JSON.stringify({ metadata: { annotations: { "podwire.dev/a": "a".repeat(size) } } });
    const answer = await again({ ...recorded, request: { ...request, body } });
    expectSameHead(answer, recorded);
    const message = (body: Buffer): unknown => (JSON.parse(body.toString()) as JsonObject).message;
    expect(message(Buffer.concat(answer.chunks))).toBe(message(bodyOf(recorded)));
  });
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
    "selfsubjectaccessreview-yes",
    "selfsubjectaccessreview-no",
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

test("what another manager has changed is applied by force only", async () => {
  const target = "/api/v1/namespaces/podwire/configmaps/podwire-config";
  const headers = { Authorization: "Bearer admin", "User-Agent": "podwire-agent/0.1.0" };
  const body = JSON.stringify({ data: { "net-conf.json": "{}" } });
  const type = { "Content-Type": "application/merge-patch+json" };
  expect(await client.exchange({ method: "PATCH", target, headers: { ...headers, ...type }, body })).toMatchObject({
    status: 200,
  });
  await expectSame("configmap-apply-conflict-409");
  const recorded = await recording("configmap-apply-force");
  const answer = await again(recorded);
  expectSameHead(answer, recorded);
  expect(comparable(JSON.parse(Buffer.concat(answer.chunks).toString()))).toEqual(
    comparable(JSON.parse(bodyOf(recorded).toString())),
  );
});

test("a watch says the same of the same writes", async () => {
  for (const { metadata } of server.list("peernodes")) server.delete("peernodes", metadata.name);
  const recorded = await recording("watch-peernodes-events");
  const target = recorded.request.target.replace("resourceVersion=488", `resourceVersion=${server.store.version}`);
  const answer = again({ ...recorded, request: { ...recorded.request, target } });
  await vi.waitFor(() => expect(server.watches).toBe(1));
  const writer = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
  const names = [
    "apply-new",
    "apply-change",
    "create",
    "merge-patch",
    "post-to-name",
    "create-unknown-field-warning",
    "delete",
  ];
  for (const [i, name] of names.entries()) {
    await again(await recording(`peernode-${name}`), writer);
    await vi.waitFor(() =>
      expect(server.requests.find(({ verb, ended }) => verb === "watch" && !ended)?.events).toBe(i + 1),
    );
  }
  writer.close();
  await clock.advance(6000);
  const events = (chunks: readonly Buffer[]): unknown =>
    chunks
      .map((chunk) => comparable(JSON.parse(chunk.toString())))
      .filter((event) => (event as JsonObject).type !== "BOOKMARK");
  const ended = await answer;
  expectSameHead(ended, recorded);
  expect(events(ended.chunks)).toEqual(events(recorded.response.chunks.map(([, chunk]) => chunkBytes(chunk))));
  const bookmark = (chunk: unknown): string => String(chunk).replace(/"\d+"/, "N");
  expect(bookmark(ended.chunks.at(-1))).toBe(bookmark(recorded.response.chunks.at(-1)?.[1]));
});
