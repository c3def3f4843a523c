/** The client of the API server, compiled, against a TLS server that answers as a test says: testbed/probes/api-watch. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Certificate, issue } from "../../testbed/certificates.ts";
import { recordingsIn } from "../../testbed/kubernetes/recorded-answers.ts";
import { probe } from "./probes.ts";
import { type Listening, tlsServer } from "./tls-servers.ts";

const recordings = recordingsIn(join(import.meta.dirname, "../../testbed/kubernetes/recordings"));
/** The bytes of a recorded answer. */
const recorded = (name: string): Buffer => {
  const found = recordings.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no recording ${name}`);
  return found.bytes;
};

let root = "";
let authority: Certificate;
let server: Certificate;
let listening: Listening[] = [];
let running: ChildProcess[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "podwire-api-"));
  authority = issue({ name: "authority", isAuthority: true });
  server = issue({ name: "server", hosts: ["127.0.0.1"], signer: authority });
});

afterEach(async () => {
  for (const one of running) one.kill("SIGKILL");
  running = [];
  await Promise.all(listening.map((one) => one.close()));
  listening = [];
});

afterAll(() => rm(root, { recursive: true, force: true }));

/** A request as the server got it: "1 GET /path token", with the number of its connection. */
type Answering = (request: string, socket: TLSSocket) => void;

/** A server that answers requests one by one. @returns what was asked */
async function serve(answer: Answering): Promise<string[]> {
  const requests: string[] = [];
  let connections = 0;
  const one = await tlsServer({ cert: server.certificate, key: server.key }, (socket) => {
    connections += 1;
    const number = connections;
    let head = "";
    socket.on("data", (data: Buffer) => {
      head += data.toString("latin1");
      for (let end = head.indexOf("\r\n\r\n"); end >= 0; end = head.indexOf("\r\n\r\n")) {
        const [line = "", ...headers] = head.slice(0, end).split("\r\n");
        head = head.slice(end + 4);
        const token = headers.find((header) => header.startsWith("Authorization: Bearer "))?.slice(22);
        const request = `${number} ${line.replace(" HTTP/1.1", "").replace(/timeoutSeconds=\d+/, "timeoutSeconds=N")} ${token}`;
        requests.push(request);
        answer(request, socket);
      }
    });
  });
  listening.push(one);
  await writeFile(join(root, "token"), "first");
  const config = {
    clusters: [{ name: "c", cluster: { server: `https://127.0.0.1:${one.port}`, "certificate-authority": "ca.crt" } }],
    users: [{ name: "u", user: { tokenFile: "token" } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  };
  await writeFile(join(root, "ca.crt"), authority.certificate);
  await writeFile(join(root, "config"), JSON.stringify(config));
  return requests;
}

/** The probe while it runs. */
interface Running {
  readonly process: ChildProcess;
  readonly lines: AsyncIterator<string>;
}

/** Starts the probe. */
function watch(...more: readonly string[]): Running {
  const process = spawn(probe("api-watch"), [join(root, "config"), "node-7", ...more], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  running.push(process);
  return { process, lines: createInterface({ input: process.stdout })[Symbol.asyncIterator]() };
}

/** The lines up to one that begins with a text. */
async function linesUntil({ lines }: Running, last: string): Promise<string[]> {
  const taken: string[] = [];
  for (let next = await lines.next(); next.done !== true; next = await lines.next()) {
    taken.push(next.value);
    if (next.value.startsWith(last)) return taken;
  }
  throw new Error(`no line begins with "${last}":\n${taken.slice(-20).join("\n")}`);
}

const STREAM =
  "GET /api/v1/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=N&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
const chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const event = (type: string, name: string, version: string, more: object = {}): string =>
  `${JSON.stringify({ type, object: { kind: "Node", metadata: { name, resourceVersion: version, ...more } } })}\n`;
const endMark = event("BOOKMARK", "", "9", { annotations: { "k8s.io/initial-events-end": "true" } });

test("a recorded streaming list, then the watch, on the same connection", async () => {
  let answered = 0;
  const requests = await serve((_request, socket) => {
    answered += 1;
    if (answered === 1) socket.write(recorded("watch-nodes-sendinitialevents-rv"));
    if (answered === 2) socket.write(chunked + chunk(event("DELETED", "n2", "300")));
  });
  const watching = watch();
  const first = await linesUntil(watching, "synced");
  expect(first[0]).toBe("begin");
  expect(first[1]).toBe(
    'put {"kind":"Node","metadata":{"name":"n11-windows","resourceVersion":"243","annotations":{}},"spec":{"podCIDRs":["10.244.11.0/24"]},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.21"},{"type":"Hostname","address":"n11-windows"}]}}',
  );
  await linesUntil(watching, 'remove {"kind":"Node","metadata":{"name":"n2"');
  expect(requests).toEqual([`1 ${STREAM} first`, expect.stringMatching(/^1 GET .*&resourceVersion=\d+ first$/)]);
});

test("an object is read on a connection of its own; after 401 with the new token", async () => {
  await serve((request, socket) => {
    if (!request.includes("/nodes/n1")) return;
    if (request.endsWith(" first")) {
      void writeFile(join(root, "token"), "second").then(() => socket.write(recorded("auth-wrong-token")));
    } else {
      const body = '{"kind":"Node","metadata":{"name":"n1","uid":"u"}}';
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    }
  });
  const taken = await linesUntil(watch("/api/v1/nodes/n1"), "done");
  expect(taken.at(-1)).toBe('done {"kind":"Node","metadata":{"name":"n1"}}');
});

test("a list that is cut off is read again; a server without streaming lists is asked for pages", async () => {
  let answered = 0;
  const requests = await serve((_request, socket) => {
    answered += 1;
    if (answered === 1) socket.end(chunked + chunk(event("ADDED", "n1", "5")));
    if (answered === 2) socket.write(recorded("watchlist-off-sendinitialevents-422"));
    if (answered === 3) socket.write(recorded("list-nodes-empty"));
  });
  const taken = await linesUntil(watch(), "synced");
  expect(taken).toEqual([
    "begin",
    'put {"kind":"Node","metadata":{"name":"n1","resourceVersion":"5"}}',
    "trouble cannot watch nodes: the connection was closed in the middle of the answer",
    "begin",
    expect.stringMatching(/^synced \d+ kB$/),
  ]);
  expect(requests.slice(0, 3)).toEqual([
    `1 ${STREAM} first`,
    `2 ${STREAM} first`,
    "2 GET /api/v1/nodes?limit=500 first",
  ]);
});

test("a list of 5,000 nodes leaves no trace in memory", async () => {
  const padding = { managedFields: [{ text: "x".repeat(8000) }] };
  await serve((_request, socket) => {
    socket.write(chunked);
    for (let i = 0; i < 5000; i += 1) socket.write(chunk(event("ADDED", `n${i}`, `${i + 1}`, padding)));
    socket.write(chunk(endMark));
  });
  const [, peak] = (await linesUntil(watch(), "synced")).at(-1)?.split(" ") ?? [];
  expect(Number(peak)).toBeLessThan(1200);
});

test("nobody listens: it says so and goes on", async () => {
  await serve(() => {});
  await Promise.all(listening.map((one) => one.close()));
  listening = [];
  const watching = watch();
  const [line] = await linesUntil(watching, "trouble");
  expect(line).toMatch(/^trouble cannot watch nodes: no connection to 127.0.0.1:\d+: refused/);
  expect(watching.process.exitCode).toBe(null);
});
