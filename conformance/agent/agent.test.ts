/** The node agent in a cluster of namespaces: what the API server says is what the kernels of the nodes hold. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { patience, until } from "../../testbed/harness.ts";
import { AgentCluster } from "./cluster.ts";

let cluster: AgentCluster;

afterEach(async () => {
  await cluster.remove();
});

interface Tainted {
  readonly spec: { readonly taints: readonly object[] };
  readonly status: { readonly conditions: readonly object[] };
}

const SOON = 15_000 * patience;

/** Waits until a node has routes to the pods of exactly these nodes. */
async function expectRoutes(number: number, peers: readonly number[]): Promise<void> {
  const wanted = cluster.podCidrs(...peers);
  await until(async () => `${await cluster.routes(number)}` === `${wanted}`, SOON);
  expect(await cluster.routes(number), cluster.agents.get(number)?.log()).toEqual(wanted);
}

describe("a cluster", () => {
  it("has a flat network of pods as soon as its agents run", async () => {
    cluster = await AgentCluster.create(3);
    await cluster.start();
    for (const number of [1, 2, 3])
      await expectRoutes(
        number,
        [1, 2, 3].filter((other) => other !== number),
      );
    const [one, two] = [await cluster.pod(1), await cluster.pod(2)];
    expect(await one.netns.ping(two.v4)).toBe(true);
    expect(await two.netns.ping(one.v6)).toBe(true);
  });

  it("follows nodes that join, leave and change", async () => {
    cluster = await AgentCluster.create(2);
    await cluster.start();
    await cluster.addNode(3);
    cluster.put(3);
    await expectRoutes(1, [2, 3]);
    cluster.put(3, { podCidrs: cluster.record(9).podCIDRs });
    await expectRoutes(1, [2, 9]);
    cluster.server.delete("nodes", cluster.nodeName(3));
    await expectRoutes(1, [2]);
    cluster.server.delete("nodes", cluster.nodeName(2));
    await expectRoutes(1, []);
    expect(cluster.agents.get(1)?.log()).toContain(`node ${cluster.nodeName(3)} joined`);
  });

  it("removes who has gone while the agent was away, and keeps all until it knows", async () => {
    cluster = await AgentCluster.create(3);
    await cluster.start();
    await cluster.kill(1);
    cluster.server.delete("nodes", cluster.nodeName(3));
    expect(await cluster.routes(1)).toEqual(cluster.podCidrs(2, 3));
    await cluster.begin(1);
    await expectRoutes(1, [2]);
  });
});

