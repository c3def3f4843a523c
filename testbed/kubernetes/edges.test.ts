/** Requests that are odd or no HTTP at all, beside what the real server said to them. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ApiServer } from "./api-server.ts";
import { RawClient } from "./raw-client.ts";

interface Edge {
  readonly request: string;
  readonly response: string;
}

const edges = JSON.parse(await readFile(join(import.meta.dirname, "recordings/tls-http-edges.json"), "utf8")) as Record<
  string,
  Edge
>;

let server: ApiServer;
beforeAll(async () => {
  server = await ApiServer.start({ manifests: [] });
});
afterAll(() => server.stop());

/** Without what differs from run to run. */
function comparable(text: string): string {
  return text.replace(/^(Audit-Id|Date|X-Kubernetes-Pf-\S+): .*\r\n/gm, "$1\r\n");
}

test.each([
  "no-alpn",
  "connection-close",
  "no-host",
  "head",
  "options",
  "pipelined",
  "garbage",
  "trailing-slash",
  "double-slash",
  "dotdot",
])("%s", async (name) => {
  const { request = "", response = "" } = edges[name] ?? {};
  const client = await RawClient.connect({ host: server.host, port: server.port, ca: server.caPem });
  client.send(request.replaceAll("<TOKEN of agent>", server.token));
  expect(comparable(await client.text(Buffer.byteLength(response)))).toBe(comparable(response));
  client.close();
});
