/** A recording comes over TLS as it was. */
import { expect, test } from "vitest";
import { RawClient } from "./raw-client.ts";
import { chunkBytes, ReplayServer, recording } from "./replay.ts";

test.each(["list-nodes-utf8-split", "get-node-404", "peernode-list", "watch-peernodes-events"])("%s", async (name) => {
  const recorded = await recording(name);
  const server = await ReplayServer.start([recorded]);
  const client = await RawClient.connect({ host: "127.0.0.1", port: server.port, ca: server.authority.certificate });
  const answer = await client.exchange({ target: recorded.request.target });
  expect(answer.statusLine).toBe(recorded.response.statusLine);
  expect(answer.headers).toEqual(recorded.response.headers);
  expect(answer.chunks.map((chunk) => chunk.toString("base64"))).toEqual(
    recorded.response.chunks.map(([, chunk]) => chunkBytes(chunk).toString("base64")),
  );
  expect(answer.end).toBe(recorded.response.end.how);
  expect(server.requests).toEqual([`GET ${recorded.request.target}`]);
  client.close();
  await server.stop();
});

test("one that was cut is cut at the same byte", async () => {
  const recorded = await recording("cut-watch-fin");
  const server = await ReplayServer.start([recorded]);
  const client = await RawClient.connect({ host: "127.0.0.1", port: server.port, ca: server.authority.certificate });
  const answer = await client.exchange({ target: "/" });
  const [last] = recorded.response.chunks.slice(-1);
  expect(answer.end).toBe("closed");
  expect(answer.rest.toString()).toBe(`${last?.[2]?.announced.toString(16)}\r\n${last?.[1]}`);
  client.close();
  await server.stop();
});
