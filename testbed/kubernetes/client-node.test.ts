/** The server as an independent client sees it: the Kubernetes project's own for Node. */
import {
  CoreV1Api,
  CustomObjectsApi,
  type Informer,
  KubeConfig,
  type KubernetesObject,
  makeInformer,
  PatchStrategy,
  setHeaderOptions,
  type V1Node,
  Watch,
} from "@kubernetes/client-node";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { ApiServer } from "./api-server.ts";
import { manyNode, node } from "./node-objects.ts";
import { pod } from "./other-objects.ts";

let server: ApiServer;
let config: KubeConfig;
let api: CoreV1Api;

beforeEach(async () => {
  server = await ApiServer.start();
  config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: "testbed", server: server.url, caData: Buffer.from(server.caPem).toString("base64") }],
    users: [{ name: "agent", token: server.token }],
    contexts: [{ name: "testbed", cluster: "testbed", user: "agent" }],
    currentContext: "testbed",
  });
  api = config.makeApiClient(CoreV1Api);
  return () => server.stop();
});

const names = (list: { items: readonly KubernetesObject[] }): (string | undefined)[] =>
  list.items.map(({ metadata }) => metadata?.name);

describe("lists", () => {
  test("all of them, in pages, with selectors", async () => {
    for (const name of ["n3", "n1", "n2"]) server.put(node({ name, labels: { pool: name === "n1" ? "a" : "b" } }));
    expect(names(await api.listNode())).toEqual(["n1", "n2", "n3"]);
    const first = await api.listNode({ limit: 2 });
    expect(names(first)).toEqual(["n1", "n2"]);
    expect(first.metadata?.remainingItemCount).toBe(1);
    server.delete("nodes", "n3");
    const second = await api.listNode({ limit: 2, _continue: first.metadata?._continue ?? "" });
    expect(names(second)).toEqual(["n3"]);
    expect(second.metadata?.resourceVersion).toBe(first.metadata?.resourceVersion);
    expect(names(await api.listNode({ labelSelector: "pool in (b),pool" }))).toEqual(["n2"]);
    expect(names(await api.listNode({ fieldSelector: "metadata.name!=n2" }))).toEqual(["n1"]);
  });

  test("a page of a list that the server has forgotten is gone", async () => {
    for (const name of ["n1", "n2"]) server.put(node({ name }));
    const { metadata } = await api.listNode({ limit: 1 });
    server.put(node({ name: "n0" }));
    server.compact();
    await expect(api.listNode({ limit: 1, _continue: metadata?._continue ?? "" })).rejects.toMatchObject({ code: 410 });
  });

  test("500 nodes of 9 kB", async () => {
    for (let i = 0; i < 500; i++) server.put(manyNode(i));
    const { items } = await api.listNode();
    expect(items).toHaveLength(500);
    expect(items[499]?.status?.images).toHaveLength(30);
    expect(server.requests[0]).toMatchObject({ verb: "list", status: 200, ended: true });
  });
});

