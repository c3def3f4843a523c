/**
 * `make demo-cluster`: five nodes of a Kubernetes cluster in network namespaces, with an API server and, on each node, the
 * built agent. Nodes join and leave, somebody takes away what the agent keeps, agents and the API server go and come back.
 *
 *   node hack/demo-cluster.ts [DIRECTORY]     the directory of the plugins and the agent, bin/ if left out
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { node as nodeObject } from "../testbed/kubernetes/node-objects.ts";
import { RemoteApiServer } from "../testbed/kubernetes/remote.ts";
import { Topology } from "../testbed/topology.ts";
import { DemoNode, type Pod } from "./demo-node.ts";
import {
  Caller,
  Failed,
  good,
  heading,
  mustNotReach,
  paint,
  perform,
  printed,
  reach,
  say,
  shell,
  Traffic,
} from "./stage.ts";

const root = "/run/podwire-demo";
const account = join(root, "account");
const settings = join(root, "network.json");
const SERVER = { host: "198.51.100.2", port: 6443 };
/** The most that an agent may have in memory, in kB. */
const MOST_MEMORY_KB = 2560;
/** How long the API server is away. */
const AWAY_MS = 4000;

const PICTURE = `
  +---------+    +---------+    +---------+          +---------+    +---------+
  |  node1  |    |  node2  |    |  node3  |          |  node4  |    |  node5  |
  |  agent  |    |  agent  |    |  agent  |          |  agent  |    |  agent  |
  +---------+    +---------+    +---------+          +---------+    +---------+
  172.31.0.1     172.31.0.2     172.31.0.3           172.31.1.4     172.31.1.5
       |              |              |                    |              |
  -----+--------------+--------------+-----          -----+--------------+-----
       segment 172.31.0.0/24      |                    |  segment 172.31.1.0/24
                                  +----  router  ------+
                                           |
                                      API server
                                  198.51.100.2:6443`;

/** What is on the stage. */
class Cluster {
  readonly topology: Topology;
  readonly server: RemoteApiServer;
  readonly nodes = new Map<number, DemoNode>();
  readonly caller = new Caller(root);

  constructor(topology: Topology, server: RemoteApiServer) {
    this.topology = topology;
    this.server = server;
  }

  node(number: number): DemoNode {
    const found = this.nodes.get(number);
    if (found === undefined) throw new Failed(`there is no node ${number}`);
    return found;
  }

  /** Those nodes, or all. */
  all(numbers: readonly number[] = [...this.nodes.keys()]): DemoNode[] {
    return numbers.map((number) => this.node(number));
  }

  /** The machine of a node, and its directories. */
  async furnish(number: number): Promise<DemoNode> {
    const cluster = { settings, server: `${SERVER.host}:${SERVER.port}`, account };
    const node = new DemoNode(root, number, cluster);
    await mkdir(join(node.directory, "net.d"), { recursive: true });
    this.nodes.set(number, node);
    return node;
  }

  /** Has the API server know a node, as the kubelet registers it and the controller manager gives it podCIDRs. */
  async register(number: number): Promise<void> {
    const { podCIDRs } = this.topology.record(number);
    const addresses = [this.topology.nodeIp(number, 4), this.topology.nodeIp(number, 6)];
    await this.server.call("put", nodeObject({ name: `node${number}`, addresses, podCidrs: podCIDRs }));
  }

  /** `kubectl delete node`. */
  async unregister(number: number): Promise<void> {
    await this.server.call("delete", "nodes", `node${number}`);
  }
}

/** Waits for the same on several nodes and says how long each took. */
async function untilAll(nodes: readonly DemoNode[], what: string, isSo: (node: DemoNode) => Promise<boolean>) {
  const times = await Promise.all(nodes.map((node) => node.until(what, () => isSo(node))));
  printed(nodes.map(({ name }, index) => `${name}: after ${Math.round(times[index] ?? 0)} ms`).join("\n"));
  return Math.max(...times);
}

