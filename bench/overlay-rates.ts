/**
 * Throughput between pods on two nodes: over Podwire's overlay, both datapaths, beside a VXLAN made by iproute2, all in one
 * run, alternating, on pairs of nodes that are alike but for the overlay. All nodes masquerade what leaves the cluster, so
 * that all of them track connections.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { median, run, type Suite } from "./calls.ts";
import { outputOf, type Pair, turned } from "./measure.ts";

export interface OverlayRate {
  /** "Podwire, classic", "iproute2". */
  readonly way: string;
  /** Of the rounds, in Gbit/s. */
  readonly gigabits: number;
  readonly quartiles: readonly [number, number];
  /** Its median's share of iproute2's. */
  readonly ratio: number;
  readonly rounds: number;
}

/** Many short rounds: what else the machine does from second to second is in all ways alike. */
const ROUNDS = 61;
const SECONDS = 1;
const YARDSTICK = "iproute2";
const WAYS = ["Podwire, classic", "Podwire, gpe", YARDSTICK, "no tunnel"] as const;
type Way = (typeof WAYS)[number];

interface NodePair {
  readonly way: Way;
  /** Names of the namespaces of the pods. */
  readonly pods: readonly [string, string];
  readonly target: string;
}

async function inside(name: string, script: string): Promise<void> {
  await execa("nsenter", [`--net=/run/netns/${name}`, "--", "sh", "-ec", script]);
}

const other = (number: number) => (number === 1 ? 2 : 1);
const nodeIp = (number: number) => `172.31.0.${number}`;

/** Two nodes at the ends of a cable, each with a pod on a bridge. */
async function makePair(suite: Suite, way: Way, scratch: string): Promise<NodePair> {
  const prefix = `rate-${way.replace(/[^a-z0-9]+/gi, "-")}`;
  const names = [1, 2].map((number) => `${prefix}-${number}`);
  const pods = names.map((name) => `${name}-pod`);
  for (const name of [...names, ...pods]) await execa("ip", ["netns", "add", name]);
  const [first = "", second = ""] = names;
  await execa("ip", ["-n", first, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", second]);
  for (const number of [1, 2]) {
    const name = names[number - 1] ?? "";
    await inside(
      name,
      `ip link set lo up
       ip address add ${nodeIp(number)}/24 dev eth0
       ip link set eth0 up
       echo 1 > /proc/sys/net/ipv4/ip_forward`,
    );
  }
  for (const number of [1, 2]) await makeOverlay(suite, way, names[number - 1] ?? "", number, scratch);
  const [from = "", to = ""] = pods;
  return { way, pods: [from, to], target: "10.244.2.2" };
}

/** A node's way to the other one's pods, and its own pod. */
async function makeOverlay(suite: Suite, way: Way, node: string, number: number, scratch: string): Promise<void> {
  const subnet = `10.244.${number}.0/24`;
  const ranges = [[{ subnet }]];
  const ipam = { type: "host-local", dataDir: join(scratch, `rates-${node}`), ranges };
  const common = { cniVersion: "1.1.0", name: "bench" };
  const bridge = { ...common, type: "bridge", bridge: "cni0", isDefaultGateway: true, hairpinMode: true, ipam };
  const call = { suite: { ...suite, host: `/run/netns/${node}` }, verb: "ADD", containerId: node, pod: `${node}-pod` };
  const output = outputOf(suite, "rates", number);
  if (way === "Podwire, classic" || way === "Podwire, gpe") {
    const datapath = way === "Podwire, gpe" ? "gpe" : "classic";
    const peers = [{ nodeIP: nodeIp(other(number)), podCIDRs: [`10.244.${other(number)}.0/24`] }];
    const overlay = { ...common, type: "vxlan-overlay", podCIDRs: [subnet], clusterCIDRs: ["10.244.0.0/16"] };
    const config = { ...overlay, underlay: "eth0", peers, datapath, delegate: { ipam } };
    await run([{ ...call, plugin: "vxlan-overlay", config, output }]);
    return;
  }
  if (way === "no tunnel") {
    await run([{ ...call, plugin: "bridge", config: bridge, output }]);
    await inside(node, `ip route add 10.244.${other(number)}.0/24 via ${nodeIp(other(number))}`);
  } else {
    await run([{ ...call, plugin: "bridge", config: { ...bridge, mtu: 1450 }, output }]);
    const gateway = `10.244.${other(number)}.0`;
    const mac = (of: number) => `0e:f4:ac:1f:00:0${of}`;
    await inside(
      node,
      `ip link add vx0 address ${mac(number)} mtu 1450 type vxlan id 1 local ${nodeIp(number)} dstport 8472 nolearning
       ip address add 10.244.${number}.0/32 dev vx0
       ip link set vx0 up
       bridge fdb add ${mac(other(number))} dev vx0 dst ${nodeIp(other(number))} self permanent
       ip neigh add ${gateway} lladdr ${mac(other(number))} dev vx0 nud permanent
       ip route add ${gateway}/24 via ${gateway} dev vx0 onlink`,
    );
  }
  await masquerade(node, scratch);
}

/** What every overlay does with what leaves the cluster, in one rule. */
async function masquerade(node: string, scratch: string): Promise<void> {
  const file = join(scratch, "rates.nft");
  const rule = "ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade";
  await writeFile(file, `table ip m { chain c { type nat hook postrouting priority srcnat; ${rule}; }; }\n`);
  await inside(node, `nft -f ${file}`);
}

/** Mbit/s of one TCP connection, as the receiver saw it; client and server have a processor each. */
async function send(pair: NodePair): Promise<number> {
  const client = ["netns", "exec", pair.pods[0], "iperf3", "-c", pair.target, "-J", "-t", `${SECONDS}`];
  const { stdout } = await execa("ip", [...client, "-A", "0,1"], { timeout: 60_000 });
  const report = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
  return report.end.sum_received.bits_per_second;
}

/** All ways, alternating. */
export async function benchOverlayRates([podwire]: Pair, scratch: string): Promise<OverlayRate[]> {
  const pairs: NodePair[] = [];
  const servers: { kill(): void }[] = [];
  const rates = new Map<Way, number[]>(WAYS.map((way) => [way, []]));
  try {
    for (const way of WAYS) {
      const pair = await makePair(podwire, way, scratch);
      pairs.push(pair);
      const server = execa("ip", ["netns", "exec", pair.pods[1], "iperf3", "-s"], { reject: false, stdout: "ignore" });
      servers.push({ kill: () => server.kill() });
    }
    await execa("sleep", ["1"]);
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const pair of turned(pairs, round)) rates.get(pair.way)?.push((await send(pair)) / 1e9);
    }
  } finally {
    for (const server of servers) server.kill();
  }
  const yardstick = rates.get(YARDSTICK) ?? [];
  return WAYS.map((way) => {
    const own = rates.get(way) ?? [];
    const quartiles = [quantile(own, 0.25), quantile(own, 0.75)] as const;
    const gigabits = median(own);
    const ratio = median(own.map((rate, round) => rate / (yardstick[round] ?? Number.NaN)));
    console.log(
      `between pods on two nodes, ${way}`.padEnd(60) +
        ` ${gigabits.toFixed(2).padStart(7)} Gbit/s (${quartiles.map((rate) => rate.toFixed(2)).join(" to ")}) ${ratio.toFixed(3)}`,
    );
    return { way, gigabits, quartiles, ratio, rounds: own.length };
  });
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(share * (values.length - 1))] ?? Number.NaN;
}
