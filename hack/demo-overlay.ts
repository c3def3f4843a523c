/**
 * `make demo-overlay`: a cluster of five nodes on two segments with a router between them, in network namespaces. Each has
 * one block of configuration; pods talk across nodes by their own addresses, nodes join and leave, all without a daemon.
 *
 *   node hack/demo-overlay.ts [DIRECTORY]     the directory of the plugins, bin/ if left out
 */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { type Family, Topology } from "../testbed/topology.ts";
import {
  ask,
  Caller,
  compact,
  Failed,
  good,
  heading,
  type Json,
  listen,
  mustNotReach,
  mustSucceed,
  paint,
  perform,
  plugins,
  printed,
  say,
  shell,
} from "./stage.ts";

interface Pod {
  readonly name: string;
  readonly node: number;
  readonly result: Json;
  readonly addresses: Readonly<Record<Family, string>>;
}

const root = "/run/podwire-demo";
const peersFile = join(root, "peers.ndjson");
const caller = new Caller(root);
const POD_PORT = 80;
const NODES = [1, 2, 3, 4, 5];
/** Set up, but at first no node knows of it. */
const LATE = 5;

const PICTURE = `
     pod-1          pod-2          pod-3                pod-4          pod-5
  10.244.1.2     10.244.2.2     10.244.3.2           10.244.4.2     10.244.5.2
       |              |              |                    |              |
  +---------+    +---------+    +---------+          +---------+    +---------+
  |  node1  |    |  node2  |    |  node3  |          |  node4  |    |  node5  |
  | bridge  |    | bridge  |    | bridge  |          | bridge  |    | bridge  |
  |overlay1 |    |overlay1 |    |overlay1 |          |overlay1 |    |overlay1 |
  +---------+    +---------+    +---------+          +---------+    +---------+
  172.31.0.1     172.31.0.2     172.31.0.3           172.31.1.4     172.31.1.5
       |              |              |                    |              |
  -----+--------------+--------------+-----          -----+--------------+-----
       segment 172.31.0.0/24      |                    |  segment 172.31.1.0/24
                                  +----  router  ------+
                                           |
                                        outside
                                      198.51.100.2        knows nothing of pods`;

/** The network configuration of a node: one block. */
function configOf(node: number): Json {
  return {
    cniVersion: "1.1.0",
    name: "pods",
    type: "vxlan-overlay",
    podCIDRs: [`10.244.${node}.0/24`, `fd44:0:0:${node}::/64`],
    clusterCIDRs: ["10.244.0.0/16", "fd44::/48"],
    peersFile,
    delegate: {
      ipam: {
        type: "host-local",
        dataDir: join(root, `leases-${node}`),
        ranges: [[{ subnet: `10.244.${node}.0/24` }], [{ subnet: `fd44:0:0:${node}::/64` }]],
      },
    },
  };
}

const nodeName = (node: number) => `node${node}`;

function attachmentOf(pod: string): Json {
  return { CNI_CONTAINERID: `demo-${pod}`, CNI_NETNS: `/run/netns/${pod}`, CNI_IFNAME: "eth0" };
}

/** Replaces the peers file as its writers should: another file, renamed into place. */
async function writePeers(topology: Topology, nodes: readonly number[]): Promise<void> {
  await writeFile(`${peersFile}.new`, topology.peersText(nodes.map((node) => topology.record(node))));
  await rename(`${peersFile}.new`, peersFile);
}

/** ADD, as the runtime calls it. */
async function addPod(node: number, quiet: boolean): Promise<Pod> {
  const name = `pod-${node}`;
  await execa("ip", ["netns", "add", name]);
  await execa("ip", ["-n", name, "link", "set", "lo", "up"]);
  const outcome = await caller.call("ADD", "vxlan-overlay", configOf(node), attachmentOf(name), nodeName(node), quiet);
  mustSucceed(outcome, `ADD of ${name}`);
  const result = outcome.answer ?? {};
  if (!quiet) printed(compact(result));
  const ips = (result.ips ?? []) as { address: string }[];
  const [v4 = "", v6 = ""] = ips.map((ip) => ip.address.split("/")[0] ?? "");
  if (quiet) printed(`${name} on ${nodeName(node)}: ${v4}, ${v6}`);
  return { name, node, result, addresses: { 4: v4, 6: v6 } };
}

/** STATUS, which runtimes ask for every few seconds: on the way it brings the node up to date. */
async function tick(nodes: readonly number[]): Promise<void> {
  const started = performance.now();
  for (const node of nodes) {
    const outcome = await caller.call("STATUS", "vxlan-overlay", configOf(node), {}, nodeName(node), node !== nodes[0]);
    mustSucceed(outcome, `STATUS on ${nodeName(node)}`);
  }
  const each = (performance.now() - started) / nodes.length;
  if (nodes.length > 1) say(`    ... and the same on ${nodes.slice(1).map(nodeName).join(", ")}`);
  good(`up to date, in ${each.toFixed(0)} ms a node with the starting of \`ip\` and the plugin`);
}

/** Both ask each other, in both IP versions, and each is seen by its own address. */
async function greet(one: Pod, other: Pod): Promise<void> {
  for (const family of [4, 6] as const) {
    await ask(one.name, other.addresses[family], POD_PORT, `${other.name} sees ${one.addresses[family]}`);
  }
}

async function demonstrate(): Promise<void> {
  const stop: (() => void)[] = [];
  await mkdir(root, { recursive: true });
  say("This is a machine within the machine: its own network, mounts and processes. Yours is not touched.");

  heading("1. A cluster: five nodes, two segments, a router between them, and a host outside");
  say(paint(36, PICTURE));
  const topology = await Topology.build(NODES.length, "plain");
  await topology.outside();
  try {
    await steps(topology, stop);
  } finally {
    for (const end of stop) end();
  }
}

