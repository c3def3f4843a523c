/**
 * The bandwidth plugin: the times of its calls, alone and in a chain, and what its limits let through, measured by iperf3
 * between a pod and a server behind the node.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { type Call, median, run, type Suite, trace } from "./calls.ts";
import {
  addCount,
  addFaster,
  BACKENDS,
  makeNamespaces,
  measure,
  outputOf,
  type Pair,
  timesOf,
  turned,
  variants,
} from "./measure.ts";

/** Pods that are attached one after another. */
const PODS = 25;
/** What containerd sends for a burst where nobody has asked for one. */
const DEFAULT_BURST = 4294967295;
/** How long a rate is measured, and the interval that counts for itself, in seconds. */
const SECONDS = 5;
const RATES_MBITS: readonly number[] = [1, 10, 100, 1000];
const FIRST_SECONDS_MBITS = 10;
const FIRST_SECONDS_STEP = 0.1;

export type Direction = "ingress" | "egress";

/** What a limit lets through, in percent of its number. */
export interface MeasuredRate {
  readonly megabits: number;
  readonly protocol: "TCP" | "UDP";
  readonly family: 4 | 6;
  readonly direction: Direction;
  /** In the first second, and on average in those after it. */
  readonly podwire: readonly [first: number, rest: number];
  readonly reference: readonly [first: number, rest: number];
  /** Median and highest round-trip time in ms of a ping beside TCP; not a number beside UDP. */
  readonly podwireRtt: readonly [median: number, highest: number];
  readonly referenceRtt: readonly [median: number, highest: number];
}

/** What went through in each tenth of a second since the first packet, in Mbit/s. */
export interface FirstSeconds {
  readonly megabits: number;
  readonly direction: Direction;
  readonly podwire: readonly (readonly [second: number, megabits: number])[];
  readonly reference: readonly (readonly [second: number, megabits: number])[];
}

interface Result {
  readonly [key: string]: unknown;
}

function resultAt(path: string): Result {
  return JSON.parse(readFileSync(path, "utf8")) as Result;
}

function bridgeConfig(suite: Suite, extra: object = {}): object {
  return {
    ...{
      cniVersion: "1.0.0",
      name: "bench",
      type: "bridge",
      bridge: "cni0",
      isDefaultGateway: true,
      hairpinMode: true,
    },
    ipam: {
      type: "host-local",
      dataDir: suite.state,
      ranges: [[{ subnet: "10.64.0.0/16" }], [{ subnet: "fd64::/64" }]],
    },
    ...extra,
  };
}

function portmapConfig(suite: Suite, prevResult: object, hostPort: number): object {
  return {
    ...{ cniVersion: "1.0.0", name: "bench", type: "portmap", capabilities: { portMappings: true } },
    ...(suite.backend === "" ? {} : { backend: suite.backend }),
    runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: "tcp" }] },
    prevResult,
  };
}

function bandwidthConfig(megabits: number, prevResult: object): object {
  const bits = megabits * 1_000_000;
  return {
    ...{ cniVersion: "1.0.0", name: "bench", type: "bandwidth", capabilities: { bandwidth: true } },
    runtimeConfig: {
      bandwidth: { ingressRate: bits, ingressBurst: DEFAULT_BURST, egressRate: bits, egressBurst: DEFAULT_BURST },
    },
    prevResult,
  };
}

/** Attaches pods to each suite's bridge; what that takes is not counted. The results are at `outputOf(suite, "attached", n)`. */
async function attach(suites: readonly Suite[], pods: number): Promise<void> {
  for (const suite of suites) {
    const calls = Array.from({ length: pods }, (_, index) => ({
      ...{ suite, plugin: "bridge", verb: "ADD", config: bridgeConfig(suite) },
      ...{ output: outputOf(suite, "attached", index), containerId: `bench-${index}`, pod: `${suite.name}-${index}` },
    }));
    await run(calls);
  }
}

