/** What tests rest on: lists, watches and times of the testbed's own API server. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { ApiServer } from "./api-server.ts";
import { MovedClock } from "./clock.ts";
import type { JsonObject } from "./json.ts";
import { node } from "./node-objects.ts";
import { peerNode, pod } from "./other-objects.ts";
import { type RawAnswer, RawClient } from "./raw-client.ts";

let clock: MovedClock;
let server: ApiServer;
let client: RawClient;

beforeEach(async () => {
  clock = new MovedClock();
  server = await ApiServer.start({ clock });
  client = await connected();
  return async () => {
    client.close();
    await server.stop();
  };
});

function connected(): Promise<RawClient> {
  return RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
}

const NODES = "/api/v1/nodes";
const PEERS = "/apis/podwire.dev/v1alpha1/peernodes";

function get(target: string): Promise<RawAnswer> {
  return client.exchange({ target, headers: { Authorization: `Bearer ${server.token}` } });
}

/** A watch that runs; its answer comes when it has ended. */
async function watching(target: string): Promise<{ answer: Promise<RawAnswer> }> {
  const before = server.watches;
  const answer = get(target);
  await vi.waitFor(() => expect(server.watches).toBe(before + 1));
  return { answer };
}

/** What a watch said: type, name and version of each event. */
function events({ chunks }: RawAnswer): string[] {
  const lines = Buffer.concat(chunks).toString().split("\n").slice(0, -1);
  return lines.map((line) => {
    const { type, object } = JSON.parse(line) as { type: string; object: { metadata: JsonObject; code?: number } };
    const marks = object.metadata.annotations as JsonObject | undefined;
    const end = type === "BOOKMARK" && marks?.["k8s.io/initial-events-end"] === "true" ? "end of what exists" : "";
    return [type, object.metadata.name ?? object.code ?? end].join(" ").trim();
  });
}

describe("watches", () => {
  test("a streaming list: what exists, its end, what happens then, the end by its time", async () => {
    server.put(node({ name: "n2" }));
    server.put(node({ name: "n1" }));
    const target = `${NODES}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=200`;
    const { answer } = await watching(target);
    server.put(node({ name: "n1", ready: false }));
    server.delete("nodes", "n2");
    server.put(node({ name: "n2" }));
    await vi.waitFor(() => expect(server.requests[0]?.events).toBe(6));
    await clock.advance(200_000);
    const ended = await answer;
    expect(ended.end).toBe("last chunk");
    expect(events(ended)).toEqual([
      "ADDED n1",
      "ADDED n2",
      "BOOKMARK end of what exists",
      "MODIFIED n1",
      "DELETED n2",
      "ADDED n2",
      "BOOKMARK",
      "BOOKMARK",
      "BOOKMARK",
      "BOOKMARK",
    ]);
    expect((await get("/livez")).status).toBe(200);
  });

  test("without bookmarks a quiet watch says nothing, and a short one has none", async () => {
    for (const target of [
      `${NODES}?watch=1&resourceVersion=1&timeoutSeconds=100`,
      `${NODES}?watch=1&allowWatchBookmarks=true&resourceVersion=1&timeoutSeconds=1`,
    ]) {
      const { answer } = await watching(target);
      await clock.advance(100_000);
      expect(await answer).toMatchObject({ status: 200, chunks: [], end: "last chunk" });
    }
  });

  test("an event is a chunk; events at once are pieces of 2,048 bytes", async () => {
    const quiet = await watching(`${PEERS}?watch=1&resourceVersion=1&timeoutSeconds=10`);
    const spec = { addresses: ["192.0.2.1"], podCIDRs: ["10.244.1.0/24"], backend: "vxlan" } as const;
    for (let i = 0; i < 3; i++) {
      server.put(peerNode(`p${i}`, spec));
      await vi.waitFor(() => expect(server.requests[0]?.events).toBe(i + 1));
    }
    await clock.advance(10_000);
    expect((await quiet.answer).chunks.map((chunk) => chunk.toString().split("\n").length)).toEqual([2, 2, 2]);
    for (let i = 0; i < 20; i++) server.put(peerNode(`q${i}`, spec));
    const replayed = await watching(`${PEERS}?watch=1&resourceVersion=1&timeoutSeconds=10`);
    await clock.advance(10_000);
    const sizes = (await replayed.answer).chunks.map((chunk) => chunk.length);
    expect(sizes.length).toBeGreaterThan(1);
    expect(sizes.slice(0, -1)).toEqual(sizes.slice(0, -1).fill(2048));
  });

  test("from a version that is forgotten: an ERROR event of 410, and the connection stays", async () => {
    server.put(node({ name: "n1" }));
    server.compact();
    const answer = await get(`${NODES}?watch=1&resourceVersion=1`);
    expect(answer).toMatchObject({ status: 200, end: "last chunk" });
    expect(events(answer)).toEqual(["ERROR 410"]);
    expect((await get("/livez")).status).toBe(200);
  });

  test("a running watch does not notice that the history is forgotten", async () => {
    const { answer } = await watching(`${NODES}?watch=1&resourceVersion=1&timeoutSeconds=10`);
    server.put(pod({ name: "other" }));
    server.compact();
    server.put(node({ name: "n1" }));
    await clock.advance(10_000);
    expect(events(await answer)).toEqual(["ADDED n1"]);
  });

  test("from the future: silence, without bookmarks, whatever happens", async () => {
    server.store.skip(1000);
    const version = server.store.version;
    server.rewind(10);
    const { answer } = await watching(
      `${NODES}?watch=1&allowWatchBookmarks=true&resourceVersion=${version}&timeoutSeconds=140`,
    );
    server.put(node({ name: "n1" }));
    await clock.advance(140_000);
    expect(await answer).toMatchObject({ status: 200, chunks: [], end: "last chunk" });
    const list = get(`${NODES}?resourceVersion=${version}&resourceVersionMatch=NotOlderThan`);
    await vi.waitFor(() => expect(server.requests).toHaveLength(2));
    await clock.advance(3000);
    expect(await list).toMatchObject({ status: 504 });
  });

  test("errors while it runs, bookmarks only, an early end", async () => {
    const failed = await watching(`${NODES}?watch=1&resourceVersion=1`);
    server.failWatches({ code: 500, reason: "InternalError", message: "context deadline exceeded" });
    expect(events(await failed.answer)).toEqual(["ERROR 500"]);
    server.settings.bookmarksOnly = true;
    const lossy = await watching(`${NODES}?watch=1&allowWatchBookmarks=true&resourceVersion=1`);
    server.put(node({ name: "n1" }));
    await clock.advance(60_000);
    server.endWatches();
    expect(events(await lossy.answer)).toEqual(["BOOKMARK"]);
  });
});

describe("lists", () => {
  test("from the cache: all of it whatever the limit, and as stale as the test wants it", async () => {
    for (const name of ["n1", "n2", "n3"]) server.put(node({ name }));
    server.settings.staleBy = 1;
    const names = async (query: string): Promise<unknown> => {
      const { chunks } = await get(`${NODES}?${query}`);
      const list = JSON.parse(Buffer.concat(chunks).toString()) as { items: { metadata: { name: string } }[] };
      return list.items.map(({ metadata }) => metadata.name);
    };
    expect(await names("limit=1")).toEqual(["n1"]);
    expect(await names("limit=1&resourceVersion=0")).toEqual(["n1", "n2"]);
    expect(await names("")).toEqual(["n1", "n2", "n3"]);
  });
});