const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(1)} s`;

/** Shows the routes to other nodes' pods, which must be those to exactly these nodes. */
async function showRoutes(node: DemoNode, peers: readonly number[]): Promise<void> {
  const text = await shell(`ip -n ${node.name} route show proto 112`, (output) => output);
  const found = [...text.matchAll(/^10\.244\.(\d+)\.0\/24/gm)].map((match) => Number(match[1]));
  if (`${found.toSorted()}` !== `${peers}`) throw new Failed(`${node.name} has routes to the pods of: ${found}`);
}

/** Shows the last line of a node's log that has a text; there must be one. */
async function showLog(node: DemoNode, text: string): Promise<void> {
  await node.until(`"${text}" in its log`, async () => (await readFile(node.log, "utf8")).includes(text));
  await shell(`grep "${text}" ${node.log} | tail -n 1`, (output) => output);
}

/** The names of a node's tables of rules. */
async function tablesOf(node: DemoNode): Promise<string> {
  const { stdout } = await execa("ip", ["netns", "exec", node.name, "nft", "list", "tables"]);
  return stdout.split("\n").toSorted().join("\n");
}

/** Shows the names of a node's tables of rules before and after somebody has removed them all. */
async function flushRules(node: DemoNode): Promise<void> {
  const tables = `ip netns exec ${node.name} nft list tables`;
  await shell(tables, (text) => text);
  const before = await tablesOf(node);
  await shell(`ip netns exec ${node.name} nft flush ruleset; ${tables}`, (text) => text);
  const took = await node.until(before, async () => (await tablesOf(node)) === before);
  await shell(tables, (text) => text);
  good(`back after ${Math.round(took)} ms: nobody has called a plugin`);
}

async function demonstrate(): Promise<void> {
  await mkdir(account, { recursive: true });
  say("This is a machine within the machine: its own network, mounts and processes. Yours is not touched.");

  heading("1. A cluster: nodes on two segments, a router between them, and an API server behind it");
  say(paint(36, PICTURE));
  const topology = await Topology.build(5, "plain");
  const outside = await topology.outside();
  const cluster = new Cluster(topology, await RemoteApiServer.start({ netns: outside.path, ...SERVER }));
  try {
    await writeFile(settings, `${JSON.stringify({ clusterCIDRs: ["10.244.0.0/16", "fd44::/48"] }, null, 2)}\n`);
    await writeFile(join(account, "token"), cluster.server.token);
    await writeFile(join(account, "ca.crt"), cluster.server.caPem);
    say("\n  The API server is the one of Podwire's tests: HTTPS, tokens, lists and watches as Kubernetes has them.");
    say("  What the administrator writes, the same for all nodes:");
    await shell(`cat ${settings}`, (text) => text);
    await steps(cluster);
  } finally {
    await cluster.server.end();
  }
}

async function steps(cluster: Cluster): Promise<void> {
  await becomeReady(cluster);
  const [one, two, four] = await addPods(cluster);
  await join5(cluster, one);
  await leave3(cluster, one, two);
  await breakNode(cluster, one, four);
  await killAgent(cluster, one, two);
  await loseServer(cluster, one, two);
  await end(cluster, one, two);
}

async function becomeReady(cluster: Cluster): Promise<void> {
  heading("2. The agent starts on four nodes. A node is ready when the list of plugins appears, which comes last");
  for (const number of [1, 2, 3, 4]) {
    await cluster.furnish(number);
    await cluster.register(number);
  }
  const started = performance.now();
  for (const node of cluster.all()) await node.startAgent(node.number !== 1);
  say("    ... and the same on node2, node3, node4");
  const ready = cluster.all().map(async (node) => {
    await node.until("its list of plugins", async () => existsSync(node.conflist));
    /* A runtime starts pods as soon as the list is there. */
    const peers = [1, 2, 3, 4].filter((number) => number !== node.number);
    for (const peer of peers) {
      if ((await node.routesTo(peer)) !== 2)
        throw new Failed(`${node.name} has its list before its routes to node${peer}`);
    }
    printed(`${node.name} is ready after ${seconds(performance.now() - started)}: ${node.conflist}`);
  });
  await Promise.all(ready);
  good("each waits for its own part of 5 seconds, so that thousands do not ask at once");
  const node = cluster.node(1);
  await node.until("a check that succeeds", () => node.isReady());
  await shell(`cat ${node.log}`, (text) => text);
  await shell(node.checkCommand(), (text) => text);
  await showRoutes(node, [2, 3, 4]);
  say("  (The last one leads nowhere: it is the stamp, by which a later call sees that nothing has changed.)");
  await shell(`ip netns exec ${node.name} nft list tables`, (text) => text);
}

async function addPods(cluster: Cluster): Promise<[Pod, Pod, Pod]> {
  heading("3. A pod on each node, attached as a runtime does it with the list that the agent has written");
  const pods: Pod[] = [];
  for (const node of cluster.all()) {
    const pod = await node.addPod(cluster.caller, node.number !== 1);
    if (node.number === 1) say("    ... and the same with portmap and bandwidth, and on the other nodes");
    printed(`${pod.name} on ${node.name}: ${pod.v4}, ${pod.v6}`);
    pods.push(pod);
  }
  const [one, two, , four] = pods as [Pod, Pod, Pod, Pod];
  await reach(one.name, two.v4);
  await reach(four.name, one.v6);
  good("pods on two nodes reach each other, on one segment and through the router");
  return [one, two, four];
}

async function join5(cluster: Cluster, one: Pod): Promise<void> {
  heading("4. node5 joins");
  const others = cluster.all();
  say("  The API server is told what its kubelet and the controller manager would tell it. The others make routes:");
  const known = cluster.register(5);
  const longest = await untilAll(others, "routes to node5", async (node) => (await node.routesTo(5)) === 2);
  await known;
  good(`after ${Math.round(longest)} ms all four have them`);
  const node = await cluster.furnish(5);
  await node.startAgent(true);
  const took = await node.until("a check that succeeds", () => node.isReady());
  say(`  The agent starts on node5, and the node is ready ${seconds(took)} later.`);
  const five = await node.addPod(cluster.caller, true);
  printed(`${five.name} on ${node.name}: ${five.v4}, ${five.v6}`);
  await reach(one.name, five.v4);
  good("pod-5 is there");
}

async function leave3(cluster: Cluster, one: Pod, two: Pod): Promise<void> {
  heading("5. node3 leaves");
  say("  The API server is told what `kubectl delete node node3` would tell it. The others remove routes:");
  const told = cluster.unregister(3);
  const others = cluster.all([1, 2, 4, 5]);
  const longest = await untilAll(others, "no route to node3", async (node) => (await node.routesTo(3)) === 0);
  await told;
  say("  The agent of node3 ends:");
  const { pid } = cluster.node(3);
  await shell(`kill ${pid}`);
  await cluster.node(3).agentEnded();
  cluster.nodes.delete(3);
  await showRoutes(cluster.node(1), [2, 4, 5]);
  await mustNotReach(one.name, "10.244.3.2");
  await reach(one.name, two.v4);
  good(`after ${Math.round(longest)} ms nobody has a route to it; all others are as they were`);
}

async function breakNode(cluster: Cluster, one: Pod, four: Pod): Promise<void> {
  heading("6. Somebody takes away what the agent keeps");
  const node = cluster.node(1);
  await flushRules(node);
  await showLog(node, "in the table podwire");
  await shell(`ip -n ${node.name} link delete overlay1`);
  const took = await node.until("routes to node4", async () => (await node.routesTo(4)) === 2);
  await reach(one.name, four.v4);
  good(`back after ${Math.round(took)} ms, with all that was on it`);
  await showLog(node, "the device overlay1 was deleted");
}

async function killAgent(cluster: Cluster, one: Pod, two: Pod): Promise<void> {
  heading("7. The agent of node1 is killed; node4 leaves meanwhile; the agent starts again");
  const node = cluster.node(1);
  const traffic = new Traffic(one.name, two.v4);
  await shell(`kill -KILL ${node.pid}`);
  await node.agentEnded();
  await shell(`${node.checkCommand()} || true`, (text) => text);
  say("  The API server is told what `kubectl delete node node4` would tell it.");
  await cluster.unregister(4);
  const others = cluster.all([2, 5]);
  await Promise.all(
    others.map((other) => other.until("no route to node4", async () => (await other.routesTo(4)) === 0)),
  );
  await showRoutes(node, [2, 4, 5]);
  good("without its agent node1 keeps what it has, and knows nothing of node4; the others have removed it");
  say("  Its agent starts as before:");
  await node.startAgent(true);
  const took = await node.until("no route to node4", async () => (await node.routesTo(4)) === 0);
  await showRoutes(node, [2, 5]);
  await traffic.end();
  good(`the agent has removed node4 ${seconds(took)} after its start; the pods have lost no packet`);
}

async function loseServer(cluster: Cluster, one: Pod, two: Pod): Promise<void> {
  heading("8. The API server is away, and a node loses its rules meanwhile");
  const node = cluster.node(1);
  const traffic = new Traffic(one.name, two.v4);
  await cluster.server.call("stop");
  say("  All connections to it are broken, and new ones are refused.");
  await flushRules(node);
  await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
  await showRoutes(node, [2, 5]);
  good("all routes are still there");
  await cluster.server.call("restart");
  say("  It is back, and node4 joins again:");
  const known = cluster.register(4);
  const longest = await untilAll(
    cluster.all([1, 2, 5]),
    "routes to node4",
    async (node) => (await node.routesTo(4)) === 2,
  );
  await known;
  await traffic.end();
  good(`after ${seconds(longest)} all have noticed, each after a pause of its own; the pods have lost no packet`);
}

async function end(cluster: Cluster, one: Pod, two: Pod): Promise<void> {
  heading("9. What the agents take of the machine");
  const files = cluster.all().map(({ pid }) => `/proc/${pid}/status`);
  const text = await shell(`grep VmRSS ${files.join(" ")}`, (output) => output);
  const sizes = [...text.matchAll(/VmRSS:\s*(\d+) kB/g)].map((match) => Number(match[1]));
  const most = Math.max(...sizes);
  if (sizes.length !== files.length || most > MOST_MEMORY_KB) throw new Failed(`an agent takes ${most} kB`);
  good(`none of the agents takes more than ${(most / 1024).toFixed(1)} MB of memory`);

  heading("10. SIGTERM ends an agent; the network of its node stays");
  await shell(
    `kill ${cluster
      .all()
      .map(({ pid }) => pid)
      .join(" ")}`,
  );
  for (const node of cluster.all()) await node.agentEnded();
  await showLog(cluster.node(1), "the agent ends");
  await reach(one.name, two.v4);
  good("pods reach each other as before");
  await cluster.topology.remove();
}

/* Not names that only begin or end so: tests may be at work on the same machine. */
const names = "node[1-5]|pod-[1-5]|router|outside|segment[01]|overlay1|cni0";
const theirs = new RegExp(`(^|\\s)(${names})([:@\\s]|$)|10\\.244\\.|172\\.31\\.[01]\\.|fd44:|${root}`);
await perform(import.meta.filename, theirs, demonstrate);