const bandwidthCall =
  (verb: string, megabits = 10) =>
  (suite: Suite, index: number) => ({
    plugin: "bandwidth",
    verb,
    config: bandwidthConfig(megabits, resultAt(outputOf(suite, "attached", index))),
    containerId: `bench-${index}`,
    pod: `${suite.name}-${index}`,
  });

export async function benchBandwidth(pair: Pair): Promise<void> {
  const suites = variants(pair, "bandwidth");
  await makeNamespaces(suites, PODS);
  await attach(suites, PODS);
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    addFaster(`bandwidth ${verb}, both directions`, suites, await measure(suites, PODS, bandwidthCall(verb)));
  }
}

/** Processes and system calls of one call. */
export async function benchBandwidthProcesses(pair: Pair): Promise<void> {
  const suites = variants(pair, "bandwidth-count");
  await makeNamespaces(suites, 1);
  await attach(suites, 1);
  for (const verb of ["ADD", "DEL"]) {
    const counts: { processes: number; systemCalls: number }[] = [];
    for (const suite of suites) {
      counts.push(await trace({ suite, output: outputOf(suite, "count", 0), ...bandwidthCall(verb)(suite, 0) }));
    }
    const [own, other] = counts;
    addCount(`bandwidth ${verb}: processes`, "", own?.processes ?? Number.NaN, other?.processes ?? Number.NaN);
    addCount(`bandwidth ${verb}: system calls`, "", own?.systemCalls ?? Number.NaN, other?.systemCalls ?? Number.NaN);
  }
}

/** bridge, portmap, bandwidth, each with what the one before it printed; in DEL the other way round. */
export async function benchBandwidthChain(pair: Pair): Promise<void> {
  const suites = variants(pair, "shaped", BACKENDS);
  await makeNamespaces(suites, PODS);
  const times = { ADD: new Map<string, number[]>(), DEL: new Map<string, number[]>() };
  const timed = async (calls: readonly Call[]) => {
    const [timings] = await run(calls);
    return [...timesOf(timings).values()].flat().reduce((sum, time) => sum + time, 0);
  };
  const note = (verb: "ADD" | "DEL", suite: Suite, time: number) =>
    times[verb].set(suite.name, [...(times[verb].get(suite.name) ?? []), time]);
  for (let index = 0; index < PODS; index += 1) {
    for (const suite of turned(suites, index)) {
      const common = { suite, verb: "ADD", containerId: `bench-${index}`, pod: `${suite.name}-${index}` };
      const output = outputOf(suite, "chain", index);
      let time = await timed([{ ...common, plugin: "bridge", config: bridgeConfig(suite), output }]);
      const portmap = portmapConfig(suite, resultAt(output), 20_000 + index);
      time += await timed([{ ...common, plugin: "portmap", config: portmap, output: "/dev/null" }]);
      const limits = bandwidthConfig(10, resultAt(output));
      time += await timed([{ ...common, plugin: "bandwidth", config: limits, output: "/dev/null" }]);
      note("ADD", suite, time);
    }
  }
  for (let index = 0; index < PODS; index += 1) {
    for (const suite of turned(suites, index)) {
      const common = { suite, verb: "DEL", containerId: `bench-${index}`, pod: `${suite.name}-${index}` };
      const prevResult = resultAt(outputOf(suite, "chain", index));
      const calls = [
        { ...common, plugin: "bandwidth", config: bandwidthConfig(10, prevResult) },
        /* The reference's nftables backend complains when all is done; see filter.ts. */
        {
          ...{ ...common, plugin: "portmap", config: portmapConfig(suite, prevResult, 20_000 + index) },
          mayComplain: suite.backend === "nftables",
        },
        { ...common, plugin: "bridge", config: bridgeConfig(suite, { prevResult }) },
      ];
      note("DEL", suite, await timed(calls.map((call) => ({ ...call, output: "/dev/null" }))));
    }
  }
  for (const verb of ["ADD", "DEL"] as const) addFaster(`bridge + portmap + bandwidth ${verb}`, suites, times[verb]);
}

const SERVER = { 4: "192.0.2.2", 6: "2001:db8:1::2" } as const;

