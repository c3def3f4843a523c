/**
 * What a connection to a published port costs when it is set up, through 1, 1,000 and 10,000 mappings: Podwire beside
 * both backends of the reference, and beside a connection that needs no mapping.
 *
 * Each combination is a node of its own with a client on one side and a pod on a bridge on the other, all alike but for
 * the mappings. The mapping in use stands in the middle of the others. The reference would take an hour to make 10,000
 * mappings, so its rules are written in bulk, in exactly the shape in which it writes them: what it makes for one pod is
 * compared with what would be written for it here.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { execa } from "execa";
import { environmentOf, inputOf, median, type Suite } from "./calls.ts";
import type { Pair } from "./measure.ts";
import type { DataPath } from "./report.ts";

const SIZES = [1, 1000, 10_000];
const ROUNDS = 5;
const ROUND_MS = 400;
const NETWORK = "bench";
const CLIENT = "192.0.2.2";
const NODE = "192.0.2.1";
const GATEWAY = "10.64.0.1";
const POD_PORT = 80;
const TARGET_PORT = 19_999;
const FIRST_PORT = 20_000;
/** Of each pod that is only there to be one more. */
const PORTS_A_POD = 100;

/** A node with a pod and a client, and some way of publishing ports. */
interface Scene {
  readonly name: string;
  readonly variant: string;
  readonly mappings: number;
  readonly address: string;
  readonly port: number;
}

interface Mapping {
  readonly containerId: string;
  readonly hostPort: number;
  readonly address: string;
}

/** The nth of the mappings that are not used. */
function other(index: number): Mapping {
  const host = index + 512;
  const address = `10.64.${Math.floor(host / 256)}.${host % 256}`;
  return { containerId: `other-${index}`, hostPort: FIRST_PORT + index, address };
}

async function nsenter(name: string, command: string, args: readonly string[], input = ""): Promise<string> {
  const { stdout } = await execa("nsenter", [`--net=/run/netns/${name}`, "--", command, ...args], { input });
  return stdout;
}

/** Calls a plugin on a node and returns what it prints. */
async function call(suite: Suite, node: string, plugin: string, containerId: string, config: object): Promise<object> {
  const host = `/run/netns/${node}`;
  const prepared = { suite: { ...suite, host }, plugin, verb: "ADD", config, containerId, pod: `${node}-pod` };
  const { stdout } = await execa("nsenter", [`--net=${host}`, "--", join(suite.directory, plugin)], {
    env: environmentOf({ ...prepared, output: "" }),
    extendEnv: false,
    inputFile: inputOf({ ...prepared, output: "" }),
  });
  return JSON.parse(stdout) as object;
}

/** A node with a client and a pod; returns the pod's address. */
async function makeNode(name: string, podwire: Suite): Promise<string> {
  const batch = (...lines: string[]) =>
    execa("ip", ["-batch", "-"], { input: lines.map((line) => `${line}\n`).join("") });
  await batch(...[name, `${name}-client`, `${name}-pod`].map((namespace) => `netns add ${namespace}`));
  await nsenter(
    name,
    "ip",
    ["-batch", "-"],
    [
      "link set lo up",
      `link add up0 type veth peer name eth0 netns ${name}-client`,
      `address add ${NODE}/24 dev up0`,
      "link set up0 up",
      "",
    ].join("\n"),
  );
  await nsenter(
    `${name}-client`,
    "ip",
    ["-batch", "-"],
    [`address add ${CLIENT}/24 dev eth0`, "link set eth0 up", `route add default via ${NODE}`, ""].join("\n"),
  );
  const config = {
    cniVersion: "1.0.0",
    name: NETWORK,
    type: "bridge",
    bridge: "cni0",
    isDefaultGateway: true,
    hairpinMode: true,
    ipam: { type: "host-local", dataDir: `${podwire.state}-${name}`, ranges: [[{ subnet: "10.64.0.0/16" }]] },
  };
  const result = (await call(podwire, name, "bridge", "target", config)) as { ips: { address: string }[] };
  return result.ips[0]?.address.split("/")[0] ?? "";
}