describe("a node", () => {
  it("is not ready before it has podCIDRs, and says whose task they are", async () => {
    cluster = await AgentCluster.create(1);
    cluster.put(1, { podCidrs: [] });
    await cluster.begin(1);
    await until(async () => (await cluster.ask(1, "check")).stdout.includes("podCIDRs"), SOON);
    const { exitCode, stdout } = await cluster.ask(1, "check");
    expect([exitCode, stdout]).toEqual([1, expect.stringContaining("--allocate-node-cidrs=true")]);
    expect(await cluster.conflist(1)).toBeNull();
    cluster.put(1);
    await cluster.ready(1);
    expect(await cluster.conflist(1)).toMatchObject({ name: "podwire" });
  });

  it("does not believe a list without itself", async () => {
    cluster = await AgentCluster.create(2);
    await cluster.start();
    cluster.server.delete("nodes", cluster.nodeName(1));
    await until(async () => (await cluster.ask(1, "check")).exitCode === 1, SOON);
    expect((await cluster.ask(1, "check")).stdout).toContain(
      `the API server has no node ${cluster.nodeName(1)}: nothing is changed`,
    );
    expect(await cluster.routes(1)).toEqual(cluster.podCidrs(2));
  });

  it("says the condition NetworkUnavailable is over, and loses its startup taint", async () => {
    cluster = await AgentCluster.create(1, { startupTaint: "example.com/no-network" });
    const object = cluster.server.get("nodes", cluster.nodeName(1));
    if (object === undefined) throw new Error("no node");
    const spec = object.spec as Record<string, unknown>;
    const status = object.status as { conditions: object[] };
    cluster.server.put({
      ...object,
      spec: {
        ...spec,
        taints: [
          { key: "example.com/no-network", effect: "NoSchedule" },
          { key: "other", effect: "NoExecute" },
        ],
      },
      status: { ...status, conditions: [...status.conditions, { type: "NetworkUnavailable", status: "True" }] },
    });
    await cluster.start();
    const changed = (): Tainted => cluster.server.get("nodes", cluster.nodeName(1)) as unknown as Tainted;
    await until(() => changed().spec.taints.length === 1, SOON);
    expect(changed().spec.taints).toEqual([{ key: "other", effect: "NoExecute" }]);
    await until(() => JSON.stringify(changed().status.conditions).includes("PodwireIsUp"), SOON);
    expect(changed().status.conditions).toContainEqual(
      expect.objectContaining({ type: "NetworkUnavailable", status: "False", reason: "PodwireIsUp" }),
    );
    expect(changed().status.conditions).toHaveLength(status.conditions.length + 1);
  });

  it("hurts nobody with a network that another one has", async () => {
    cluster = await AgentCluster.create(3);
    await cluster.start();
    await cluster.addNode(5);
    cluster.put(5, { podCidrs: cluster.record(3).podCIDRs });
    await until(() => cluster.agents.get(1)?.log().includes(cluster.nodeName(5)) === true, SOON);
    await until(async () => (await cluster.routes(1)).length > 0, SOON);
    expect(await cluster.routes(1)).toEqual(expect.arrayContaining(cluster.podCidrs(2)));
    const [one, two] = [await cluster.pod(1), await cluster.pod(2)];
    expect(await one.netns.ping(two.v4)).toBe(true);
  });
});

describe("files of others", () => {
  it("ip-masq-agent's configuration counts, and what it said last stands while it is wrong; numbers are for all to read", async () => {
    cluster = await AgentCluster.create(1);
    const [config, numbers] = [join(cluster.directory, "ip-masq-agent"), join(cluster.directory, "podwire.prom")];
    await writeFile(config, "nonMasqueradeCIDRs:\n  - 100.64.0.0/10\nmasqLinkLocal: true\n");
    await cluster.begin(1, [`--ip-masq-agent=${config}`, `--metrics=${numbers}`]);
    await cluster.ready(1);
    const rules = () => cluster.node(1).netns.exec("nft", ["list", "ruleset"]);
    const exempt = async () => (await cluster.conflist(1))?.plugins as { nonMasqueradeCIDRs: string[] }[];
    expect((await exempt())[0]?.nonMasqueradeCIDRs).toEqual(["100.64.0.0/10", "fe80::/10"]);
    expect(await rules()).toContain("100.64.0.0/10");
    expect(await readFile(numbers, "utf8")).toContain("\npodwire_agent_working 1\n");
    expect((await stat(numbers)).mode & 0o777).toBe(0o644);
    await writeFile(config, "nonMasqueradeCIDRs: nonsense\n");
    cluster.put(7);
    await until(() => cluster.agents.get(1)?.log().includes("nonMasqueradeCIDRs") === true, SOON);
    expect(cluster.agents.get(1)?.log()).toContain('invalid value for "nonMasqueradeCIDRs"');
    expect(await rules()).toContain("100.64.0.0/10");
  });
});