/** A node with a pod, and a server behind a second link. */
async function makeLab(suite: Suite): Promise<() => void> {
  const server = `${suite.name}-server`;
  const node = suite.name;
  const commands = [
    ["netns", "add", server],
    ["-n", node, "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", server],
    ["-n", node, "link", "set", "up0", "up"],
    ["-n", server, "link", "set", "eth0", "up"],
    ["-n", server, "link", "set", "lo", "up"],
    ["-n", node, "addr", "add", "192.0.2.1/24", "dev", "up0"],
    ["-n", server, "addr", "add", `${SERVER[4]}/24`, "dev", "eth0"],
    ["-n", server, "route", "add", "default", "via", "192.0.2.1"],
    ["-n", node, "addr", "add", "2001:db8:1::1/64", "dev", "up0", "nodad"],
    ["-n", server, "addr", "add", `${SERVER[6]}/64`, "dev", "eth0", "nodad"],
    ["-n", server, "route", "add", "default", "via", "2001:db8:1::1"],
  ];
  for (const command of commands) await execa("ip", command);
  for (const key of ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]) {
    await execa("nsenter", [`--net=${suite.host}`, "sh", "-c", `echo 1 > /proc/sys/${key}`]);
  }
  const process = execa("ip", ["netns", "exec", server, "iperf3", "-s", "-J", "-i", `${FIRST_SECONDS_STEP}`], {
    reject: false,
    stdout: "ignore",
  });
  await sleep(300);
  return () => process.kill("SIGKILL");
}

interface Interval {
  readonly sum: { readonly start: number; readonly bits_per_second: number };
}

interface Traffic {
  /** Seconds since the start, and Mbit/s in the interval that began then, as the receiver has seen it. */
  readonly intervals: readonly (readonly [number, number])[];
}

/** Sends for some seconds as fast as the limit lets, as told by the receiver. */
async function send(
  suite: Suite,
  direction: Direction,
  protocol: "TCP" | "UDP",
  family: 4 | 6,
  megabits: number,
  step: number,
): Promise<Traffic> {
  const args = ["-c", SERVER[family], "-J", "--get-server-output", "-t", `${SECONDS}`, "-i", `${step}`];
  if (direction === "ingress") args.push("-R");
  if (protocol === "UDP") args.push("-u", "-w", "4M", "-b", `${Math.round(megabits * 1.3e6)}`);
  const pod = `${suite.name}-0`;
  const { stdout } = await execa("ip", ["netns", "exec", pod, "iperf3", ...args], { timeout: 60_000 });
  const report = JSON.parse(stdout) as { intervals: Interval[]; server_output_json: { intervals: Interval[] } };
  const intervals = direction === "ingress" ? report.intervals : report.server_output_json.intervals;
  return { intervals: intervals.map(({ sum }) => [sum.start, sum.bits_per_second / 1e6]) };
}

/** First second and the rest, in percent. What is beyond the last whole second is not counted. */
function percentOf({ intervals }: Traffic, megabits: number): readonly [number, number] {
  const between = (from: number, to: number): number => {
    const inside = intervals.filter(([start]) => start >= from - 0.05 && start < to - 0.05);
    return (inside.reduce((sum, [, rate]) => sum + rate, 0) / inside.length / megabits) * 100;
  };
  return [between(0, 1), between(1, SECONDS)];
}

/** Pings the server until `during` is done: median and highest round-trip time in ms. */
async function pingBeside<T>(suite: Suite, family: 4 | 6, during: Promise<T>): Promise<[T, readonly [number, number]]> {
  const ping = execa("ip", ["netns", "exec", `${suite.name}-0`, "ping", "-n", "-i", "0.05", SERVER[family]], {
    reject: false,
  });
  const result = await during;
  ping.kill("SIGINT");
  const { stdout } = await ping;
  const times = [...String(stdout).matchAll(/time=([0-9.]+)/g)].map((match) => Number(match[1]));
  return [result, [median(times), Math.max(...times)]];
}

