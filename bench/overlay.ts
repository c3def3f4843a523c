/**
 * What it takes to keep a node of an overlay up to date, over the number of nodes: Podwire beside iproute2, which gets the
 * same entries in one batch.
 *
 * No other overlay can be timed here: Flannel is a daemon that wants a cluster. But what it has in the kernel for a node is
 * known, the same forwarding entry, neighbour and route as Podwire's, only that its routes have no metric. So iproute2
 * makes just these, in batches, the quickest way there is to do it by hand, and once more with a metric for each route.
 */
import { chmod, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { type Call, median, run, type Suite } from "./calls.ts";
import type { Pair } from "./measure.ts";

/** What was timed. */
export interface OverlayTime {
  readonly what: string;
  /** Who did it: "Podwire, classic", "iproute2, as Flannel". */
  readonly way: string;
  readonly peers: number;
  /** Median, in ms. */
  readonly ms: number;
  readonly runs: number;
  /** What it must not take with 5,000 nodes, in ms; null for what has no limit. */
  readonly limitMs: number | null;
  /** The most memory of a call, in kB. */
  readonly rssKb: number;
}

export const NOTHING = "nothing to do";
export const CHANGES = "11 changes";
export const COLD = "cold start";
export const LOST = "stamp missing";
export const POD = "a pod's ADD, all included";
export const VERIFY = "full verification (GC)";
/** So many nodes have the limits. */
export const MANY_PEERS = 5000;

const SIZES = [10, 100, 1000, MANY_PEERS];
const COLD_ROUNDS = 5;
const CALLS = 25;
const PODS = 15;
const CHANGED_ROUNDS = 12;
const VERIFY_ROUNDS = 10;
const DEVICE = "overlay1";
type Datapath = "classic" | "gpe";

interface Peer {
  readonly nodeIP: string;
  readonly podCIDRs: readonly string[];
}

/** The nth of the other nodes; a moved one has another address and the same pods. */
function peer(index: number, moved = false): Peer {
  return {
    nodeIP: `172.${moved ? 21 : 20}.${index >> 7}.${(index & 127) + 1}`,
    podCIDRs: [`10.${64 + (index >> 8)}.${index & 255}.0/24`],
  };
}

const peersOf = (count: number): Peer[] => Array.from({ length: count }, (_, index) => peer(index));

/** Five nodes less, five new ones, one with another address: 11 changes. */
function changed(count: number): Peer[] {
  return [peer(5, true), ...peersOf(count + 5).slice(6)];
}

/** Replaces a peers file as its writers do. */
async function writePeers(path: string, peers: readonly Peer[]): Promise<void> {
  const lines = [{ generation: 1, complete: true, peers: peers.length }, ...peers];
  await writeFile(`${path}.new`, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  await rename(`${path}.new`, path);
}

/** A node that has a link and a way to all others, and nothing else. */
async function makeNode(name: string): Promise<string> {
  await execa("ip", ["netns", "add", name]);
  const lines = [
    "link set lo up",
    "link add eth0 type veth peer name cable0",
    "link set cable0 up",
    "address add 172.31.0.1/24 dev eth0",
    "link set eth0 up",
    "route add default via 172.31.0.254",
  ];
  await execa("ip", ["-n", name, "-batch", "-"], { input: lines.map((line) => `${line}\n`).join("") });
  return `/run/netns/${name}`;
}

/** A call of vxlan-overlay on a node. */
function prepared(suite: Suite, verb: string, host: string, datapath: Datapath, peersFile: string): Call {
  return {
    suite: { ...suite, host },
    plugin: "vxlan-overlay",
    verb,
    config: {
      ...{ cniVersion: "1.1.0", name: "bench", type: "vxlan-overlay", podCIDRs: ["10.63.0.0/24"] },
      ...{ clusterCIDRs: ["10.0.0.0/8"], peersFile, datapath },
      "cni.dev/valid-attachments": [],
    },
    containerId: "bench",
    pod: "none",
    output: "/dev/null",
  };
}

const found: OverlayTime[] = [];

function note(what: string, way: string, peers: number, times: readonly number[], rssKb: number, limit: number | null) {
  const limitMs = peers === MANY_PEERS ? limit : null;
  const time = { what, way, peers, ms: median(times), runs: times.length, limitMs, rssKb };
  found.push(time);
  const label = `overlay of ${peers}, ${what}, ${way}`;
  const beside = limitMs === null ? "" : ` (limit ${limitMs} ms)`;
  console.log(`${label.padEnd(60)} ${time.ms.toFixed(2).padStart(9)} ms${beside}`);
}

/** The times of calls in ms, and the most memory that one took. */
async function timed(calls: readonly Call[]): Promise<readonly [number[], number]> {
  const [timings] = await run(calls);
  return [timings.map(({ ns }) => ns / 1e6), Math.max(...timings.map(({ rssKb }) => rssKb))];
}

/** A node in every state that a call can find it in. */
async function benchDatapath(suite: Suite, datapath: Datapath, peers: number, directory: string): Promise<void> {
  const way = `Podwire, ${datapath}`;
  const file = join(directory, `peers-${peers}.ndjson`);
  await writePeers(file, peersOf(peers));
  const cold: number[] = [];
  let rssKb = 0;
  let host = "";
  for (let round = 0; round < COLD_ROUNDS; round += 1) {
    host = await makeNode(`overlay-${datapath}-${peers}-${round}`);
    const [times, rss] = await timed([prepared(suite, "STATUS", host, datapath, file)]);
    cold.push(...times);
    rssKb = Math.max(rssKb, rss);
  }
  await requireRoutes(host, peers);
  note(COLD, way, peers, cold, rssKb, datapath === "classic" ? 250 : 150);
  const same = (verb: string, count: number) =>
    timed(Array.from({ length: count }, () => prepared(suite, verb, host, datapath, file)));
  note(NOTHING, way, peers, ...(await same("STATUS", CALLS)), 5);
  note(VERIFY, way, peers, ...(await same("GC", VERIFY_ROUNDS)), 200);
  note(POD, way, peers, ...(await addPods(prepared(suite, "ADD", host, datapath, file), `${datapath}-${peers}`)), null);
  const lost: number[] = [];
  const changes: number[] = [];
  for (let round = 0; round < CHANGED_ROUNDS; round += 1) {
    await removeStamp(host);
    lost.push(...(await same("STATUS", 1))[0]);
    await writePeers(file, round % 2 === 0 ? changed(peers) : peersOf(peers));
    const [times, rss] = await same("STATUS", 1);
    changes.push(...times);
    rssKb = Math.max(rssKb, rss);
  }
  note(LOST, way, peers, lost, rssKb, 200);
  note(CHANGES, way, peers, changes, rssKb, 60);
}

/** Attaches pods to a node, by the overlay alone. */
async function addPods(call: Call, label: string): Promise<readonly [number[], number]> {
  const ranges = [[{ subnet: "10.63.0.0/24" }]];
  const ipam = { type: "host-local", dataDir: join(call.suite.state, label), ranges };
  const calls: Call[] = [];
  for (let index = 0; index < PODS; index += 1) {
    const pod = `overlay-pod-${label}-${index}`;
    await execa("ip", ["netns", "add", pod]);
    calls.push({ ...call, pod, containerId: pod, config: { ...call.config, delegate: { ipam } } });
  }
  return timed(calls);
}

/** Throws unless a node has a route for each of the others, and the stamp. */
async function requireRoutes(host: string, peers: number): Promise<void> {
  const show = ["ip", "route", "show", "proto", "112"];
  const { stdout } = await execa("nsenter", [`--net=${host}`, "--", ...show]);
  const routes = stdout.split("\n").filter((line) => line !== "").length;
  if (routes !== peers + 1) throw new Error(`${host} has ${routes} routes, not ${peers + 1}`);
}

/** Takes away what says that the node is up to date: its route is the one to an address of 240.0.0.0/4. */
async function removeStamp(host: string): Promise<void> {
  const inside = (...args: string[]) => execa("nsenter", [`--net=${host}`, "--", "ip", ...args]);
  const { stdout } = await inside("route", "show", "dev", DEVICE, "proto", "112");
  const stamp = stdout.split("\n").find((line) => /^2[45]\d\./.test(line));
  if (stamp === undefined) throw new Error(`no stamp among the routes of ${host}`);
  const [destination = "", metric = ""] = [stamp.split(" ")[0], /metric (\d+)/.exec(stamp)?.[1]];
  await inside("route", "del", destination, "dev", DEVICE, "metric", metric);
}

/** The Ethernet address of a node's device: Flannel's are published, these follow from the IP address. */
function macOf(nodeIP: string): string {
  const bytes = nodeIP.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return ["0e", "f4", ...bytes].join(":");
}

/** A program that makes the device and all entries by iproute2, in the order in which Flannel makes those of a node. */
async function batchProgram(directory: string, name: string, peers: readonly Peer[], metrics: boolean) {
  const links: string[] = [];
  const forwarding: string[] = [];
  peers.forEach(({ nodeIP, podCIDRs }, index) => {
    const gateway = (podCIDRs[0] ?? "").replace("/24", "");
    links.push(`neigh replace ${gateway} lladdr ${macOf(nodeIP)} dev ${DEVICE} nud permanent`);
    forwarding.push(`fdb replace ${macOf(nodeIP)} dev ${DEVICE} dst ${nodeIP} self permanent`);
    const metric = metrics ? ` metric ${index + 1}` : "";
    links.push(`route replace ${podCIDRs[0]} via ${gateway} dev ${DEVICE} onlink${metric}`);
  });
  const file = join(directory, name);
  await writeFile(`${file}.ip`, links.map((line) => `${line}\n`).join(""));
  await writeFile(`${file}.fdb`, forwarding.map((line) => `${line}\n`).join(""));
  const device = `address 0e:f4:ac:1f:00:01 mtu 1450 type vxlan id 1 local 172.31.0.1 dstport 8472 nolearning`;
  const script = [
    "#!/bin/sh -e",
    `ip link add ${DEVICE} ${device}`,
    `ip address add 10.63.0.0/32 dev ${DEVICE}`,
    `ip link set ${DEVICE} up`,
    `bridge -batch ${file}.fdb`,
    `ip -batch ${file}.ip`,
    "",
  ];
  await writeFile(file, script.join("\n"));
  await chmod(file, 0o755);
}

async function benchBatch(suite: Suite, peers: number, directory: string): Promise<void> {
  for (const [way, metrics] of [
    ["iproute2, as Flannel", false],
    ["iproute2, a metric each", true],
  ] as const) {
    const name = `batch-${peers}-${metrics}`;
    await batchProgram(directory, name, peersOf(peers), metrics);
    const times: number[] = [];
    let rssKb = 0;
    for (let round = 0; round < COLD_ROUNDS; round += 1) {
      const host = await makeNode(`overlay-${name}-${round}`);
      const call = { ...prepared({ ...suite, directory }, "ADD", host, "classic", ""), plugin: name };
      const [time, rss] = await timed([call]);
      times.push(...time);
      rssKb = Math.max(rssKb, rss);
    }
    note(COLD, way, peers, times, rssKb, null);
  }
}

/** All sizes, one after the other; what they made is removed after each. */
export async function benchOverlay([podwire]: Pair, scratch: string): Promise<OverlayTime[]> {
  const directory = join(scratch, "overlay");
  await mkdir(directory, { recursive: true });
  for (const peers of SIZES) {
    for (const datapath of ["classic", "gpe"] as const) await benchDatapath(podwire, datapath, peers, directory);
    await benchBatch(podwire, peers, directory);
    const { stdout } = await execa("ip", ["netns", "list"]);
    const names = stdout.split("\n").map((line) => line.split(" ")[0] ?? "");
    for (const name of names.filter((one) => one.startsWith("overlay-"))) await execa("ip", ["netns", "del", name]);
    await settled();
  }
  return found;
}

/** Waits until the kernel has taken the namespaces apart, which would be in the way of the next times. */
async function settled(): Promise<void> {
  await execa("sh", ["-c", "ip netns add overlay-last; ip netns del overlay-last; sleep 3"]);
}