describe("what others take away comes back at once:", () => {
  it("the ruleset, the device, a route", async () => {
    cluster = await AgentCluster.create(2);
    await cluster.start();
    const { netns } = cluster.node(1);
    const tables = async () =>
      (await netns.exec("nft", ["list", "tables"])).split("\n").filter((line) => line.includes("podwire"));
    const before = await tables();
    expect(before.length).toBeGreaterThan(0);
    await netns.exec("nft", ["flush", "ruleset"]);
    await until(async () => `${await tables()}` === `${before}`, SOON);
    expect(await tables()).toEqual(before);
    await netns.ip("link", "del", "overlay1");
    await expectRoutes(1, [2]);
    await netns.ip("link", "set", "overlay1", "down");
    await expectRoutes(1, [2]);
    const [route] = await netns.query("route", "show", "proto", "112", "10.244.2.0/24");
    await netns.ip("route", "del", "10.244.2.0/24", "dev", "overlay1", "metric", String(route?.metric));
    await expectRoutes(1, [2]);
    const log = cluster.agents.get(1)?.log();
    for (const what of [
      "in the table podwire",
      "the device overlay1 was deleted",
      "a route to another node was deleted",
    ]) {
      expect(log).toContain(what);
    }
  });
});

describe("a cluster that changes over from flannel", () => {
  const PREFIX = "flannel.alpha.coreos.com/";
  const MAC = "5a:e2:ee:a4:b0:83";

  /** What flanneld publishes of a node. */
  const published = (number: number) => ({
    [`${PREFIX}kube-subnet-manager`]: "true",
    [`${PREFIX}backend-type`]: "vxlan",
    [`${PREFIX}backend-data`]: JSON.stringify({ VNI: 1, VtepMAC: MAC }),
    [`${PREFIX}public-ip`]: cluster.nodeIp(number, 4),
  });

  /** The annotations of a node as the API server has them. */
  const annotations = (number: number) =>
    cluster.server.get("nodes", cluster.nodeName(number))?.metadata.annotations as Record<string, string>;

  it("reaches nodes of flannel, and is reached by them", async () => {
    cluster = await AgentCluster.create(2, { flannelAnnotations: true });
    cluster.put(2, { podCidrs: ["10.244.2.0/24"], annotations: published(2) });
    await cluster.start([1]);
    await until(async () => (await cluster.routes(1)).includes("10.244.2.0/24"), SOON);
    const pod = await cluster.pod(1);
    await until(() => annotations(1)[`${PREFIX}backend-data`] !== undefined, SOON);
    const { VtepMAC } = JSON.parse(annotations(1)[`${PREFIX}backend-data`] ?? "{}") as { VtepMAC: string };
    expect(annotations(1)).toMatchObject({
      [`${PREFIX}public-ip`]: cluster.nodeIp(1, 4),
      [`${PREFIX}backend-type`]: "vxlan",
    });
    /* What flanneld does with that. */
    const { netns } = cluster.node(2);
    const device = ["type", "vxlan", "id", "1", "local", cluster.nodeIp(2, 4), "dstport", "8472", "nolearning"];
    await netns.ip("link", "add", "flannel.1", "address", MAC, "mtu", "1450", ...device);
    await netns.ip("address", "add", "10.244.2.0/32", "dev", "flannel.1");
    await netns.ip("link", "set", "flannel.1", "up");
    await netns.ip("neigh", "add", "10.244.1.0", "lladdr", VtepMAC, "dev", "flannel.1", "nud", "permanent");
    await netns.exec("bridge", [
      "fdb",
      "add",
      VtepMAC,
      "dev",
      "flannel.1",
      "dst",
      cluster.nodeIp(1, 4),
      "self",
      "permanent",
    ]);
    await netns.ip("route", "add", "10.244.1.0/24", "via", "10.244.1.0", "dev", "flannel.1", "onlink");
    await netns.ip("address", "add", "10.244.2.9/32", "dev", "lo");
    expect(await pod.netns.ping("10.244.2.9")).toBe(true);
    expect(await netns.ping(pod.v4)).toBe(true);
  });

  it("goes on with the MAC that flannel has published of a node, or takes its annotations away", async () => {
    cluster = await AgentCluster.create(1, { flannelAnnotations: true });
    cluster.put(1, { annotations: published(1) });
    await cluster.start();
    const [link] = await cluster.node(1).netns.query("link", "show", "dev", "overlay1");
    expect(link?.address).toBe(MAC);
    await cluster.remove();
    cluster = await AgentCluster.create(1);
    cluster.put(1, { annotations: published(1) });
    await cluster.start();
    await until(() => annotations(1)[`${PREFIX}backend-data`] === undefined, SOON);
    expect(Object.keys(annotations(1)).filter((key) => key.startsWith(PREFIX))).toEqual([]);
    const [own] = await cluster.node(1).netns.query("link", "show", "dev", "overlay1");
    expect(own?.address).not.toBe(MAC);
  });
});

