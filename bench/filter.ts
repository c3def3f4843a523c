/**
 * The calls that touch the packet filter: masquerade, published ports, and both in a chain. Podwire is set against the
 * faster of the reference's two backends, which is found out by measuring both in the same run.
 */
import { readFileSync } from "node:fs";
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
  SAME_KIND,
  timesOf,
  turned,
  variants,
} from "./measure.ts";
import type { Growth } from "./report.ts";

/** Pods that are attached one after another. */
const PODS = 25;
/** How many mappings are there already when the growth is measured. */
export const MANY = 1000;

function bridgeConfig(suite: Suite, extra: object): object {
  return {
    cniVersion: "1.0.0",
    name: "bench",
    type: "bridge",
    bridge: "cni0",
    isDefaultGateway: true,
    hairpinMode: true,
    ipam: { type: "host-local", dataDir: suite.state, ranges: [[{ subnet: "10.64.0.0/16" }]] },
    ...extra,
  };
}

/**
 * The reference's nftables backend looks for what its iptables backend might have left, too. Where iptables is the one
 * that speaks nf_tables it takes the answer that there is no such chain for a failure, and says so, after all is done.
 */
export function complains(suite: Suite, verb: string): boolean {
  return verb === "DEL" && suite.backend === "nftables";
}

export function masquerade(suite: Suite): object {
  return { ipMasq: true, ...(suite.backend === "" ? {} : { ipMasqBackend: suite.backend }) };
}

interface Result {
  readonly [key: string]: unknown;
}

function resultAt(path: string): Result {
  return JSON.parse(readFileSync(path, "utf8")) as Result;
}

/** The nth address of 10.64.0.0/16. */
function address(index: number): string {
  return `10.64.${Math.floor(index / 256)}.${index % 256}`;
}

/** What bridge would have printed for a pod with the nth address: portmap looks at no more of it. */
function resultOf(suite: Suite, index: number): Result {
  return {
    cniVersion: "1.0.0",
    interfaces: [{ name: "cni0" }, { name: "eth0", sandbox: `/run/netns/${suite.name}-0` }],
    ips: [{ interface: 1, address: `${address(index)}/16`, gateway: address(1) }],
  };
}

function portmapConfig(suite: Suite, prevResult: object, firstPort: number, ports: number): object {
  const portMappings = Array.from({ length: ports }, (_, index) => ({
    ...{ hostPort: firstPort + index, containerPort: 80 + index, protocol: "tcp" },
  }));
  return {
    cniVersion: "1.0.0",
    name: "bench",
    type: "portmap",
    capabilities: { portMappings: true },
    ...(suite.backend === "" ? {} : { backend: suite.backend }),
    runtimeConfig: { portMappings },
    prevResult,
  };
}

/** portmap's calls for the nth pod with so many ports; the namespace is that of the one pod that is on the bridge. */
const portmapCall =
  (verb: string, ports: number, first = 20_000) =>
  (suite: Suite, index: number) => ({
    plugin: "portmap",
    verb,
    /* The port says which address it is, too, so that no two pods have one. */
    config: portmapConfig(suite, resultOf(suite, first + index * ports), first + index * ports, ports),
    containerId: `bench-${first + index * ports}`,
    pod: `${suite.name}-0`,
  });

/** A pod on each suite's bridge, so that the node has the bridge and the route to it. */
async function attachOne(suites: readonly Suite[]): Promise<void> {
  const calls = suites.map((suite) => ({
    suite,
    ...{ plugin: "bridge", verb: "ADD", config: bridgeConfig(suite, {}), output: "/dev/null" },
    ...{ containerId: "first", pod: `${suite.name}-0` },
  }));
  await run(calls);
}

export async function benchMasquerade(pair: Pair): Promise<void> {
  const suites = variants(pair, "masquerade", BACKENDS);
  await makeNamespaces(suites, PODS);
  const make = (verb: string) => (suite: Suite, index: number) => ({
    plugin: "bridge",
    verb,
    config: bridgeConfig(suite, {
      ...masquerade(suite),
      ...(verb === "ADD" ? {} : { prevResult: resultAt(outputOf(suite, "ADD", index)) }),
    }),
    containerId: `bench-${index}`,
    pod: `${suite.name}-${index}`,
    mayComplain: complains(suite, verb),
  });
  await measure(suites, 1, make("ADD"));
  await measure(suites, 1, make("DEL"));
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    addFaster(`bridge with masquerade ${verb}`, suites, await measure(suites, PODS, make(verb)));
  }
}