/** Publishes ports of one pod by the plugin itself. */
async function publish(suite: Suite, node: string, backend: string, mappings: readonly Mapping[]): Promise<void> {
  const [first] = mappings;
  if (first === undefined) return;
  await call(suite, node, "portmap", first.containerId, {
    cniVersion: "1.0.0",
    name: NETWORK,
    type: "portmap",
    capabilities: { portMappings: true },
    ...(backend === "" ? {} : { backend }),
    runtimeConfig: {
      portMappings: mappings.map(({ hostPort }) => ({ hostPort, containerPort: POD_PORT, protocol: "tcp" })),
    },
    prevResult: {
      cniVersion: "1.0.0",
      interfaces: [{ name: "eth0", sandbox: `/run/netns/${node}-pod` }],
      ips: [{ interface: 0, address: `${first.address}/16`, gateway: GATEWAY }],
    },
  });
}

/** A way of having many mappings. */
interface Way {
  readonly variant: string;
  /** Makes those from one index to before another. */
  fill(node: string, from: number, to: number): Promise<void>;
  /** Makes one, by the plugin. */
  publish(node: string, mapping: Mapping): Promise<void>;
}

function podwireWay(suite: Suite): Way {
  return {
    variant: "Podwire",
    fill: async (node, from, to) => {
      for (let start = from; start < to; start += PORTS_A_POD) {
        const count = Math.min(PORTS_A_POD, to - start);
        const { containerId, address } = other(start);
        const mappings = Array.from({ length: count }, (_, index) => ({
          ...other(start + index),
          containerId,
          address,
        }));
        await publish(suite, node, "", mappings);
      }
    },
    publish: (node, mapping) => publish(suite, node, "", [mapping]),
  };
}

function referenceWay(suite: Suite, backend: "iptables" | "nftables"): Way {
  const write = backend === "iptables" ? writeIptables : writeNftables;
  return {
    variant: `reference, ${backend}`,
    fill: async (node, from, to) => {
      if (to > from)
        await write(
          node,
          Array.from({ length: to - from }, (_, index) => other(from + index)),
        );
    },
    publish: async (node, mapping) => {
      await publish(suite, node, backend, [mapping]);
      await verifyShape(node, backend, mapping);
    },
  };
}

/** The chain of a pod: "CNI-DN-" and 21 digits of the SHA-512 of network and container. */
function chainOf({ containerId }: Mapping): string {
  return `CNI-DN-${createHash("sha512")
    .update(NETWORK + containerId)
    .digest("hex")
    .slice(0, 21)}`;
}

/** What iptables-save shows of a pod with one port, published by the reference's iptables backend. */
function iptablesRules(mapping: Mapping): string[] {
  const { containerId, hostPort, address } = mapping;
  const chain = chainOf(mapping);
  const match = `-p tcp -m tcp --dport ${hostPort}`;
  const comment = `-m comment --comment "dnat name: \\"${NETWORK}\\" id: \\"${containerId}\\""`;
  return [
    `-A CNI-HOSTPORT-DNAT -p tcp ${comment} -m multiport --dports ${hostPort} -j ${chain}`,
    `-A ${chain} -s 10.64.0.0/16 ${match} -j CNI-HOSTPORT-SETMARK`,
    `-A ${chain} -s 127.0.0.1/32 ${match} -j CNI-HOSTPORT-SETMARK`,
    `-A ${chain} ${match} -j DNAT --to-destination ${address}:${POD_PORT}`,
  ];
}

async function writeIptables(node: string, mappings: readonly Mapping[]): Promise<void> {
  const lines = [
    "*nat",
    ...mappings.map((mapping) => `:${chainOf(mapping)} - [0:0]`),
    ...mappings.flatMap(iptablesRules),
    "COMMIT",
    "",
  ];
  await nsenter(node, "iptables-restore", ["--noflush", "-w"], lines.join("\n"));
}

/** What nft shows of a pod with one port, published by the reference's nftables backend: chain and rule. */
function nftablesRules({ containerId, hostPort, address }: Mapping): [string, string][] {
  const comment = `comment "${containerId}"`;
  return [
    ["hostports", `tcp dport ${hostPort} dnat to ${address}:${POD_PORT} ${comment}`],
    ["masquerading", `ip saddr ${address} ip daddr ${address} masquerade ${comment}`],
    ["masquerading", `ip saddr 127.0.0.1 ip daddr ${address} masquerade ${comment}`],
  ];
}

async function writeNftables(node: string, mappings: readonly Mapping[]): Promise<void> {
  const lines = mappings.flatMap((mapping) =>
    nftablesRules(mapping).map(([chain, rule]) => `add rule ip cni_hostport ${chain} ${rule}\n`),
  );
  await nsenter(node, "nft", ["-f", "-"], lines.join(""));
}