/** Makes the limit for a suite's pod from nothing: the reference cannot change one, and leaves its filters. */
async function limit(suite: Suite, megabits: number): Promise<void> {
  const common = { suite, containerId: "bench-0", pod: `${suite.name}-0`, output: "/dev/null" };
  const attached = outputOf(suite, "attached", 0);
  if (suite.side === "reference" || megabits === 0) {
    await run([
      { ...common, ...bandwidthCall("DEL")(suite, 0) },
      { ...common, plugin: "bridge", verb: "DEL", config: bridgeConfig(suite) },
      { ...common, plugin: "bridge", verb: "ADD", config: bridgeConfig(suite), output: attached },
    ]);
  }
  if (megabits > 0) await run([{ ...common, ...bandwidthCall("ADD", megabits)(suite, 0) }]);
}

/** What limits of 1 Mbit/s to 1 Gbit/s let through. */
export async function benchRates(pair: Pair): Promise<MeasuredRate[]> {
  const suites = variants(pair, "rates");
  await makeNamespaces(suites, 1);
  await attach(suites, 1);
  const stop: (() => void)[] = [];
  const measured: MeasuredRate[] = [];
  try {
    for (const suite of suites) stop.push(await makeLab(suite));
    for (const megabits of RATES_MBITS) {
      for (const protocol of ["TCP", "UDP"] as const) {
        for (const family of [4, 6] as const) {
          for (const direction of ["ingress", "egress"] as const) {
            const percents: (readonly [number, number])[] = [];
            const rtts: (readonly [number, number])[] = [];
            for (const suite of suites) {
              await limit(suite, megabits);
              const traffic = send(suite, direction, protocol, family, megabits, 1);
              const [seen, rtt] =
                protocol === "TCP"
                  ? await pingBeside(suite, family, traffic)
                  : [await traffic, [Number.NaN, Number.NaN] as const];
              percents.push(percentOf(seen, megabits));
              rtts.push(rtt);
            }
            const none = [Number.NaN, Number.NaN] as const;
            const [podwire = none, reference = none] = percents;
            const [podwireRtt = none, referenceRtt = none] = rtts;
            measured.push({ megabits, protocol, family, direction, podwire, reference, podwireRtt, referenceRtt });
            console.log(rateLine(measured.at(-1)));
          }
        }
      }
    }
  } finally {
    for (const end of stop) end();
  }
  return measured;
}

function rateLine(rate: MeasuredRate | undefined): string {
  if (rate === undefined) return "";
  const side = ([first, rest]: readonly number[], [middle, highest]: readonly number[]) =>
    `${first?.toFixed(1).padStart(8)} % ${rest?.toFixed(1).padStart(6)} %` +
    `${Number.isNaN(middle) ? "" : ` ${middle?.toFixed(1)}/${highest?.toFixed(1)} ms`}`.padEnd(18);
  const what = `${rate.megabits} Mbit/s ${rate.protocol} IPv${rate.family} ${rate.direction}`;
  return `${what.padEnd(30)} ${side(rate.podwire, rate.podwireRtt)} ${side(rate.reference, rate.referenceRtt)}`;
}

/** What goes through in the first seconds of a limit with the burst that runtimes send. */
export async function benchFirstSeconds(pair: Pair): Promise<FirstSeconds[]> {
  const suites = variants(pair, "first");
  await makeNamespaces(suites, 1);
  await attach(suites, 1);
  const stop: (() => void)[] = [];
  const found: FirstSeconds[] = [];
  try {
    for (const suite of suites) stop.push(await makeLab(suite));
    for (const direction of ["ingress", "egress"] as const) {
      const points: (readonly (readonly [number, number])[])[] = [];
      for (const suite of suites) {
        await limit(suite, FIRST_SECONDS_MBITS);
        points.push((await send(suite, direction, "TCP", 4, FIRST_SECONDS_MBITS, FIRST_SECONDS_STEP)).intervals);
      }
      const [podwire = [], reference = []] = points;
      found.push({ megabits: FIRST_SECONDS_MBITS, direction, podwire, reference });
    }
  } finally {
    for (const end of stop) end();
  }
  return found;
}