export async function benchPorts(pair: Pair, ports: number): Promise<void> {
  const suites = variants(pair, `ports${ports}`, BACKENDS);
  await makeNamespaces(suites, 1);
  await attachOne(suites);
  /* Another pod's mapping is there, as on any node in use: what the first one makes is not counted. */
  await measure(suites, 1, portmapCall("ADD", 1, 10_000));
  const count = ports === 1 ? `${ports} port` : `${ports} ports`;
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    addFaster(`portmap ${verb}, ${count}`, suites, await measure(suites, PODS, portmapCall(verb, ports)));
  }
}

/** bridge, then portmap with what bridge printed: the times of both together. */
export async function benchChain(pair: Pair): Promise<void> {
  const suites = variants(pair, "chain", BACKENDS);
  await makeNamespaces(suites, PODS);
  const times = new Map<string, { add: number[]; del: number[] }>(
    suites.map(({ name }) => [name, { add: [], del: [] }]),
  );
  const timed = async (calls: readonly Call[]) => {
    const [timings] = await run(calls);
    return [...timesOf(timings).values()].flat().reduce((sum, time) => sum + time, 0);
  };
  for (let index = 0; index < PODS; index += 1) {
    for (const suite of turned(suites, index)) {
      const common = { suite, containerId: `bench-${index}`, pod: `${suite.name}-${index}` };
      const output = outputOf(suite, "chain", index);
      const bridge = bridgeConfig(suite, {});
      const first = await timed([{ ...common, plugin: "bridge", verb: "ADD", config: bridge, output }]);
      const portmap = portmapConfig(suite, resultAt(output), 20_000 + index, 1);
      const second = await timed([{ ...common, plugin: "portmap", verb: "ADD", config: portmap, output: "/dev/null" }]);
      times.get(suite.name)?.add.push(first + second);
    }
  }
  for (let index = 0; index < PODS; index += 1) {
    for (const suite of turned(suites, index)) {
      const common = { suite, containerId: `bench-${index}`, pod: `${suite.name}-${index}`, output: "/dev/null" };
      const prevResult = resultAt(outputOf(suite, "chain", index));
      const portmap = portmapConfig(suite, prevResult, 20_000 + index, 1);
      const bridge = bridgeConfig(suite, { prevResult });
      const both = [
        { ...common, plugin: "portmap", verb: "DEL", config: portmap },
        { ...common, plugin: "bridge", verb: "DEL", config: bridge },
      ];
      times.get(suite.name)?.del.push(await timed(both));
    }
  }
  for (const verb of ["add", "del"] as const) {
    const ofVerb = new Map(suites.map(({ name }) => [name, times.get(name)?.[verb] ?? []]));
    addFaster(`bridge + portmap ${verb.toUpperCase()}, 1 port`, suites, ofVerb);
  }
}

/** What one more call costs when there are many mappings already. */
export async function benchGrowth(pair: Pair): Promise<Growth[]> {
  const empty = variants(pair, "none", BACKENDS);
  const full = variants(pair, "many", BACKENDS);
  await makeNamespaces([...empty, ...full], 1);
  await attachOne([...empty, ...full]);
  for (const suite of full) await fill(suite);
  await measure([...empty, ...full], 1, portmapCall("ADD", 1, 10_000));
  if (SAME_KIND) return compareAmongMany(full);
  const growth: Growth[] = [];
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    const times = new Map<string, number[]>();
    const of = (suite: Suite | undefined) => times.get(suite?.name ?? "") ?? [];
    for (const [index, suite] of full.entries()) {
      /* By themselves: what the call of another suite leaves the kernel to do would fall on always the same one. */
      const both = [empty[index], suite].filter((one) => one !== undefined);
      for (const { host } of both) await trackConnection(host);
      for (const [name, list] of await measure(both, PODS, portmapCall(verb, 1, 50_000))) times.set(name, list);
      const [without, withMany] = [of(empty[index]), of(suite)];
      growth.push({
        name: `portmap ${verb}`,
        suite: suite.side === "podwire" ? "Podwire" : `reference, ${suite.backend}`,
        without: median(without),
        with: median(withMany),
        ratio: median(withMany.map((time, at) => time / (without[at] ?? Number.NaN))),
      });
    }
    addFaster(`portmap ${verb} among ${MANY.toLocaleString("en")} mappings`, full, times);
  }
  return growth;
}