/** Throws unless what the reference made for a mapping is what would have been written in bulk. */
async function verifyShape(node: string, backend: string, mapping: Mapping): Promise<void> {
  const owned = new RegExp(`${chainOf(mapping)}|"${mapping.containerId}"`);
  const lines = async (command: string, ...args: string[]) =>
    (await nsenter(node, command, args))
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => owned.test(line));
  const [found, expected] =
    backend === "iptables"
      ? [(await lines("iptables-save", "-t", "nat")).filter((line) => line.startsWith("-A")), iptablesRules(mapping)]
      : [await lines("nft", "list", "table", "ip", "cni_hostport"), nftablesRules(mapping).map(([, rule]) => rule)];
  const [left, right] = [found.toSorted().join("\n"), expected.toSorted().join("\n")];
  if (left !== right) throw new Error(`the reference writes\n${left}\nand not\n${right}`);
}

/** A node with so many mappings, the one in use in their middle. */
async function makeScene(way: Way, mappings: number, podwire: Suite): Promise<Scene> {
  const name = `path-${way.variant.replace(", ", "-").toLowerCase()}-${mappings}`;
  const address = await makeNode(name, podwire);
  const target = { containerId: "target", hostPort: TARGET_PORT, address };
  if (mappings === 1) {
    await way.publish(name, target);
  } else {
    /* The first one by the plugin makes the tables and chains that all share. */
    await way.publish(name, other(0));
    const half = Math.floor(mappings / 2);
    await way.fill(name, 1, half);
    await way.publish(name, target);
    await way.fill(name, half, mappings - 1);
  }
  return { name, variant: way.variant, mappings, address: NODE, port: TARGET_PORT };
}

interface Sample {
  readonly perSecond: number;
  readonly medianUs: number;
  readonly p99Us: number;
}

/** Sets up connections for a while. */
async function sample(program: string, scene: Scene): Promise<Sample> {
  const namespace = (who: string) => `/run/netns/${scene.name}-${who}`;
  const { stdout } = await execa(program, [
    ...[namespace("client"), scene.address, String(scene.port)],
    ...[namespace("pod"), String(POD_PORT), String(ROUND_MS)],
  ]);
  const [count = 0, milliseconds = 1, medianNs = 0, p99Ns = 0] = stdout.split("\t").map(Number);
  return { perSecond: (count * 1000) / milliseconds, medianUs: medianNs / 1000, p99Us: p99Ns / 1000 };
}

/** All combinations, alternating. */
export async function benchDataPath(
  [podwire, reference]: Pair,
  repository: string,
  scratch: string,
): Promise<DataPath[]> {
  const program = join(scratch, "connect");
  const target = `${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-musl`;
  await execa("zig", ["cc", "-target", target, "-O2", join(repository, "bench/connect.c"), "-o", program]);
  const ways = [podwireWay(podwire), referenceWay(reference, "nftables"), referenceWay(reference, "iptables")];
  const scenes: Scene[] = [];
  for (const way of ways) {
    for (const mappings of SIZES) scenes.push(await makeScene(way, mappings, podwire));
  }
  const [first] = scenes;
  if (first === undefined) throw new Error("no way to measure");
  const pod = await makeNode("path-direct", podwire);
  scenes.unshift({ name: "path-direct", variant: "no mapping", mappings: 0, address: pod, port: POD_PORT });
  const samples = new Map<Scene, Sample[]>(scenes.map((scene) => [scene, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const scene of round % 2 === 0 ? scenes : scenes.toReversed()) {
      samples.get(scene)?.push(await sample(program, scene));
    }
  }
  const result = scenes.map((scene) => {
    const taken = samples.get(scene) ?? [];
    const of = (key: keyof Sample) => median(taken.map((one) => one[key]));
    const { variant, mappings } = scene;
    return { variant, mappings, perSecond: of("perSecond"), medianUs: of("medianUs"), p99Us: of("p99Us") };
  });
  for (const { variant, mappings, perSecond, medianUs } of result) {
    console.log(
      `connections, ${variant}, ${mappings} mappings`.padEnd(60) +
        ` ${perSecond.toFixed(0).padStart(9)} a second ${medianUs.toFixed(1).padStart(9)} us`,
    );
  }
  return result;
}
