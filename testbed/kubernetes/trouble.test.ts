/** What the testbed's API server can do to a client, and whom it lets in. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { ApiServer } from "./api-server.ts";
import { serviceAccount } from "./authentication.ts";
import { Authority } from "./certificates.ts";
import { MovedClock } from "./clock.ts";
import type { KubernetesObject } from "./json.ts";
import { manyNode, node } from "./node-objects.ts";
import { type RawAnswer, RawClient, type RawPlace } from "./raw-client.ts";
import type { Cut } from "./wire.ts";

let clock: MovedClock;
let server: ApiServer;

beforeEach(async () => {
  clock = new MovedClock();
  server = await ApiServer.start({ clock });
  return () => server.stop();
});

async function get(target: string, place: Partial<RawPlace> = {}, token = server.token): Promise<RawAnswer> {
  const client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem, ...place });
  const headers: Record<string, string> = token === "" ? {} : { Authorization: `Bearer ${token}` };
  const answer = await client.exchange({ target, headers });
  client.close();
  return answer;
}

const NODES = "/api/v1/nodes";

describe("faults", () => {
  beforeEach(() => {
    for (let i = 0; i < 3; i++) server.put(manyNode(i));
  });

  test.each<Cut>(["close_notify", "fin", "reset"])("a list is cut in the middle of a chunk by %s", async (cut) => {
    server.faults.cut(cut, 5000, { resource: "nodes", times: 1 });
    const answer = await get(NODES);
    expect(answer).toMatchObject({ status: 200, framing: "chunked", end: "closed" });
    expect(answer.chunks.map((chunk) => chunk.length)).toEqual([2048]);
    expect(answer.rest.length).toBe(5000 - "800\r\n".length - 2048 - 2);
    expect(await get(NODES)).toMatchObject({ status: 200, end: "last chunk" });
  });

  test("a list that hangs in the middle goes on hanging", async () => {
    server.faults.cut("hang", 5000);
    const client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
    const answer = client.exchange({ target: NODES, headers: { Authorization: `Bearer ${server.token}` } });
    await vi.waitFor(() => expect(server.requests[0]?.bytes).toBeGreaterThan(4000));
    client.close();
    expect(await answer).toMatchObject({ end: "closed" });
    await vi.waitFor(() => expect(server.connections).toBe(0));
  });

  test.each([
    [401, "Unauthorized", () => server.faults.unauthorized()],
    [403, "Forbidden", () => server.faults.forbidden()],
    [410, "Expired", () => server.faults.gone()],
    [429, "TooManyRequests", () => server.faults.tooManyRequests({ as: "status", retryAfter: 7 })],
    [503, "ServiceUnavailable", () => server.faults.unavailable()],
  ])("%i, until it is over", async (status, reason, fault) => {
    const switched = fault();
    const answer = await get(NODES);
    expect(answer.status).toBe(status);
    expect(JSON.parse(Buffer.concat(answer.chunks).toString())).toMatchObject({ kind: "Status", code: status, reason });
    switched.end();
    expect((await get(NODES)).status).toBe(200);
    expect(switched.hits).toBe(1);
  });

  test("429 as text, 500, an ERROR event of 410", async () => {
    server.faults.tooManyRequests({ retryAfter: 3 }, { times: 1 });
    const busy = await get(NODES);
    expect(busy.headers).toContainEqual(["Retry-After", "3"]);
    expect(busy.headers).toContainEqual(["Content-Type", "text/plain; charset=utf-8"]);
    server.faults.internalError({ times: 1 });
    expect((await get(NODES)).status).toBe(500);
    server.faults.goneEvent({ verb: "watch" });
    expect((await get(NODES)).status).toBe(200);
    const watch = await get(`${NODES}?watch=1`);
    expect(watch).toMatchObject({ status: 200, end: "last chunk" });
    expect(Buffer.concat(watch.chunks).toString()).toMatch(/^\{"type":"ERROR",.*"code":410\}\}\n$/);
  });

  test("a slow answer comes whole", async () => {
    const quick = await get(NODES);
    server.faults.slow({ bytesPerSecond: 400_000 });
    expect((await get(NODES)).chunks).toEqual(quick.chunks);
  });

  test("an answer is delayed by the server's clock", async () => {
    server.faults.slow({ delay: 5000 });
    const answer = get(NODES);
    await vi.waitFor(() => expect(server.requests).toHaveLength(1));
    expect(server.requests[0]?.status).toBe(0);
    await clock.advance(5000);
    expect((await answer).status).toBe(200);
  });

  test("compressed although nobody asked, a wrong length, deep nesting, no JSON", async () => {
    server.faults.add({ compressed: true }, { times: 1 });
    expect((await get(NODES)).headers).toContainEqual(["Content-Encoding", "gzip"]);
    server.faults.add({ lengthError: 10 }, { times: 1 });
    const client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
    const answer = client.exchange({ target: NODES, headers: { Authorization: `Bearer ${server.token}` } });
    await vi.waitFor(() => expect(server.requests[1]?.ended).toBe(true));
    client.close();
    expect(await answer).toMatchObject({ framing: "length", end: "closed" });
    server.faults.add({ nesting: 1000 }, { times: 1 });
    const nested = Buffer.concat((await get(NODES)).chunks).toString();
    expect(nested.split('{"a":[')).toHaveLength(1001);
    server.faults.body("<html>", { times: 1 });
    expect(Buffer.concat((await get(NODES)).chunks).toString()).toBe("<html>");
  });

  test.each(["header", "header line", "body"] as const)(
    "an endless %s goes on until the client leaves",
    async (endless) => {
      server.faults.add({ endless });
      const client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
      void client.exchange({ target: NODES, headers: { Authorization: `Bearer ${server.token}` } });
      await vi.waitFor(() => expect(server.requests[0]?.bytes).toBeGreaterThan(1_000_000));
      client.close();
      await vi.waitFor(() => expect(server.requests[0]?.ended).toBe(true));
    },
  );

  test("watches that end at once, and one that never says anything", async () => {
    server.faults.add({ endsAtOnce: true }, { verb: "watch", times: 1 });
    expect(await get(`${NODES}?watch=1`)).toMatchObject({ status: 200, end: "last chunk" });
    server.faults.add({ silence: true }, { verb: "watch" });
    const client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
    const answer = client.exchange({
      target: `${NODES}?watch=1&timeoutSeconds=10&allowWatchBookmarks=true`,
      headers: { Authorization: `Bearer ${server.token}` },
    });
    await vi.waitFor(() => expect(server.watches).toBe(1));
    await clock.advance(10_000_000);
    expect(server.watches).toBe(1);
    client.close();
    expect(await answer).toMatchObject({ status: 200, chunks: [] });
  });

  test("handshakes that hang and that break", async () => {
    server.faults.handshakes = "break";
    await expect(get(NODES)).rejects.toThrow();
    server.faults.handshakes = "hang";
    const waiting = get(NODES);
    await vi.waitFor(() => expect(server.connections).toBe(1));
    server.breakConnections();
    await expect(waiting).rejects.toThrow();
  });
});

describe("down and up", () => {
  test("a server that is stopped refuses, breaks watches off, and forgets its history", async () => {
    server.put(node({ name: "n1" }));
    const watch = get(`${NODES}?watch=1&resourceVersion=1`);
    await vi.waitFor(() => expect(server.requests[0]?.events).toBe(1));
    await server.stop();
    expect(await watch).toMatchObject({ status: 200, end: "closed" });
    await expect(get(NODES)).rejects.toThrow(/ECONNREFUSED/);
    await server.restart();
    const again = await get(`${NODES}?watch=1&resourceVersion=1`);
    expect(Buffer.concat(again.chunks).toString()).toMatch(/"code":410/);
  });

  test("a server that is asked to end lets watches stay for a minute, with bookmarks", async () => {
    const watch = get(`${NODES}?watch=1&allowWatchBookmarks=true&resourceVersion=1`);
    await vi.waitFor(() => expect(server.watches).toBe(1));
    const ended = server.terminate();
    await expect(get(NODES)).rejects.toThrow(/ECONNREFUSED/);
    server.put(node({ name: "n1" }));
    await clock.advance(60_000);
    const answer = await watch;
    expect(answer.end).toBe("last chunk");
    expect(Buffer.concat(answer.chunks).toString()).toMatch(/^(\{"type":"BOOKMARK".*\n)+$/);
    await ended;
  });
});

describe("who comes in", () => {
  test("tokens: unknown, expired, replaced", async () => {
    const user = serviceAccount("podwire", "podwire-agent");
    server.authentication.addToken("second", user, 600);
    expect((await get(NODES, {}, "second")).status).toBe(200);
    await clock.advance(600_000);
    expect((await get(NODES, {}, "second")).status).toBe(401);
    expect((await get(NODES, {}, "never")).status).toBe(401);
    server.authentication.revokeToken(server.token);
    expect((await get(NODES)).status).toBe(401);
    expect((await get(NODES, {}, "")).status).toBe(403);
    server.authentication.anonymous = false;
    expect((await get(NODES, {}, "")).status).toBe(401);
  });

  test("client certificates, good and bad", async () => {
    const parts = { name: "agent", groups: ["system:nodes"], use: "client" } as const;
    const good = await server.authority.issue(parts);
    expect((await get(NODES, { cert: good.certificate, key: good.key }, "")).status).toBe(200);
    expect(server.requests.at(-1)?.user).toBe("agent");
    const old = await server.authority.issue({ ...parts, from: new Date(0), until: new Date(1000) });
    expect((await get(NODES, { cert: old.certificate, key: old.key }, "")).status).toBe(401);
    const foreign = await (await Authority.create()).issue(parts);
    expect((await get(NODES, { cert: foreign.certificate, key: foreign.key }, "")).status).toBe(401);
  });

  test("roles decide, and what was asked for is known", async () => {
    const roleRef = { kind: "ClusterRole", name: "reader" };
    const subjects = [{ kind: "ServiceAccount", name: "podwire-agent", namespace: "podwire" }];
    const apiVersion = "rbac.authorization.k8s.io/v1";
    const rules = [{ apiGroups: [""], resources: ["nodes"], verbs: ["get", "list"] }];
    const manifests: KubernetesObject[] = [
      { kind: "ClusterRole", apiVersion, metadata: { name: "reader" }, rules },
      { kind: "ClusterRoleBinding", apiVersion, metadata: { name: "reader" }, roleRef, subjects },
    ];
    server.authorization.load(manifests);
    expect((await get(NODES)).status).toBe(200);
    expect((await get(`${NODES}?watch=1`)).status).toBe(403);
    expect((await get(`${NODES}/n1`)).status).toBe(404);
    expect((await get("/livez")).status).toBe(200);
    expect(server.authorization.accesses.map(({ verb, resource, name, path }) => [verb, resource, name, path])).toEqual(
      [
        ["list", "nodes", "", ""],
        ["watch", "nodes", "", ""],
        ["get", "nodes", "n1", ""],
        ["get", "", "", "/livez"],
      ],
    );
  });
});