async function steps(topology: Topology, stop: (() => void)[]): Promise<void> {
  const early = NODES.filter((node) => node !== LATE);
  heading("2. What the administrator writes: a list of the nodes, the same for all, and one block on each node");
  await writePeers(topology, early);
  await shell(`cat ${peersFile}`, (text) => text);
  say("  node1's block, as the plugin gets it:");
  printed(compact(configOf(1)));

  heading("3. A pod on each node. The first call on a node makes its tunnel: there is no daemon");
  const pods: Pod[] = [];
  for (const node of early) pods.push(await addPod(node, node !== 1));
  const [one, two, three, four] = pods as [Pod, Pod, Pod, Pod];
  for (const pod of pods) stop.push(await listen(pod.name, POD_PORT, pod.node !== 1));
  stop.push(await listen("outside", POD_PORT, true));

  heading("4. What node1 holds now: for each other node a forwarding entry, and for its pods a neighbour and a route");
  await shell("ip netns exec node1 bridge fdb show dev overlay1", (text) => text);
  await shell("ip -n node1 route show proto 112", (text) => text);

  heading("5. Pods reach each other by their own addresses, on one segment and through the router");
  await greet(one, two);
  await greet(four, one);
  good("each server sees the address of the pod that asked: nothing is translated between pods");
  await ask("node1", four.addresses[4], POD_PORT, `${four.name} sees 10.244.1.`);
  good("node1 reaches pods on other nodes too");
  const size = "ip netns exec pod-1 ping -c 1 -W 5 -M do -s 1422 10.244.4.2";
  await shell(size, (text) => text.split("\n").find((line) => line.includes("bytes from")) ?? text);
  good("the largest packet that fits, 1450 bytes, must not be cut and arrives: the MTU was worked out");

  heading("6. Out of the cluster a pod has its node's address");
  await ask(one.name, topology.outsideIp(4), POD_PORT, `outside sees ${topology.nodeIp(1, 4)}`);
  await ask(four.name, topology.outsideIp(6), POD_PORT, `outside sees ${topology.nodeIp(4, 6)}`);
  good("the host outside knows nothing of pods, and need not");

  heading("7. node5 joins: one more line in the list. The next call on each node picks it up, such as STATUS");
  await writePeers(topology, NODES);
  const five = await addPod(LATE, true);
  stop.push(await listen(five.name, POD_PORT, true));
  await tick(early);
  await greet(one, five);
  good("pod-5 is there");

  heading("8. node3 leaves: a line less");
  await writePeers(
    topology,
    NODES.filter((node) => node !== 3),
  );
  await tick([1, 2, 4, 5]);
  const held = await shell("ip -n node1 route show proto 112", (text) => text);
  if (held.includes("10.244.3.0")) throw new Failed("the route to node3's pods is still there");
  await mustNotReach(one.name, three.addresses[4]);
  await greet(one, two);
  good("its entries are gone, all others are as they were");

  await breakThings(one, two);

  heading("10. DEL: the pods go");
  for (const pod of [...pods, five]) {
    const config = { ...configOf(pod.node), prevResult: pod.result };
    const attachment = attachmentOf(pod.name);
    const quiet = pod !== one;
    mustSucceed(
      await caller.call("DEL", "vxlan-overlay", config, attachment, nodeName(pod.node), quiet),
      `DEL of ${pod.name}`,
    );
  }
  const links = await shell("ip -n node1 -brief link show", (text) => text);
  if (links.includes("veth")) throw new Failed("a veth is left");
  good("no veth is left; bridge and tunnel belong to the node and stay for the next pod");
  for (const end of stop) end();
  await topology.remove();
}

/** What goes wrong on nodes, and what a call makes of it. */
async function breakThings(one: Pod, two: Pod): Promise<void> {
  heading("9. What goes wrong on nodes");
  say("  The list of nodes is cut off while it is copied:");
  const whole = await shell(`cp ${peersFile} ${peersFile}.whole; head -c 200 ${peersFile}.whole > ${peersFile}`);
  const status = await caller.call("STATUS", "vxlan-overlay", configOf(1), {}, "node1", true);
  if (!status.text.includes("peers.ndjson")) throw new Failed(`a list that is cut off was taken for whole: ${whole}`);
  if (status.status !== 0) throw new Failed(`the mistake of a list is no reason to refuse pods: ${status.text}`);
  printed(status.text);
  await greet(one, two);
  good("STATUS says so without failing, since pods can be started; nobody is lost: what was known is kept");
  await shell(`mv ${peersFile}.whole ${peersFile}`);
  say("  Somebody deletes node1's tunnel:");
  await shell("ip -n node1 link delete overlay1");
  await mustNotReach(one.name, two.addresses[4]);
  await tick([1]);
  await greet(one, two);
  good("back, with all that was on it");
  say("  Somebody deletes a single route:");
  const routes = await execa("ip", ["-n", "node1", "route", "show", "10.244.2.0/24"]);
  await shell(`ip -n node1 route delete ${routes.stdout.trim()}`);
  await shell(`ip netns exec node1 ${join(plugins, "vxlan-overlay")} repair`, (text) => text);
  await greet(one, two);
  good("back; a timer can call that, and it needs no configuration");
}

/* Not names that only begin or end so: tests may be at work on the same machine. */
const names = "node[1-5]|pod-[1-5]|router|outside|segment[01]|overlay1|cni0";
const theirs = new RegExp(`(^|\\s)(${names})([:@\\s]|$)|10\\.244\\.|172\\.31\\.[01]\\.|fd44:|${root}`);
await perform(import.meta.filename, theirs, demonstrate);