describe("a lock that a plugin's call holds", () => {
  it("is waited for", async () => {
    cluster = await AgentCluster.create(2);
    await cluster.start();
    const { ino } = await stat(cluster.node(1).netns.path);
    const script = "import fcntl,sys,time; f=open(sys.argv[1]); fcntl.flock(f,2); print(1,flush=True); time.sleep(1.5)";
    const holder = spawn("python3", ["-c", script, `/run/podwire/overlay-${ino}`], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    if (holder.stdout !== null) await once(holder.stdout, "data");
    await cluster.addNode(3);
    cluster.put(3);
    await expectRoutes(1, [2, 3]);
    expect(cluster.agents.get(1)?.process.exitCode).toBeNull();
    expect(cluster.agents.get(1)?.process.signalCode).toBeNull();
  });
});

describe("an API server", () => {
  it("that is away takes nothing away; what it says then is followed", async () => {
    cluster = await AgentCluster.create(2);
    await cluster.start();
    await cluster.server.stop();
    await until(() => cluster.agents.get(1)?.log().includes("warning") === true, SOON);
    expect(await cluster.routes(1)).toEqual(cluster.podCidrs(2));
    await cluster.addNode(3);
    cluster.put(3);
    await cluster.server.listen();
    await expectRoutes(1, [2, 3]);
  });
});

describe("the agent", () => {
  it("ends at SIGTERM and leaves the network as it is", async () => {
    cluster = await AgentCluster.create(2);
    await cluster.start();
    const [one, two] = [await cluster.pod(1), await cluster.pod(2)];
    await cluster.kill(1, "SIGTERM");
    expect(await one.netns.ping(two.v4)).toBe(true);
    expect((await cluster.ask(1, "check")).stdout).toBe("the agent does not run\n");
    expect((await cluster.ask(1, "status")).stdout).toContain('"synced": true');
  });

  it("takes the network away from a node when it is asked to, and says which pods stay", async () => {
    cluster = await AgentCluster.create(2);
    await cluster.start();
    const { netns } = cluster.node(1);
    const pod = await cluster.pod(1);
    const refused = await cluster.ask(1, "uninstall");
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining("another podwire-agent runs")]);
    await cluster.kill(1, "SIGTERM");
    const { exitCode, stdout } = await cluster.ask(1, "uninstall");
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining("removed the device overlay1")]);
    expect(stdout).toContain("1 pods are still attached");
    expect(stdout).toContain(pod.netns.name);
    expect(await cluster.conflist(1)).toBeNull();
    expect(await cluster.routes(1)).toEqual([]);
    expect(await netns.links()).not.toContain("overlay1");
    expect(await netns.exec("nft", ["list", "tables"])).not.toContain("podwire_overlay");
    expect(await pod.netns.ping("10.244.1.1")).toBe(true);
    expect((await cluster.ask(1, "uninstall")).exitCode).toBe(0);
    await cluster.begin(1);
    await cluster.ready(1);
    await expectRoutes(1, [2]);
  });

  it("runs once on a node", async () => {
    cluster = await AgentCluster.create(1);
    await cluster.start();
    const second = await cluster
      .node(1)
      .netns.exec("sh", [
        "-c",
        `"$0" "$@" 2>&1 || true`,
        `${process.env.PODWIRE_BIN ?? "bin"}/podwire-agent`,
        ...cluster.words(1),
      ]);
    expect(second).toContain("another podwire-agent runs on this node");
  });
});
