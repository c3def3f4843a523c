/** The server in a process of its own does what it is told. */
import { expect, test, vi } from "vitest";
import { node } from "./node-objects.ts";
import { RawClient } from "./raw-client.ts";
import { RemoteApiServer } from "./remote.ts";

test("objects, faults, times and records", async () => {
  const server = await RemoteApiServer.start({ movedClock: true });
  await server.call("put", node({ name: "n1" }));
  expect(await server.call("get", "nodes", "n1")).toMatchObject({ kind: "Node", metadata: { name: "n1" } });
  const { host, port, caPem: ca, token } = server;
  const client = await RawClient.connect({ host, port, ca });
  const get = (target: string) => client.exchange({ target, headers: { Authorization: `Bearer ${token}` } });
  await server.fault("unauthorized", { times: 1 });
  expect((await get("/api/v1/nodes")).status).toBe(401);
  const watch = get("/api/v1/nodes?watch=1&allowWatchBookmarks=true&timeoutSeconds=100");
  await vi.waitFor(async () => expect(await server.watches()).toBe(1));
  await server.advance(100_000);
  expect((await watch).end).toBe("last chunk");
  expect((await server.requests()).map(({ status, events }) => [status, events])).toEqual([
    [401, 0],
    [200, 4],
  ]);
  expect(await server.accesses()).toMatchObject([{ verb: "watch", resource: "nodes" }]);
  await expect(server.call("list", "nothing")).rejects.toThrow("has no nothing");
  client.close();
  await server.end();
});