describe("writes", () => {
  const HEARTBEAT = { lastHeartbeatTime: "2026-11-29T13:00:00Z", lastTransitionTime: "2026-11-29T13:00:00Z" };
  const UP = { type: "NetworkUnavailable", status: "False", reason: "PodwireIsUp", message: "up", ...HEARTBEAT };

  test("a condition and an annotation by one strategic merge patch of the status", async () => {
    server.put(node({ name: "n1" }));
    const body = {
      metadata: { annotations: { "podwire.dev/mac": "8e:1b:0c:5d:11:ff" } },
      status: { conditions: [UP] },
    };
    const patched = await api.patchNodeStatus(
      { name: "n1", body },
      setHeaderOptions("Content-Type", PatchStrategy.StrategicMergePatch),
    );
    expect(patched.status?.conditions?.map(({ type }) => type)).toEqual([
      "MemoryPressure",
      "DiskPressure",
      "PIDPressure",
      "Ready",
      "NetworkUnavailable",
    ]);
    expect(patched.metadata?.annotations).toMatchObject({ "podwire.dev/mac": "8e:1b:0c:5d:11:ff" });
    const again = await api.patchNodeStatus(
      { name: "n1", body },
      setHeaderOptions("Content-Type", PatchStrategy.StrategicMergePatch),
    );
    expect(again.metadata?.resourceVersion).toBe(patched.metadata?.resourceVersion);
  });

  test("create, replace with an old version, delete", async () => {
    const body = { metadata: { name: "settings" }, data: { a: "1" } };
    const created = await api.createNamespacedConfigMap({ namespace: "podwire", body });
    await expect(api.createNamespacedConfigMap({ namespace: "podwire", body })).rejects.toMatchObject({ code: 409 });
    const place = { namespace: "podwire", name: "settings" };
    await api.replaceNamespacedConfigMap({ ...place, body: { ...created, data: { a: "2" } } });
    await expect(
      api.replaceNamespacedConfigMap({ ...place, body: { ...created, data: { a: "3" } } }),
    ).rejects.toMatchObject({ code: 409 });
    await api.deleteNamespacedConfigMap(place);
    await expect(api.readNamespacedConfigMap(place)).rejects.toMatchObject({ code: 404 });
  });

  test("a custom resource", async () => {
    const custom = config.makeApiClient(CustomObjectsApi);
    const place = { group: "podwire.dev", version: "v1alpha1", plural: "peernodes" };
    const body = {
      apiVersion: "podwire.dev/v1alpha1",
      kind: "PeerNode",
      metadata: { name: "n1" },
      spec: { addresses: ["192.0.2.1"], podCIDRs: ["10.244.1.0/24"], backend: "vxlan" },
    };
    await custom.createClusterCustomObject({ ...place, body });
    const list = (await custom.listClusterCustomObject(place)) as { items: { spec: unknown }[] };
    expect(list.items.map(({ spec }) => spec)).toEqual([body.spec]);
  });
});

describe("watches", () => {
  /** A copy of the nodes as an informer keeps it. */
  async function informer(): Promise<Informer<V1Node> & { list(): readonly V1Node[] }> {
    const made = makeInformer<V1Node>(config, "/api/v1/nodes", () => api.listNode());
    made.on("error", () => setTimeout(() => void made.start(), 1));
    await made.start();
    return made as Awaited<ReturnType<typeof informer>>;
  }

  const known = (made: { list(): readonly V1Node[] }): unknown =>
    made.list().map(({ metadata, spec }) => `${metadata?.name} ${spec?.podCIDR ?? "none"}`);

  test("an informer follows what happens", async () => {
    server.put(node({ name: "n1" }));
    const made = await informer();
    server.put(node({ name: "n1", podCidrs: ["10.244.1.0/24"] }));
    server.put(node({ name: "n2", podCidrs: ["10.244.2.0/24"] }));
    await vi.waitFor(() => expect(known(made)).toEqual(["n1 10.244.1.0/24", "n2 10.244.2.0/24"]));
    server.delete("nodes", "n1");
    await vi.waitFor(() => expect(known(made)).toEqual(["n2 10.244.2.0/24"]));
    await made.stop();
  });

  test("an informer gets over a history that is forgotten, and a server that starts again", async () => {
    server.put(node({ name: "n1" }));
    const made = await informer();
    await vi.waitFor(() => expect(server.watches).toBe(1));
    server.failWatches({ code: 410, reason: "Expired", message: "too old resource version: 1 (2)" });
    server.put(node({ name: "n2" }));
    await vi.waitFor(() => expect(known(made)).toEqual(["n1 none", "n2 none"]));
    await server.stop();
    server.put(node({ name: "n3" }));
    await server.restart();
    await vi.waitFor(() => expect(known(made)).toEqual(["n1 none", "n2 none", "n3 none"]), { timeout: 20_000 });
    await made.stop();
  });

  test("what is bound to a node comes as added, and what loses its label as deleted", async () => {
    const events: string[] = [];
    const controller = await new Watch(config).watch(
      "/api/v1/pods",
      { fieldSelector: "spec.nodeName=n1", labelSelector: "app" },
      (phase, object: KubernetesObject) => events.push(`${phase} ${object.metadata?.name}`),
      () => undefined,
    );
    server.put(pod({ name: "web", labels: { app: "web" } }));
    server.put(pod({ name: "web", labels: { app: "web" }, nodeName: "n1" }));
    server.put(pod({ name: "web", labels: { app: "web" }, nodeName: "n1", addresses: ["10.244.1.5"] }));
    server.put(pod({ name: "web", nodeName: "n1", addresses: ["10.244.1.5"] }));
    await vi.waitFor(() => expect(events).toEqual(["ADDED web", "MODIFIED web", "DELETED web"]));
    controller.abort();
    await vi.waitFor(() => expect(server.watches).toBe(0));
  });
});