/** Two builds of Podwire side by side: their difference is smaller than what a minute changes. */
async function compareAmongMany(full: readonly Suite[]): Promise<Growth[]> {
  for (const { host } of full) await trackConnection(host);
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    const times = await measure(full, PODS * 4, portmapCall(verb, 1, 50_000));
    addFaster(`portmap ${verb} among ${MANY.toLocaleString("en")} mappings`, full, times);
  }
  return [];
}

/**
 * Gives a node whose packets are tracked a connection for half a minute. A DEL walks the kernel's table of them if there
 * is one at all, on a node in use always; whether the bridge's own IGMP left one here would be chance.
 */
async function trackConnection(host: string): Promise<void> {
  const send = `const socket = require("node:dgram").createSocket("udp4"); socket.send("x", 9, "127.0.0.1", () => socket.close());`;
  await execa("nsenter", [`--net=${host}`, process.execPath, "-e", send]);
}

/** Publishes MANY ports: Podwire for a pod each; the reference, whose every pod costs more than the last, in tens. */
async function fill(suite: Suite): Promise<void> {
  const ports = suite.side === "podwire" || SAME_KIND ? 1 : 100;
  const pods = MANY / ports;
  const calls = Array.from({ length: pods }, (_, index) => ({
    suite,
    ...portmapCall("ADD", ports, 20_000)(suite, index),
    output: "/dev/null",
  }));
  await run(calls);
}

/** Processes and system calls of calls that the reference needs programs for. */
export async function benchProcesses(pair: Pair): Promise<void> {
  const suites = variants(pair, "count", BACKENDS);
  await makeNamespaces(suites, 2);
  await attachOne(suites);
  const counts = new Map<string, { processes: number; systemCalls: number }>();
  const count = async (key: string, suite: Suite, call: Omit<Call, "suite" | "output">) => {
    counts.set(`${key} ${suite.name}`, await trace({ suite, output: outputOf(suite, "count", 0), ...call }));
  };
  const masq = (suite: Suite, verb: string) => ({
    ...{ plugin: "bridge", verb, containerId: "counted", pod: `${suite.name}-1` },
    mayComplain: complains(suite, verb),
    config: bridgeConfig(suite, {
      ...masquerade(suite),
      ...(verb === "DEL" ? { prevResult: resultAt(outputOf(suite, "count", 0)) } : {}),
    }),
  });
  const kinds = [
    ["bridge with masquerade ADD", (suite: Suite) => masq(suite, "ADD")],
    ["bridge with masquerade DEL", (suite: Suite) => masq(suite, "DEL")],
    ["portmap ADD, first port of the node", (suite: Suite) => portmapCall("ADD", 1)(suite, 0)],
    ["portmap ADD, 10 ports", (suite: Suite) => portmapCall("ADD", 10, 30_000)(suite, 0)],
    ["portmap DEL, 10 ports", (suite: Suite) => portmapCall("DEL", 10, 30_000)(suite, 0)],
  ] as const;
  for (const [name, make] of kinds) {
    for (const suite of suites) await count(name, suite, make(suite));
    const of = (suite: Suite | undefined, what: "processes" | "systemCalls") =>
      counts.get(`${name} ${suite?.name}`)?.[what] ?? Number.NaN;
    const fewest = [suites[1], suites[2]].toSorted((a, b) => of(a, "processes") - of(b, "processes"))[0];
    for (const [label, what] of [
      ["processes", "processes"],
      ["system calls", "systemCalls"],
    ] as const) {
      addCount(`${name}: ${label} (reference: ${fewest?.backend})`, "", of(suites[0], what), of(fewest, what));
    }
  }
}
